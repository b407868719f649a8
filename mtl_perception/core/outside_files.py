# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files that others have made: read within bounds, so that none of them can hang, exhaust memory or run anything.

What is no regular file is refused before it is read (a pipe would be waited for, a device has no end), a size is looked
at before it is allocated, and what a text unfolds to is counted before it is built.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mtl_perception.core.validation_text import error_text

_YAML_BYTES = 512 * 2**10
_YAML_ITEMS = 100_000
_YAML_DEPTH = 40
_NUMBER_LENGTH = 64  # characters; Python's own conversions of long ones take a time that grows with their square
_UNFIT = (ArithmeticError, LookupError, TypeError, AttributeError, RecursionError, ValueError)
_UNFIT_ARCHIVES = (OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
"""What the constructors of YAML's types raise for values that are none, beside their own errors."""


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        ValueError: it is no regular file, or has more than `most` bytes; names the file.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe's other end is not waited for
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        content = file.read(min(status.st_size, most) + 1)
    if max(status.st_size, len(content)) > most:
        raise ValueError(f"{path} has {max(status.st_size, len(content))} bytes, at most {most} are read")
    return content


def read_json(path: Path, most: int) -> Any:
    """Return what a JSON file of at most `most` bytes holds.

    Raises:
        ValueError: it is no such file; names it.
        OSError: it cannot be read.
    """
    content = read_bytes(path, most)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def parse_json(text: str | bytes) -> Any:
    """Return what a text of JSON holds.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_npz(path: Path) -> dict[str, NDArray]:
    """Return the arrays of an .npz file: no objects, which could run anything.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, or damaged; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (*_UNFIT, *_UNFIT_ARCHIVES) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error_text(error)}") from error


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds: plain data only.

    Anchors may be used; but not so that the data, written out, would have more than 100,000 items or no end.

    Raises:
        ValueError: it is no such file, or a key is given twice; names the file and the line.
        OSError: it cannot be read.
    """
    content = read_bytes(path, _YAML_BYTES)
    try:
        return parse_yaml(content)
    except ValueError as error:
        raise ValueError(f"{path} is not usable YAML: {error}") from error


def parse_yaml(text: bytes) -> Any:
    """Return what a text of YAML holds, within the bounds of `read_yaml`.

    Raises:
        ValueError: it is none, or is too much.
    """
    if len(text) > _YAML_BYTES:
        raise ValueError(f"it has {len(text)} bytes, at most {_YAML_BYTES} are read")
    loader = _Loader(b"")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Bounds().check(node)
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, *_UNFIT) as error:
        raise ValueError(error_text(error)) from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Stops where brackets are nested too deeply: the scanner looks at each open one again with every token."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """Begin a list or mapping in brackets."""
        if self.flow_level >= _YAML_DEPTH:
            raise ValueError(f"it is nested too deeply in line {self.line + 1}")
        super().fetch_flow_collection_start(TokenClass)


class _Bounds:
    """Counts what a document unfolds to. A node that is used many times is looked at once."""

    def __init__(self) -> None:
        self._items: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, node: yaml.Node) -> int:
        """Return how many items a node is, written out; a ValueError says what is too much."""
        if id(node) in self._items:
            return self._items[id(node)]
        if id(node) in self._open:
            raise ValueError(f"the item that begins in {_place(node)} contains itself")
        if len(self._open) >= _YAML_DEPTH:
            raise ValueError(f"it is nested too deeply in {_place(node)}")
        self._open.add(id(node))
        items = 1
        for part in self._parts(node):
            items += self.check(part)
            if items > _YAML_ITEMS:
                raise ValueError(f"what begins in {_place(node)} unfolds to more than {_YAML_ITEMS} items")
        self._open.remove(id(node))
        self._items[id(node)] = items
        return items

    @staticmethod
    def _parts(node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            keys: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
                    raise ValueError(f"'{key.value}' is given twice, again in {_place(key)}")
                keys.add((key.tag, str(key.value)))
            return [part for pair in node.value for part in pair]
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if node.tag.endswith((":int", ":float")) and len(node.value) > _NUMBER_LENGTH:
            raise ValueError(f"the number in {_place(node)} has {len(node.value)} characters")
        return []


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
