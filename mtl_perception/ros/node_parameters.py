# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter models of all nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mtl_perception.ros.evaluation_parameters import EvaluationParameters
from mtl_perception.ros.manager_parameters import ManagerParameters
from mtl_perception.ros.mapping_parameters import MappingParameters
from mtl_perception.ros.perception_parameters import (
    CabinCameraParameters,
    CameraParameters,
    OutputRates,
    PerceptionParameters,
)
from mtl_perception.ros.player_parameters import PlayerCameraParameters, PlayerParameters
from mtl_perception.ros.world_parameters import WorldParameters


@dataclass(frozen=True)
class NodeParameters:
    """What a node declares.

    Attributes:
        node: its name.
        executable: which `ros2 run` starts it.
        models: per prefix of the parameters' names; `<camera>` in it stands for the name of each camera.
    """

    node: str
    executable: str
    models: Mapping[str, type[BaseModel]]

    def fields(self) -> dict[str, FieldInfo]:
        """Return the fields by the parameters' names."""
        return {
            prefix + name: field for prefix, model in self.models.items() for name, field in model.model_fields.items()
        }


NODES = (
    NodeParameters(
        "perception",
        "perception_node",
        {
            "": PerceptionParameters,
            "max_rate.": OutputRates,
            "<camera>.": CameraParameters,
            "cabin.<camera>.": CabinCameraParameters,
        },
    ),
    NodeParameters("mapping", "mapping_node", {"": MappingParameters}),
    NodeParameters("evaluation", "evaluation_node", {"": EvaluationParameters, "<camera>.": CameraParameters}),
    NodeParameters("player", "player_node", {"": PlayerParameters, "<camera>.": PlayerCameraParameters}),
    NodeParameters("lifecycle_manager", "lifecycle_manager", {"": ManagerParameters}),
    NodeParameters("world", "world_node", {"": WorldParameters}),
)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what a parameter file says below `ros__parameters`, by the parameters' full names."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result
