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
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e-300, 5e-324, 1e20, -1e20, 1.7e308, -1.7e308, 1e-20, 0.5)
TEXTS = ("", " ", "x", "a/b", "\0", "\n", "\ufffd", "%s {0}", "../../etc", "name" * 500, "\u202e", "front")
_LIMITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
_CODES = {"uint8": "B", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float": "f"}
_CODES |= {"double": "d", "int64": "q", "uint64": "Q", "octet": "B", "byte": "B", "char": "B"}
_ARRAY = re.compile(r"sequence<(.+?)(?:, \d+)?>|(.+?)\[(\d+)\]")

# Messages ------------------------------------------------------------------------------------------------------------


def messages(*valid: Any, words: Mapping[str, Sequence[Any]] | None = None, edits: int = 4) -> SearchStrategy:
    """Make messages, as objects with the same fields, from valid ones of rclpy by some replaced fields.

    Sequences come as rclpy has them (array.array, list) and as rosbags has them (ndarray). Fields keep their type and
    fixed sizes: no deserialiser makes others. `words` has further values for fields, by name.
    """
    bases = [duck(message) for message in valid]
    makers = [[_edits(path, kind, words or {}) for path, kind in _leaves(message, ())] for message in valid]
    by_base = [
        st.lists(st.integers(0, len(kinds) - 1).flatmap(lambda i, kinds=kinds: kinds[i]), max_size=edits)
        for kinds in makers
    ]

    def build(number: int, chosen: list[tuple[tuple, Any]]) -> SimpleNamespace:
        message = copy.deepcopy(bases[number])
        for path, change in sorted(chosen, key=lambda edit: -len(edit[0])):  # parts before what holds them
            _apply(message, path, change)
        return message

    return st.integers(0, len(bases) - 1).flatmap(lambda n: st.builds(build, st.just(n), by_base[n]))


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


def _edits(path: tuple, kind: str, words: Mapping[str, Sequence[Any]]) -> SearchStrategy:
    """Make pairs of the path and a change: ("set", value) or what `_changed` knows."""
    match = _ARRAY.fullmatch(kind)
    if match is None:
        values = _scalars(kind)
        if path[-1] in words:
            values = st.one_of(st.sampled_from(list(words[path[-1]])), values)
        return st.tuples(st.just(path), st.tuples(st.just("set"), values))
    item, fixed = match[1] or match[2], match[3] is not None
    small, where = st.integers(0, 70), st.integers(0, 4000)
    if item not in _CODES and item != "string":
        change: SearchStrategy = st.one_of(
            st.tuples(st.just("cut"), small), st.tuples(st.just("repeat"), small), st.tuples(st.just("swap"), small)
        )
        return st.tuples(st.just(path), change)
    values = _scalars(item)
    if path[-1] in words:
        values = st.one_of(st.sampled_from(list(words[path[-1]])), values)
    changes = [st.tuples(st.just("at"), where, values), st.tuples(st.just("fill"), values)]
    if not fixed:
        changes += [st.tuples(st.just("cut"), where), st.tuples(st.just("repeat"), small)]
        changes += [st.tuples(st.just("add"), st.lists(values, max_size=4))]
    if item != "string":
        changes.append(st.tuples(st.just("as"), st.sampled_from(("ndarray", "array"))))
    return st.tuples(st.just(path), st.one_of(changes))


def _scalars(kind: str) -> SearchStrategy:
    if kind in ("double", "float"):
        return st.one_of(st.sampled_from(FLOATS), st.floats(width=32 if kind == "float" else 64))
    if kind == "boolean":
        return st.booleans()
    if kind.startswith(("string", "wstring")):
        return st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))
    bits = _LIMITS.get(kind, 8)
    low, high = (-(1 << bits), (1 << bits) - 1) if kind.startswith("int") else (0, (1 << bits) - 1)
    edges = [v for v in (0, 1, 2, 3, 7, 16, 255, -1, low, high, high - 1, high // 2, 65536) if low <= v <= high]
    return st.one_of(st.sampled_from(edges), st.integers(0, 20), st.integers(low, high))


def _apply(message: Any, path: tuple, change: tuple) -> None:
    *parents, last = path
    holder = message
    for name in parents:
        if isinstance(name, int):
            if name >= len(holder):
                return
            holder = holder[name]
        else:
            holder = getattr(holder, name)
    value = getattr(holder, last)
    setattr(holder, last, change[1] if change[0] == "set" else _changed(value, *change))


def _changed(value: Any, what: str, *how: Any) -> Any:
    kind = value.typecode if isinstance(value, array.array) else None
    dtype = value.dtype if isinstance(value, np.ndarray) else None
    items = list(value)
    if what == "as":
        content = np.array(items, dtype=dtype if kind is None else np.dtype(kind)) if items or kind or dtype else items
        return content if how[0] == "ndarray" or not isinstance(value, array.array) else value
    if what == "cut":
        del items[min(how[0], len(items)) :]
    elif what == "repeat":
        items = items * min(how[0], 4000 // max(len(items), 1))
    elif what == "swap":
        items = items[how[0] % max(len(items), 1) :] + items[: how[0] % max(len(items), 1)]
    elif what == "add":
        items += how[0]
    elif what == "at" and items:
        items[how[0] % len(items)] = how[1]
    elif what == "fill":
        items = [how[0]] * len(items)
    with np.errstate(over="ignore"):
        if kind is not None:
            return array.array(kind, [np.float32(v) for v in items] if kind == "f" else items)
        return items if dtype is None else np.array(items, dtype=dtype)


# Bytes ---------------------------------------------------------------------------------------------------------------

_COUNTS = tuple(
    struct.pack(form, value)
    for form in ("<I", ">I", "<Q", ">Q", "<H", ">H")
    for value in (0, 1, 255, (1 << 8 * struct.calcsize(form)) - 1, (1 << 8 * struct.calcsize(form) - 1) - 1)
)
_WHERE = st.one_of(st.integers(0, 64), st.integers(0, 1 << 20))
_EDIT = st.one_of(
    st.tuples(st.just("flip"), _WHERE, st.integers(0, 7)),
    st.tuples(st.just("put"), _WHERE, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("put"), _WHERE, st.sampled_from(_COUNTS)),
    st.tuples(st.just("insert"), _WHERE, st.binary(max_size=8)),
    st.tuples(st.just("delete"), _WHERE, st.integers(1, 64)),
    st.tuples(st.just("end"), _WHERE, st.just(0)),
    st.tuples(st.just("copy"), _WHERE, _WHERE, st.integers(1, 64)),
    st.tuples(st.just("zero"), _WHERE, st.integers(1, 64)),
)


def contents(*valid: bytes, edits: int = 4, others: Sequence[bytes] = ()) -> SearchStrategy[bytes]:
    """Make the contents of files from valid ones: bits flipped, bytes put, added, lost, moved, and lengths replaced.

    `others` are whole inputs that are also given as they are.
    """
    changed = st.builds(edited, st.sampled_from(valid), st.lists(_EDIT, max_size=edits))
    small = st.binary(max_size=40)
    return st.one_of(changed, changed, changed, changed, st.sampled_from(list(others)) if others else small, small)


def edited(content: bytes, edits: Sequence[tuple]) -> bytes:
    """Return the content with the edits made, one after the other."""
    data = bytearray(content)
    for what, where, *how in edits:
        at = where % (len(data) + 1)
        if what == "flip" and at < len(data):
            data[at] ^= 1 << how[0]
        elif what == "put":
            data[at : at + len(how[0])] = how[0]
        elif what == "insert":
            data[at:at] = how[0]
        elif what == "delete":
            del data[at : at + how[0]]
        elif what == "end":
            del data[at:]
        elif what == "copy":
            start = how[0] % (len(data) + 1)
            data[at:at] = data[start : start + how[1]]
        elif what == "zero":
            data[at : at + how[0]] = bytes(min(how[0], len(data) - at))
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
        *("!!set [1]", "!!omap 1", "!!pairs 1", "!!binary é", "!!python/object/apply:os.getpid []", "!x y", "%YAML 9.9"),
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


def trees(valid: Any, edits: int = 3, values: Sequence[Any] = VALUES) -> SearchStrategy:
    """Make documents from a valid one: entries replaced, gone, given twice, added under other names."""
    paths = _paths(valid, ())
    edit = st.tuples(
        st.integers(0, len(paths) - 1),
        st.sampled_from(("set", "set", "set", "lose", "rename", "repeat", "nudge")),
        st.sampled_from(list(values)),
    )

    def build(chosen: list[tuple[int, str, Any]]) -> Any:
        tree = copy.deepcopy(valid)
        for number, what, value in chosen:
            tree = _edited_tree(tree, paths[number], what, value)
        return tree

    return st.builds(build, st.lists(edit, max_size=edits))


def yaml_files(*valid: Any, edits: int = 3) -> SearchStrategy[bytes]:
    """Make YAML files from valid documents."""
    dumped = [_as_yaml(document) for document in valid]
    made = [trees(document, edits).map(_as_yaml) for document in valid]
    return st.one_of(*made, *made, *made, contents(*dumped, others=ODD_YAML), st.builds(_spliced, st.sampled_from(dumped),
                                                                                         st.sampled_from(ODD_YAML)))


def json_files(*valid: Any, edits: int = 3) -> SearchStrategy[bytes]:
    """Make JSON files from valid documents."""
    dumped = [_as_json(document) for document in valid]
    made = [trees(document, edits).map(_as_json) for document in valid]
    return st.one_of(*made, *made, *made, contents(*dumped, others=ODD_JSON))


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


def arrays(valid: Mapping[str, np.ndarray], edits: int = 3) -> SearchStrategy[dict[str, np.ndarray]]:
    """Make the named arrays of an .npz from valid ones: gone, of other types, shapes, lengths, and values."""
    names = sorted(valid)
    edit = st.tuples(
        st.integers(0, len(names) - 1),
        st.sampled_from(("lose", "type", "shape", "cut", "double", "set", "set", "fill", "empty")),
        st.integers(0, 1 << 16),
        st.sampled_from((*FLOATS, -1, 2**31, 2**63 - 1, -(2**63), 65535)),
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

    return st.builds(build, st.lists(edit, max_size=edits))


def as_npz(named: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of an .npz with these arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array_ in named.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array_, allow_pickle=True)
    return file.getvalue()


def npz_files(valid: Mapping[str, np.ndarray]) -> SearchStrategy[bytes]:
    """Make .npz files from valid arrays."""
    made = arrays(valid).map(as_npz)
    return st.one_of(made, made, contents(as_npz(valid), others=[b"", b"PK\5\6" + bytes(18), as_npz({})]))


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
