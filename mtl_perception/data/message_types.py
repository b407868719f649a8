# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Definitions of message types: those in a bag, and those that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_path
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mtl_perception.data.errors import BagError


def types_of(connections: Sequence[Connection]) -> Typestore:
    """Return the types of a bag's connections, and the standard ones.

    Definitions in the bag are preferred: a recording of another distribution may differ from what is installed.
    """
    types = get_typestore(Stores.EMPTY)
    for connection in connections:
        parse = _PARSERS.get(connection.msgdef.format)
        if parse is not None:
            types.register(parse(connection))
    standard = get_typestore(Stores.ROS2_KILTED)
    missing = [c.msgtype for c in connections if c.msgtype not in types.fielddefs]
    return standard if missing and len(missing) == len(connections) else _merged(types, standard)


def register_installed(types: Typestore, message_type: str) -> None:
    """Add a type, and those it is made of, from the .msg files that its package has installed.

    Raises:
        BagError: its package has none; names the type.
    """
    if message_type in types.fielddefs:
        return
    package, _, name = message_type.split("/")
    try:
        path = get_package_share_path(package) / "msg" / f"{name}.msg"
        definitions = get_types_from_msg(path.read_text(), message_type)
    except (PackageNotFoundError, OSError, TypesysError) as error:
        raise BagError(f"message type {message_type}: no definition is installed ({error})") from error
    for part in sorted(_parts(definitions)):
        if part not in definitions:
            register_installed(types, part)
    types.register(definitions)


_PARSERS = {
    MessageDefinitionFormat.MSG: lambda c: get_types_from_msg(c.msgdef.data, c.msgtype),
    MessageDefinitionFormat.IDL: lambda c: get_types_from_idl(c.msgdef.data),
}


def _merged(types: Typestore, standard: Typestore) -> Typestore:
    """Add the standard types that the bag does not define itself."""
    for name, definition in standard.fielddefs.items():
        if name not in types.fielddefs:
            types.fielddefs[name] = definition
            types.types[name] = standard.types[name]
    return types


def _parts(definitions: Any) -> set[str]:
    """Return the names of the message types that fields refer to."""
    names: set[str] = set()

    def collect(node: Any) -> None:
        if isinstance(node, tuple):
            for item in node:
                collect(item)
        elif isinstance(node, str) and node.count("/") == 2 and "/msg/" in node:
            names.add(node)

    for _, fields in definitions.values():
        for _, description in fields:
            collect(description)
    return names
