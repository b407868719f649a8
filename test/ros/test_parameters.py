# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters from models: what is declared, what is refused and why, and when changes take effect."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, model_validator
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception.ros.mapping_parameters import MappingParameters
from mtl_perception.ros.parameters import Live, ParameterError, Parameters, ReadOnly
from mtl_perception.ros.perception_parameters import PerceptionParameters


class Model(BaseModel):
    slop: float = Field(0.05, gt=0.0, le=1.0, description="Largest distance, seconds.")
    count: int = Field(3, ge=1, le=9)
    names: list[str] = Field(["front"])
    policy: Literal["newest", "every"] = Field("newest")
    rate: Annotated[float, Live] = Field(2.0, ge=0.0, le=10.0)
    bag: Annotated[str, ReadOnly] = Field("")
    low: Annotated[float, Live] = Field(0.0)
    high: Annotated[float, Live] = Field(1.0)

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
        nodes.append(Node("subject", context=ros_context, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def set_one(node, name, value):
    return node.set_parameters([Parameter(name, value=value)])[0]


def test_descriptor_tells_text_bounds_and_when_it_is_applied(make_node):
    node = make_node()
    Parameters(node, Model)
    slop = node.describe_parameter("slop")
    assert slop.description == "Largest distance, seconds."
    assert (slop.floating_point_range[0].from_value, slop.floating_point_range[0].to_value) == (0.0, 1.0)
    assert "clean" in slop.additional_constraints or "configured" in slop.additional_constraints
    assert node.describe_parameter("count").integer_range[0].to_value == 9
    assert "newest, every" in node.describe_parameter("policy").additional_constraints
    assert node.describe_parameter("bag").read_only
    assert "at once" in node.describe_parameter("rate").additional_constraints


def test_values_come_from_the_command_line(make_node):
    parameters = Parameters(make_node(slop=0.2, names=["a", "b"]), Model)
    assert parameters.value.slop == 0.2
    assert parameters.value.names == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"slop": 2.0}, "slop"),
        ({"slop": 0.0}, "slop.*greater than 0"),
        ({"slop": "wide"}, "slop"),
        ({"policy": "some"}, "policy.*some"),
        ({"low": 2.0}, "low 2.0 must be below high 1.0"),
    ],
)
def test_bad_start_values_are_refused_with_the_reason(make_node, values, text):
    with pytest.raises(ParameterError, match=text):
        Parameters(make_node(**values), Model)


def test_live_change_is_applied_and_told(make_node):
    node, seen = make_node(), []
    parameters = Parameters(node, Model, is_configured=lambda: True, on_change=seen.append)
    assert set_one(node, "rate", 5.0).successful
    assert parameters.value.rate == 5.0
    assert seen[0].rate == 5.0


def test_bad_changes_are_refused_and_change_nothing(make_node):
    node = make_node()
    parameters = Parameters(node, Model)
    refused = set_one(node, "low", 7.0)
    assert not refused.successful
    assert "must be below high" in refused.reason
    assert not set_one(node, "rate", 11.0).successful
    assert (parameters.value.low, parameters.value.rate) == (0.0, 2.0)
    assert node.get_parameter("low").value == 0.0


def test_changes_that_belong_together_are_checked_together(make_node):
    node = make_node()
    parameters = Parameters(node, Model)
    both = [Parameter("low", value=5.0), Parameter("high", value=6.0)]
    assert node.set_parameters_atomically(both).successful
    assert (parameters.value.low, parameters.value.high) == (5.0, 6.0)


def test_configuration_is_fixed_while_the_node_is_configured(make_node):
    node, configured = make_node(), [False]
    parameters = Parameters(node, Model, is_configured=lambda: configured[0])
    assert set_one(node, "slop", 0.5).successful
    configured[0] = True
    refused = set_one(node, "slop", 0.1)
    assert not refused.successful
    assert "clean the node up first" in refused.reason
    assert parameters.value.slop == 0.5


def test_read_only_cannot_be_set(make_node):
    node = make_node()
    Parameters(node, Model)
    assert not set_one(node, "bag", "other").successful


def test_prefix(make_node):
    node = make_node(**{"front.slop": 0.3})
    assert Parameters(node, Model, prefix="front.", defaults={"count": 4}).value.count == 4
    assert node.get_parameter("front.slop").value == 0.3


@pytest.mark.parametrize("model", [PerceptionParameters, MappingParameters])
def test_every_parameter_of_the_nodes_is_described(make_node, model):
    node = make_node()
    Parameters(node, model)
    for name in model.model_fields:
        assert node.describe_parameter(name).description.endswith(".")


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
