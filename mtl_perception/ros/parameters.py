# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS parameters declared from a typed pydantic model: one place for type, default, unit, bounds and text.

    class PerceptionParameters(BaseModel):
        sync_slop: Annotated[Seconds, Live] = Field(0.05, gt=0.0, le=1.0, description="Largest distance ...")

    parameters = Parameters(node, PerceptionParameters)
    parameters.value.sync_slop

A field is applied when the node is configured, unless it is marked `Live` (applied at once) or `ReadOnly` (fixed).
Whatever is refused, at the start or later, says which node, parameter and value, and what is allowed.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import ParameterDescriptor, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception.core.settings import Live, ReadOnly
from mtl_perception.ros.notices import Notices
from mtl_perception.ros.parameter_fields import allowed, change_of, describe, type_name

Model = TypeVar("Model", bound=BaseModel)

_TYPES = frozenset(kind.value for kind in Parameter.Type)
_FULL_REASON = "value_error"  # pydantic's name for what a validator of a model has raised


class ParameterError(ValueError):
    """A parameter has a value that cannot be used; the text names node, parameter, value and what is allowed."""


class ParameterNode(Node):
    """A node with parameters from models.

    rclpy itself refuses wrong types, values out of range and unknown names in texts that leave out half of what one
    wants to know; here the models are asked first. A whole number is taken where a number with a point is expected.
    """

    @property
    def parameter_models(self) -> list[Parameters[Any]]:
        """What has declared the node's parameters."""
        models: list[Parameters[Any]] = self.__dict__.setdefault("_parameter_models", [])
        return models

    @property
    def refusals(self) -> Notices:
        """Which changes of parameters were refused, and why."""
        refusals: Notices = self.__dict__.setdefault("_parameter_refusals", Notices())
        return refusals

    def create_service(self, srv_type: Any, srv_name: str, callback: Callable[[Any, Any], Any], **options: Any) -> Any:
        """Make a service, among them rclpy's own for parameters, which here survive a value of a type that is none."""
        if srv_type in (SetParameters, SetParametersAtomically):
            callback = _of_known_types(callback)
        return super().create_service(srv_type, srv_name, callback, **options)

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """Set parameters one by one; each result says why where it is a refusal."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all parameters or none; the result says why where it is a refusal. rclpy's services call this."""
        result = self._set_atomically([self._as_declared(parameter) for parameter in parameter_list])
        if not result.successful:
            self.refusals.note("refused", result.reason)
        return result

    def _set_atomically(self, changed: list[Parameter]) -> SetParametersResult:
        reason = next(filter(None, (self._unknown(parameter.name) for parameter in changed)), "")
        reason = reason or next(filter(None, (model.refusal(changed) for model in self.parameter_models)), "")
        if reason:
            return SetParametersResult(successful=False, reason=reason)
        result = super().set_parameters_atomically(changed)
        if not result.successful:  # one that has no model: use_sim_time, or of rclpy's own
            values = ", ".join(f"'{parameter.name}' = {_shown(parameter.value)}" for parameter in changed)
            result.reason = f"{full_name(self)}: {values} is refused: {result.reason}"
        return result

    def _as_declared(self, parameter: Parameter) -> Parameter:
        if parameter.type_ != Parameter.Type.INTEGER or not self.has_parameter(parameter.name):
            return parameter
        is_number = self.describe_parameter(parameter.name).type == ParameterType.PARAMETER_DOUBLE
        return Parameter(parameter.name, value=float(parameter.value)) if is_number else parameter

    def _unknown(self, name: str) -> str:
        if self.has_parameter(name):
            return ""
        known = [parameter for parameter in self.list_parameters([], 0).names if not parameter.startswith("qos_")]
        near = get_close_matches(name, known, n=1)
        return f"{full_name(self)} has no parameter '{name}'" + (f"; '{near[0]}' is meant?" if near else "")


class Parameters(Generic[Model]):
    """The parameters of one node (or of one named part of it), declared, checked and kept up to date."""

    def __init__(
        self,
        node: ParameterNode,
        model: type[Model],
        *,
        prefix: str = "",
        is_configured: Callable[[], bool] = lambda: False,
        check: Callable[[Model], None] = lambda _value: None,
    ) -> None:
        """Declare every field of `model` as the parameter `<prefix><field>`.

        Args:
            node: declares the parameters.
            model: fields of type bool, int, float, str, a Literal of str, or a list or tuple of one of the first four
                (not empty).
            prefix: put before each name, e.g. `front.`.
            is_configured: tells whether changes of fields that are not `Live` must be refused.
            check: raises a ValueError for a change that is not possible now, e.g. because the network cannot do it.

        Raises:
            ParameterError: a value from the command line or a file does not fit.
        """
        self._node = node
        self._model = model
        self._prefix = prefix
        self._is_configured = is_configured
        self._check = check
        self.value: Model = self._validated({name: self._declare(name) for name in model.model_fields})
        node.parameter_models.append(self)
        node.add_post_set_parameters_callback(self._apply)

    def refusal(self, changed: Sequence[Parameter]) -> str:
        """Return why these parameters cannot be set together, or "" if they can, or are none of this model's."""
        mine = self._mine(changed)
        for name, value in mine.items():
            reason = self._obstacle(name, value)
            if reason:
                return self._refused(name, value, reason)
        if not mine:
            return ""
        try:
            value = self._validated({**self.value.model_dump(), **mine})
        except ParameterError as error:
            return str(error)
        try:
            self._check(value)
        except ValueError as error:
            return self._refused(*next(iter(mine.items())), str(error))
        return ""

    def _obstacle(self, name: str, value: Any) -> str:
        """Return what stands against setting a parameter, whatever the value of its type."""
        field = self._model.model_fields[name]
        if change_of(field) is ReadOnly:
            return f"it is fixed when the node starts, at {_shown(getattr(self.value, name))}"
        expected = self._node.describe_parameter(self._prefix + name).type
        if Parameter.Type.from_parameter_value(value).value != expected:
            return _expected(field)
        if change_of(field) is not Live and self._is_configured():
            return "it is applied when the node is configured: clean the node up first"
        return ""

    def _declare(self, name: str) -> Any:
        node, field, key = self._node, self._model.model_fields[name], self._prefix + name
        default = field.get_default()
        if node.has_parameter(key):  # declared when the node was configured before
            return node.get_parameter(key).value
        if isinstance(default, tuple):
            default = list(default)
        try:
            return node.declare_parameter(key, default, describe(field)).value
        except (InvalidParameterTypeException, InvalidParameterValueException):
            given = self._given(key)
        if field.annotation is not float or type(given) is not int:
            raise ParameterError(self._refused(name, given, _expected(field)))
        try:
            return node.declare_parameter(key, float(given), describe(field), ignore_override=True).value
        except InvalidParameterValueException as error:
            raise ParameterError(self._refused(name, given, _expected(field))) from error

    def _given(self, key: str) -> Any:
        """Return what the command line or a file gives for a parameter, whatever its type."""
        value = self._node.declare_parameter(key, "", ParameterDescriptor(dynamic_typing=True)).value
        self._node.undeclare_parameter(key)
        return value

    def _validated(self, values: dict[str, Any]) -> Model:
        try:
            return self._model.model_validate(values)
        except ValidationError as error:
            raise ParameterError("; ".join(self._explain(detail) for detail in error.errors())) from error

    def _explain(self, detail: Any) -> str:
        message = str(detail["msg"]).removeprefix("Value error, ")
        if not detail["loc"]:  # of several parameters together, which the validator names
            return f"{full_name(self._node)}: {message}"
        name = str(detail["loc"][0])
        field = self._model.model_fields[name]
        return self._refused(name, detail["input"], message if detail["type"] == _FULL_REASON else _expected(field))

    def _refused(self, name: str, value: Any, reason: str) -> str:
        return f"{full_name(self._node)}: parameter '{self._prefix}{name}' = {_shown(value)} is refused: {reason}"

    def _apply(self, changed: Sequence[Parameter]) -> None:
        mine = self._mine(changed)
        if mine:
            self.value = self._validated({**self.value.model_dump(), **mine})

    def _mine(self, changed: Sequence[Parameter]) -> dict[str, Any]:
        fields = self._model.model_fields
        names = {self._prefix + name: name for name in fields}
        return {names[parameter.name]: parameter.value for parameter in changed if parameter.name in names}


def full_name(node: Node) -> str:
    """Return how texts name a node: `node '/robot/perception'`."""
    return f"node '{node.get_fully_qualified_name()}'"


def _of_known_types(callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let a callback see no value in place of one whose type does not exist, which rclpy would end the process for."""

    def checked(request: Any, response: Any) -> Any:
        for parameter in request.parameters:
            if parameter.value.type not in _TYPES:
                parameter.value = ParameterValue()
        return callback(request, response)

    return checked


def _expected(field: FieldInfo) -> str:
    return f"{allowed(field)} is allowed ({type_name(field)})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "no value"
    return repr(list(value) if isinstance(value, (array.array, tuple)) else value)
