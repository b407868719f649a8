# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes inputs: messages with some fields replaced, files with some bytes changed, documents with some entries changed.

Every input begins with a valid one, so that readers get past their first checks.
"""

from __future__ import annotations

import array
import copy
import io
import json
import math
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from fuzzing import make
from fuzzing.make import Maker

FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e-300, 5e-324, 1e20, -1e20, 1.7e308, -1.7e308, 1e-20, 0.5)
TEXTS = ("", " ", "x", "a/b", "\0", "\n", "\ufffd", "%s {0}", "../../etc", "name" * 500, "\u202e", "front")
_LIMITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
_CODES = {"uint8": "B", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float": "f"}
_CODES |= {"double": "d", "int64": "q", "uint64": "Q", "octet": "B", "byte": "B", "char": "B"}
_ARRAY = re.compile(r"sequence<(.+?)(?:, \d+)?>|(.+?)\[(\d+)\]")

# Messages ------------------------------------------------------------------------------------------------------------


def messages(*valid: Any, words: Mapping[str, Sequence[Any]] | None = None, edits: int = 4) -> Maker:
    """Make messages, as objects with the same fields, from valid ones of rclpy by some replaced fields.

    Sequences come as rclpy has them (array.array, list) and as rosbags has them (ndarray). Fields keep their type and
    fixed sizes: no deserialiser makes others. `words` has further values for fields, by name.
    """
    bases = [duck(message) for message in valid]
    fields = [[_Field(path, kind, words or {}) for path, kind in _leaves(message, ())] for message in valid]

    def build(number: int, edits: list[tuple[int, int, int]]) -> SimpleNamespace:
        message = copy.deepcopy(bases[number])
        chosen = [(fields[number][which % len(fields[number])], how, value) for which, how, value in edits]
        for field, how, value in sorted(chosen, key=lambda edit: -len(edit[0].path)):  # parts before what holds them
            field.change(message, how, value)
        return message

    edit = make.tuples(make.integers(0, 499), make.integers(0, 255), make.integers(0, (1 << 64) - 1))
    return make.builds(build, make.integers(0, len(bases) - 1), make.lists(edit, max_size=edits))


def duck(message: Any) -> Any:
    """Return an object with the fields of a message of rclpy, and those of its parts."""
    if hasattr(message, "get_fields_and_field_types"):
        return SimpleNamespace(**{name: duck(getattr(message, name)) for name in message.get_fields_and_field_types()})
    if isinstance(message, list):
        return [duck(item) for item in message]
    return copy.copy(message)


def _leaves(message: Any, path: tuple) -> list[tuple[tuple, str]]:
    found: list[tuple[tuple, str]] = []
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        if hasattr(value, "get_fields_and_field_types"):
            found += _leaves(value, (*path, name))
            continue
        found.append(((*path, name), kind))
        if isinstance(value, list):
            for index, item in enumerate(value[:2]):
                if hasattr(item, "get_fields_and_field_types"):
                    found += _leaves(item, (*path, name, index))
    return found


class _Field:
    """A field of a message, and what may become of it."""

    def __init__(self, path: tuple, kind: str, words: Mapping[str, Sequence[Any]]) -> None:
        match = _ARRAY.fullmatch(kind)
        self.path = path
        self._item = kind if match is None else match[1] or match[2]
        self._is_single, self._is_fixed = match is None, match is not None and match[3] is not None
        self._words = tuple(words.get(path[-1], ()))

    def change(self, message: Any, how: int, value: int) -> None:
        """Change the field of a message in a way that two numbers tell, if earlier changes have left it there."""
        *parents, last = self.path
        holder = message
        for name in parents:
            if isinstance(name, int) and name >= len(holder):
                return
            holder = holder[name] if isinstance(name, int) else getattr(holder, name)
        before = getattr(holder, last)
        setattr(holder, last, self._value(how, value) if self._is_single else self._sequence(before, how, value))

    def _value(self, how: int, value: int) -> Any:
        """Return an own word, one of the hostile values of the type, or any value of it."""
        if self._words and how % 2:
            return self._words[value % len(self._words)]
        if self._item in ("double", "float"):
            return FLOATS[value % len(FLOATS)] if how % 8 < 6 else struct.unpack("<d", struct.pack("<Q", value))[0]
        if self._item == "boolean":
            return bool(value % 2)
        if self._item.startswith(("string", "wstring")):
            return TEXTS[value % len(TEXTS)] if how % 8 < 6 else value.to_bytes(8, "little").decode("utf-8", "replace")
        bits = _LIMITS.get(self._item, 8)
        low, high = (-(1 << bits), (1 << bits) - 1) if self._item.startswith("int") else (0, (1 << bits) - 1)
        edges = [v for v in (0, 1, 2, 3, 7, 16, 255, -1, low, high, high - 1, high // 2, 65536) if low <= v <= high]
        return edges[value % len(edges)] if how % 8 < 6 else low + value % (high - low + 1)

    def _sequence(self, before: Any, how: int, value: int) -> Any:
        what, how = how % 8, how // 8
        typecode = before.typecode if isinstance(before, array.array) else None
        dtype = before.dtype if isinstance(before, np.ndarray) else None
        items, plain = list(before), self._item in _CODES or self._item.startswith("string")
        if what == 0 and typecode is not None:
            return np.array(before, dtype=np.dtype(typecode))
        if what in (1, 2) and not self._is_fixed:
            del items[value % (len(items) + 1) :]
        elif what == 3 and not self._is_fixed:
            items = items * min(value % 70, 4000 // max(len(items), 1))
        elif what == 4:
            turn = value % max(len(items), 1)
            items = items[turn:] + items[:turn]
        elif what == 5 and plain and not self._is_fixed:
            items += [self._value(how, value)]
        elif what == 6 and plain:
            items = [self._value(how, value)] * len(items)
        elif plain and items:
            items[value % len(items)] = self._value(how, value >> 8)
        with np.errstate(over="ignore"):
            if typecode is not None:
                return array.array(typecode, [np.float32(v) for v in items] if typecode == "f" else items)
            return items if dtype is None else np.array(items, dtype=dtype)


# Bytes ---------------------------------------------------------------------------------------------------------------

_COUNTS = tuple(
    struct.pack(form, value)
    for form in ("<I", ">I", "<Q", ">Q", "<H", ">H")
    for value in (0, 1, 255, (1 << 8 * struct.calcsize(form)) - 1, (1 << 8 * struct.calcsize(form) - 1) - 1)
)
_EDIT = make.tuples(make.integers(0, 31), make.integers(0, (1 << 24) - 1), make.integers(0, (1 << 32) - 1))


def contents(*valid: bytes, edits: int = 4, others: Sequence[bytes] = ()) -> Maker:
    """Make the contents of files from valid ones: bits flipped, bytes put, added, lost, moved, and lengths replaced.

    `others` are whole inputs that are also given as they are.
    """
    changed = make.builds(edited, make.sampled_from(valid), make.lists(_EDIT, max_size=edits))
    rest = make.one_of(make.sampled_from(list(others)), make.binary(40)) if others else make.binary(40)
    return make.one_of(changed, changed, changed, changed, rest)


def edited(content: bytes, edits: Sequence[tuple[int, int, int]]) -> bytes:
    """Return the content with the edits made, one after the other: how, where, with what. Half are near the head."""
    data = bytearray(content)
    for how, where, value in edits:
        at = (where % 64 if how >= 16 else where) % (len(data) + 1)
        what, count = how % 8, value % 64 + 1
        if what == 0 and at < len(data):
            data[at] ^= 1 << value % 8
        elif what == 1:
            put = value.to_bytes(4, "little")[: 1 + value % 4]
            data[at : at + len(put)] = put
        elif what in (2, 3):
            put = _COUNTS[value % len(_COUNTS)]
            data[at : at + len(put)] = put
        elif what == 4:
            data[at:at] = value.to_bytes(4, "little")
        elif what == 5:
            del data[at : len(data) if how >= 24 else at + count]
        elif what == 6:
            start = value // 64 % (len(data) + 1)
            data[at:at] = data[start : start + count]
        elif what == 7:
            data[at : at + count] = bytes(min(count, len(data) - at))
    return bytes(data)


# Documents -----------------------------------------------------------------------------------------------------------

VALUES = (None, True, False, 0, 1, -1, 2.5, *FLOATS[:7], 10**30, -(10**30), "", "x", "1", *TEXTS[4:8], [], {}, [[]])
VALUES += ([None], {"x": 1}, [1, 2, 3], ["a"], [{}], {"": None}, 2**31, 2**63, "\ud7ff", "nan", "1e400", [0] * 300)
_DEEP = 20_000
ODD_YAML = tuple(
    text.encode()
    for text in (
        *("", "---", "...", "null", "- 1", "a: b: c", "? [a, b]\n: 1", "{[1]: 2}", "{{a: 1}: 2}", "x: &a [*a]", "*a"),
        *("[" * _DEEP, "{a: " * _DEEP, "- " * _DEEP, "!!timestamp x", "!!bool x", "!!int ''", "!!float x", "!!int x"),
        *("!!set [1]", "!!omap 1", "!!pairs 1", "!!binary é", "!!python/object/apply:os.getpid []", "!x y"),
        *("2020-99-99", "a: 2020-01-01T99:99:99Z", "0x_", "0b_", "1:99:99", "-0_", "=", "<<: 1", "<<: [1]", "\t- a"),
        *("a: 1\n---\nb: 2", "{1: 2, 1: 3}", "\x00", "\x07", "'", '"\\', "|9999", "9" * 5000, "!!str", "~: ~"),
        "a: &a [x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 8)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    )
) + (b"\xff\xfe", b"\xff\xfea\0", b"\x80", b"\xef\xbb\xbf{}", b"a: \xc3")
ODD_JSON = tuple(
    text.encode()
    for text in (
        *("", "null", "1", '"x"', "[]", "{}", "[" * _DEEP, '{"a":' * _DEEP, "NaN", "Infinity", "-1e999", "9" * 5000),
        *('{"a":1,"a":2}', '"\\ud800"', "tru", "\x00", "{'a': 1}", "[1,]", '{"":{}}'),
    )
) + (b"\xff\xfe", b"\x80", b"\xef\xbb\xbf{}")


def trees(valid: Any, edits: int = 3, values: Sequence[Any] = VALUES) -> Maker:
    """Make documents from a valid one: entries replaced, gone, given twice, added under other names."""
    paths = _paths(valid, ())
    ways = ("set", "set", "set", "lose", "rename", "repeat", "nudge")

    def build(chosen: list[tuple[int, int, int]]) -> Any:
        tree = copy.deepcopy(valid)
        for where, how, value in chosen:
            tree = _edited_tree(tree, paths[where % len(paths)], ways[how], values[value % len(values)])
        return tree

    edit = make.tuples(make.integers(0, 9999), make.integers(0, len(ways) - 1), make.integers(0, 999))
    return make.builds(build, make.lists(edit, max_size=edits))


def yaml_files(*valid: Any, edits: int = 3) -> Maker:
    """Make YAML files from valid documents."""
    dumped = [_as_yaml(document) for document in valid]
    made = [trees(document, edits).map(_as_yaml) for document in valid]
    spliced = make.builds(_spliced, make.sampled_from(dumped), make.sampled_from(ODD_YAML))
    return make.one_of(*made, *made, *made, contents(*dumped, others=ODD_YAML), spliced)


def json_files(*valid: Any, edits: int = 3) -> Maker:
    """Make JSON files from valid documents."""
    dumped = [_as_json(document) for document in valid]
    made = [trees(document, edits).map(_as_json) for document in valid]
    return make.one_of(*made, *made, *made, contents(*dumped, others=ODD_JSON))


def _paths(tree: Any, path: tuple) -> list[tuple]:
    found = [path]
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += _paths(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree[:3]):
            found += _paths(value, (*path, index))
    return found


def _edited_tree(tree: Any, path: tuple, what: str, value: Any) -> Any:
    if not path:
        return copy.deepcopy(value) if what == "set" else tree
    holder = tree
    try:
        for key in path[:-1]:
            holder = holder[key]
        last = path[-1]
        if what == "set":
            holder[last] = copy.deepcopy(value)
        elif what == "lose":
            del holder[last]
        elif what == "rename" and isinstance(holder, dict):
            holder[value if isinstance(value, (str, int, float, bool, type(None))) else "other"] = holder.pop(last)
        elif what == "repeat" and isinstance(holder, list):
            holder.insert(0, copy.deepcopy(holder[last]))
        elif what == "nudge" and isinstance(holder[last], (int, float)):
            holder[last] = holder[last] * (1.5 if isinstance(value, str) else -1) + 1
    except (KeyError, IndexError, TypeError):
        pass  # an earlier edit has taken it away
    return tree


def _as_yaml(document: Any) -> bytes:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")


def _as_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")


def _spliced(document: bytes, odd: bytes) -> bytes:
    """Put something odd in the place of the first value."""
    head, colon, tail = document.partition(b": ")
    return head + colon + odd + b"\n" + tail.partition(b"\n")[2]


# Arrays --------------------------------------------------------------------------------------------------------------


def arrays(valid: Mapping[str, np.ndarray], edits: int = 3) -> Maker:
    """Make the named arrays of an .npz from valid ones: gone, of other types, shapes, lengths, and values."""
    names = sorted(valid)
    edit = make.tuples(
        make.integers(0, len(names) - 1),
        make.sampled_from(("lose", "type", "shape", "cut", "double", "set", "set", "fill", "empty")),
        make.integers(0, 1 << 16),
        make.sampled_from((*FLOATS, -1, 2**31, 2**63 - 1, -(2**63), 65535)),
    )

    def build(chosen: list[tuple]) -> dict[str, np.ndarray]:
        made = dict(valid)
        for number, what, where, value in chosen:
            name = names[number]
            if name in made:
                changed = _edited_array(made.pop(name), what, where, value)
                if changed is not None:
                    made[name] = changed
        return made

    return make.builds(build, make.lists(edit, max_size=edits))


def as_npz(named: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of an .npz with these arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array_ in named.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array_, allow_pickle=True)
    return file.getvalue()


def npz_files(valid: Mapping[str, np.ndarray]) -> Maker:
    """Make .npz files from valid arrays."""
    made = arrays(valid).map(as_npz)
    return make.one_of(made, made, contents(as_npz(valid), others=[b"", b"PK\5\6" + bytes(18), as_npz({})]))


def _edited_array(array_: np.ndarray, what: str, where: int, value: float) -> np.ndarray | None:
    if what == "lose":
        return None
    if what == "type":
        kinds = ("float32", "int8", "uint64", "bool", "complex64", "U3", "O", "S2")
        with np.errstate(invalid="ignore"):
            try:
                return array_.astype(kinds[where % len(kinds)])
            except (TypeError, ValueError):
                return array_
    if what == "shape":
        return (array_.reshape(-1), array_[None], array_.T, np.asarray(value))[where % 4]
    if what == "empty":
        return array_.reshape(-1)[:0] if array_.ndim < 2 or where % 2 else array_[:0]
    if what == "cut":
        return array_[: len(array_) // 2] if array_.ndim else array_
    if what == "double":
        return np.concatenate([array_, array_]) if array_.ndim else array_
    changed = np.array(array_)
    if changed.dtype.kind in "biuf" and changed.size:
        info = None if changed.dtype.kind in "bf" else np.iinfo(changed.dtype)
        if info is not None:
            value = 0 if value != value else int(min(max(value, info.min), info.max))
        with np.errstate(over="ignore"):
            changed.reshape(-1)[slice(None) if what == "fill" else where % changed.size] = value
    return changed
