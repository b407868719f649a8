# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the field of a parameter model says: in words, and as the descriptor that `ros2 param describe` shows."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from mtl_perception.core.settings import Change, Unit

_TYPES = {bool: "boolean", int: "integer", float: "double", str: "string"}
_ALLOWED = {"boolean": "true or false", "string": "a text", "string array": "a list of texts"}
_WHEN = {
    Change.LIVE: "Applied at once, from the next frame on.",
    Change.CONFIGURE: "Applied when the node is configured; refused while it is configured.",
    Change.READ_ONLY: "Fixed when the node starts.",
}


def describe(field: FieldInfo) -> ParameterDescriptor:
    """Return what `ros2 param describe` shows for a field of a parameter model: text, bounds, unit, when it applies."""
    change, unit = change_of(field), unit_of(field)
    constraints = [f"Unit: {unit}."] if unit else []
    if _is_choice(field):
        constraints.append(f"{allowed(field)}.".capitalize())
    for sign, words in (("gt", "More than"), ("lt", "Less than")):
        bound = _bound(field, sign)
        if bound is not None:  # the ranges below take the bound itself in
            constraints.append(f"{words} {bound}.")
    descriptor = ParameterDescriptor(
        description=field.description or "",
        read_only=change is Change.READ_ONLY,
        additional_constraints=" ".join([*constraints, _WHEN[change]]),
    )
    lower, upper = _bound(field, "ge", "gt"), _bound(field, "le", "lt")
    if field.annotation is float and (lower is not None or upper is not None):
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float("-inf") if lower is None else float(lower),
                to_value=float("inf") if upper is None else float(upper),
            )
        ]
    if field.annotation is int and (lower is not None or upper is not None):
        descriptor.integer_range = [
            IntegerRange(
                from_value=-(2**63) if lower is None else int(lower),
                to_value=2**63 - 1 if upper is None else int(upper),
            )
        ]
    return descriptor


def allowed(field: FieldInfo) -> str:
    """Return in words what values a field takes, with the unit: `more than 0.0, up to 10.0 s`."""
    if _is_choice(field):
        return f"one of {', '.join(get_args(field.annotation))}"
    kind = type_name(field)
    if kind in _ALLOWED:
        return _ALLOWED[kind]
    unit = f" {unit_of(field)}" if unit_of(field) else ""
    least, more_than, most, less_than = (_bound(field, sign) for sign in ("ge", "gt", "le", "lt"))
    if least is not None and most is not None:
        return f"{least} to {most}{unit}"
    words = {"at least": least, "more than": more_than, "up to": most, "less than": less_than}
    texts = [f"{word} {bound}" for word, bound in words.items() if bound is not None]
    return (", ".join(texts) or f"any {kind}") + unit


def type_name(field: FieldInfo) -> str:
    """Return the type as ROS calls it.

    Raises:
        TypeError: ROS has no such type.
    """
    if _is_choice(field):
        return "string"
    if get_origin(field.annotation) in (list, tuple):
        return f"{_TYPES[get_args(field.annotation)[0]]} array"
    kind = _TYPES.get(field.annotation) if isinstance(field.annotation, type) else None
    if kind is None:
        raise TypeError(f"{field.annotation} is no type of a ROS parameter")
    return kind


def unit_of(field: FieldInfo) -> str:
    """Return the symbol of a field's unit; "" where it has none."""
    return next((entry.symbol for entry in field.metadata if isinstance(entry, Unit)), "")


def change_of(field: FieldInfo) -> Change:
    """Return when a changed value of a field takes effect."""
    return next((entry for entry in field.metadata if isinstance(entry, Change)), Change.CONFIGURE)


def _is_choice(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal


def _bound(field: FieldInfo, *names: str) -> Any:
    """Return the first of some bounds (ge, gt, le, lt) that a field has, a number of its type."""
    for entry in field.metadata:
        for name in names:
            value = getattr(entry, name, None)
            if value is not None:
                return float(value) if field.annotation is float else value
    return None
