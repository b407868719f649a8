# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters declared from a typed pydantic model: one place for type, default, bounds and text.

    class PerceptionParameters(BaseModel):
        sync_slop: Annotated[float, Live] = Field(0.05, gt=0.0, le=1.0, description="Seconds ...")

    parameters = Parameters(node, PerceptionParameters)
    parameters.value.sync_slop

A field is applied when the node is configured, unless it is marked `Live` (applied at once) or `ReadOnly` (fixed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

Model = TypeVar("Model", bound=BaseModel)


class ParameterError(ValueError):
    """A parameter has a value that cannot be used; the text names the parameter, the value and the reason."""


class Change(Enum):
    """When a changed value takes effect."""

    LIVE = "Applied at once."
    CONFIGURE = "Applied when the node is configured; refused while it is configured."
    READ_ONLY = "Fixed when the node starts."


Live = Change.LIVE
ReadOnly = Change.READ_ONLY


class Parameters(Generic[Model]):
    """The parameters of one node (or of one named part of it), declared, checked and kept up to date."""

    def __init__(
        self,
        node: Node,
        model: type[Model],
        *,
        prefix: str = "",
        defaults: dict[str, Any] | None = None,
        is_configured: Callable[[], bool] = lambda: False,
        on_change: Callable[[Model], None] | None = None,
    ) -> None:
        """Declare every field of `model` as the parameter `<prefix><field>`.

        Args:
            node: declares the parameters.
            model: fields of type bool, int, float, str, a Literal of str, or a list or tuple of one of the first four
                (not empty).
            prefix: put before each name, e.g. `front.`.
            defaults: in place of the model's own, where they depend on the prefix.
            is_configured: tells whether changes of fields that are not `Live` must be refused.
            on_change: called with the new value after a live change.

        Raises:
            ParameterError: a value from the command line or a file does not fit.
        """
        self._node = node
        self._model = model
        self._prefix = prefix
        self._is_configured = is_configured
        self._on_change = on_change
        start = {name: (defaults or {}).get(name, field.get_default()) for name, field in model.model_fields.items()}
        self.value: Model = self._validated({name: self._declare(name, value) for name, value in start.items()})
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _declare(self, name: str, default: Any) -> Any:
        field = self._model.model_fields[name]
        full_name = self._prefix + name
        if self._node.has_parameter(full_name):  # declared when the node was configured before
            return self._node.get_parameter(full_name).value
        if isinstance(default, tuple):
            default = list(default)
        try:
            return self._node.declare_parameter(full_name, default, describe(field)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(f"parameter '{full_name}': {error}") from error

    def _validated(self, values: dict[str, Any]) -> Model:
        try:
            return self._model.model_validate(values)
        except ValidationError as error:
            raise ParameterError("; ".join(self._explain(detail) for detail in error.errors())) from error

    def _explain(self, detail: Any) -> str:
        where = ".".join(str(part) for part in detail["loc"])
        message = str(detail["msg"]).removeprefix("Value error, ")
        return f"parameter '{self._prefix}{where}' = {detail['input']!r}: {message}" if where else message

    def _check(self, changed: Sequence[Parameter]) -> SetParametersResult:
        mine = self._mine(changed)
        fixed = [name for name in mine if change_of(self._model.model_fields[name]) is not Live]
        if fixed and self._is_configured():
            reason = f"'{self._prefix}{fixed[0]}' is applied when the node is configured: clean the node up first"
            return SetParametersResult(successful=False, reason=reason)
        try:
            self._validated({**self.value.model_dump(), **mine})
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, changed: Sequence[Parameter]) -> None:
        mine = self._mine(changed)
        if mine:
            self.value = self._validated({**self.value.model_dump(), **mine})
            if self._on_change is not None:
                self._on_change(self.value)

    def _mine(self, changed: Sequence[Parameter]) -> dict[str, Any]:
        fields = self._model.model_fields
        names = {self._prefix + name: name for name in fields}
        return {names[parameter.name]: parameter.value for parameter in changed if parameter.name in names}


def describe(field: FieldInfo) -> ParameterDescriptor:
    """Return what `ros2 param describe` shows for a field of a parameter model."""
    change = change_of(field)
    constraints = [change.value]
    if get_origin(field.annotation) is Literal:
        constraints.insert(0, f"One of: {', '.join(get_args(field.annotation))}.")
    descriptor = ParameterDescriptor(
        description=field.description or "",
        read_only=change is ReadOnly,
        additional_constraints=" ".join(constraints),
    )
    lower = _bound(field, "ge", "gt")
    upper = _bound(field, "le", "lt")
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


def change_of(field: FieldInfo) -> Change:
    """Return when a changed value of a field takes effect."""
    return next((entry for entry in field.metadata if isinstance(entry, Change)), Change.CONFIGURE)


def _bound(field: FieldInfo, *names: str) -> float | None:
    for entry in field.metadata:
        for name in names:
            value = getattr(entry, name, None)
            if value is not None:
                return float(value)
    return None
