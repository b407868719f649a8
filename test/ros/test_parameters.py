# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters from models: what is declared, what is refused and why, and when changes take effect."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from mtl_perception.core.settings import Hertz, Live, Plain, ReadOnly, Seconds
from mtl_perception.ros.parameter_fields import allowed
from mtl_perception.ros.parameters import ParameterError, ParameterNode, Parameters
from mtl_perception.ros.perception_parameters import PerceptionParameters

NODE = "node '/subject'"


class Model(BaseModel):
    slop: Seconds = Field(0.05, gt=0.0, le=1.0, description="Largest distance.")
    count: int = Field(3, ge=1, le=9)
    names: list[str] = Field(["front"])
    policy: Literal["newest", "every"] = Field("newest")
    rate: Annotated[Hertz, Live] = Field(2.0, ge=0.0, le=10.0)
    bag: Annotated[str, ReadOnly] = Field("")
    low: Annotated[Plain, Live] = Field(0.0)
    high: Annotated[Plain, Live] = Field(1.0)

    @field_validator("names")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if "moon" in names:
            raise ValueError("'moon' is no name, use front or left")
        return names

    @model_validator(mode="after")
    def _in_order(self) -> "Model":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


@pytest.fixture
def make_node(ros_context):
    nodes = []

    def make(**values):
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(ParameterNode("subject", context=ros_context, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def set_one(node, name, value):
    return node.set_parameters([Parameter(name, value=value)])[0]


def test_descriptor_tells_text_unit_bounds_and_when_it_is_applied(make_node):
    node = make_node()
    Parameters(node, Model)
    slop = node.describe_parameter("slop")
    assert (slop.description, slop.type) == ("Largest distance.", ParameterType.PARAMETER_DOUBLE)
    assert (slop.floating_point_range[0].from_value, slop.floating_point_range[0].to_value) == (0.0, 1.0)
    expected = "Unit: s. More than 0.0. Applied when the node is configured; refused while it is configured."
    assert slop.additional_constraints == expected
    assert node.describe_parameter("count").integer_range[0].to_value == 9
    assert "newest, every" in node.describe_parameter("policy").additional_constraints
    assert node.describe_parameter("bag").read_only
    assert node.describe_parameter("rate").additional_constraints.startswith("Unit: Hz. Applied at once")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("slop", "more than 0.0, up to 1.0 s"),
        ("count", "1 to 9"),
        ("names", "a list of texts"),
        ("policy", "one of newest, every"),
        ("rate", "0.0 to 10.0 Hz"),
        ("low", "any double"),
    ],
)
def test_what_is_allowed_in_words(name, text):
    assert allowed(Model.model_fields[name]) == text


def test_values_come_from_the_command_line(make_node):
    parameters = Parameters(make_node(slop=0.2, names=["a", "b"]), Model)
    assert parameters.value.slop == 0.2
    assert parameters.value.names == ["a", "b"]


REFUSED = {
    "slop": (2.0, "parameter 'slop' = 2.0 is refused: more than 0.0, up to 1.0 s is allowed (double)"),
    "slop at its open bound": (0.0, "parameter 'slop' = 0.0 is refused: more than 0.0, up to 1.0 s is allowed"),
    "slop of another type": ("wide", "parameter 'slop' = 'wide' is refused: more than 0.0, up to 1.0 s is allowed"),
    "slop as a whole number": (2, "parameter 'slop' = 2"),
    "rate that is no number": (float("nan"), "parameter 'rate' = nan is refused: 0.0 to 10.0 Hz is allowed (double)"),
    "rate without end": (float("inf"), "parameter 'rate' = inf is refused: 0.0 to 10.0 Hz is allowed (double)"),
    "count": (0, "parameter 'count' = 0 is refused: 1 to 9 is allowed (integer)"),
    "count of another type": (1.5, "parameter 'count' = 1.5 is refused: 1 to 9 is allowed (integer)"),
    "policy": ("some", "parameter 'policy' = 'some' is refused: one of newest, every is allowed (string)"),
    "names of another type": ([1, 2], "parameter 'names' = [1, 2] is refused: a list of texts is allowed"),
    "names": (["moon"], "parameter 'names' = ['moon'] is refused: 'moon' is no name, use front or left"),
    "low": (2.0, "low 2.0 must be below high 1.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_start_values_are_refused_with_node_parameter_value_and_what_is_allowed(make_node, case):
    value, text = REFUSED[case]
    with pytest.raises(ParameterError) as refused:
        Parameters(make_node(**{case.split()[0]: value}), Model)
    assert str(refused.value).startswith(f"{NODE}: {text}")


@pytest.mark.parametrize("case", REFUSED)
def test_bad_changes_are_refused_alike_and_change_nothing(make_node, case):
    node, (value, text) = make_node(), REFUSED[case]
    parameters = Parameters(node, Model)
    name, before = case.split()[0], parameters.value
    refused = set_one(node, name, value)
    assert not refused.successful
    assert refused.reason.startswith(f"{NODE}: {text}")
    assert parameters.value == before
    assert node.get_parameter(name).value == getattr(before, name)


def test_a_whole_number_will_do_for_a_number(make_node):
    node = make_node(rate=5)
    parameters = Parameters(node, Model)
    assert parameters.value.rate == 5.0 and node.describe_parameter("rate").floating_point_range
    assert set_one(node, "rate", 7).successful
    assert isinstance(node.get_parameter("rate").value, float) and parameters.value.rate == 7.0


def test_live_change_is_applied(make_node):
    node = make_node()
    parameters = Parameters(node, Model, is_configured=lambda: True)
    assert set_one(node, "rate", 5.0).successful
    assert parameters.value.rate == 5.0


def test_changes_that_belong_together_are_checked_together(make_node):
    node = make_node()
    parameters = Parameters(node, Model)
    both = [Parameter("low", value=5.0), Parameter("high", value=6.0)]
    assert node.set_parameters_atomically(both).successful
    assert (parameters.value.low, parameters.value.high) == (5.0, 6.0)
    one_bad = [Parameter("rate", value=1.0), Parameter("high", value=2.0)]
    assert not node.set_parameters_atomically(one_bad).successful
    assert (parameters.value.rate, parameters.value.high) == (2.0, 6.0)


def test_configuration_is_fixed_while_the_node_is_configured(make_node):
    node, configured = make_node(), [False]
    parameters = Parameters(node, Model, is_configured=lambda: configured[0])
    assert set_one(node, "slop", 0.5).successful
    configured[0] = True
    refused = set_one(node, "slop", 0.1)
    assert not refused.successful
    assert refused.reason == (
        f"{NODE}: parameter 'slop' = 0.1 is refused: it is applied when the node is configured: clean the node up first"
    )
    assert parameters.value.slop == 0.5


def test_read_only_cannot_be_set(make_node):
    node = make_node(bag="walk")
    Parameters(node, Model)
    refused = set_one(node, "bag", "other")
    assert refused.reason == (
        f"{NODE}: parameter 'bag' = 'other' is refused: it is fixed when the node starts, at 'walk'"
    )


def test_what_is_not_possible_now_is_refused(make_node):
    def check(value):
        if value.rate > 5.0:
            raise ValueError("the network is too slow for more than 5 Hz")

    node = make_node(rate=6.0)
    parameters = Parameters(node, Model, check=check)  # what was asked for before all is known does not count
    refused = set_one(node, "rate", 7.0)
    assert refused.reason == f"{NODE}: parameter 'rate' = 7.0 is refused: the network is too slow for more than 5 Hz"
    assert parameters.value.rate == 6.0
    assert set_one(node, "rate", 5.0).successful


def test_a_name_that_does_not_exist_is_refused_with_the_nearest(make_node):
    node = make_node()
    Parameters(node, Model)
    assert set_one(node, "slopp", 0.1).reason == f"{NODE} has no parameter 'slopp'; 'slop' is meant?"
    assert set_one(node, "zzz", 0.1).reason == f"{NODE} has no parameter 'zzz'"


def test_parameters_of_rclpy_itself_are_named_too(make_node):
    node = make_node()
    refused = set_one(node, "use_sim_time", "yes")
    assert refused.reason.startswith(f"{NODE}: 'use_sim_time' = 'yes' is refused: ")
    assert set_one(node, "use_sim_time", False).successful


def test_prefix(make_node):
    node = make_node(**{"front.slop": 0.3})
    assert Parameters(node, Model, prefix="front.").value.slop == 0.3
    assert node.get_parameter("front.count").value == 3
    assert "parameter 'front.slop' = 3.0 is refused" in set_one(node, "front.slop", 3.0).reason


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"cameras": ["front", "front"]}, "each of them once"),
        ({"cameras": ["front left"]}, "'front left' cannot be part of a topic"),
        ({"pose_source": "tf"}, "world_frame"),
        ({"tasks": ["depth", "smell"]}, "'smell' is none of"),
        ({"min_cameras": 2}, "there are 1 cameras"),
    ],
)
def test_perception_refuses(make_node, values, text):
    with pytest.raises(ParameterError, match=text):
        Parameters(make_node(**values), PerceptionParameters)
