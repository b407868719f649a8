# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""docs/parameters.md: a table a node, from the models that the nodes declare their parameters with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from mtl_perception.ros.node_parameters import NODES, NodeParameters
from mtl_perception.ros.parameter_fields import allowed, change_of, type_name, unit_of

_HEAD = """\
# Parameters

Written by `python -m mtl_perception parameters --write` from the models that the nodes declare their parameters with; a
test fails when this page is older than they are. `ros2 param describe NODE PARAMETER` shows the same on a running node.

*live*: a change applies from the next frame on. *when configured*: it is refused while the node is configured; clean
the node up first (`ros2 lifecycle set NODE cleanup`). *read-only*: fixed when the node starts. A refusal says which
node, parameter and value, and what is allowed. A whole number will do where a number with a point is expected. ROS has
no empty lists in parameter files: `[""]` is one.

Defaults are those of the nodes alone. Where [config/perception.yaml](../config/perception.yaml), which the launch file
and `up` start from, says something else, that stands in parentheses. Every node also has `use_sim_time`, and for its
topics `qos_overrides.TOPIC.publisher.POLICY` or `qos_overrides.TOPIC.subscription.POLICY`, where POLICY is `history`,
`depth`, `reliability` or `durability`.
"""


def parameters_page(file_values: Mapping[str, Any]) -> str:
    """Return docs/parameters.md; `file_values` are those of config/perception.yaml, by the parameters' names."""
    return "\n".join([_HEAD, *(_section(node, file_values) for node in NODES)])


def _section(node: NodeParameters, file_values: Mapping[str, Any]) -> str:
    rows = [_row(name, field, file_values) for name, field in node.fields().items()]
    head = ["| parameter | type | default | unit | allowed | change | |", "|---|---|---|---|---|---|---|"]
    return "\n".join([f"## {node.node} (`{node.executable}`)", "", *head, *rows, ""])


def _row(name: str, field: FieldInfo, file_values: Mapping[str, Any]) -> str:
    default = _value(field.get_default())
    if name in file_values and _value(file_values[name]) != default:
        default += f" ({_value(file_values[name])})"
    cells = (
        f"`{name}`",
        type_name(field),
        default,
        unit_of(field),
        _bounds(field),
        change_of(field).value,
        field.description or "",
    )
    return "| " + " | ".join(cell if "`" in cell else cell.replace("<", "&lt;") for cell in cells) + " |"


def _bounds(field: FieldInfo) -> str:
    """Return what is allowed, where that is more than the type says; the unit has a column of its own."""
    text = allowed(field)
    if type_name(field) in ("boolean", "string array") or text in ("a text", f"any {type_name(field)}"):
        return ""
    return text.removesuffix(f" {unit_of(field)}")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        entries = ", ".join(entry or '""' for entry in value)
        return f"`[{entries}]`"
    return f"`{value}`" if value != "" else '`""`'
