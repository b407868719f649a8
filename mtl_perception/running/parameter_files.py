# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names in parameter files that nobody knows: ROS 2 ignores them without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.resources import config_folder

_NODES = ("perception", "mapping", "evaluation", "player", "lifecycle_manager", "world")
_OF_ANY_NODE = ("use_sim_time", "start_type_description_service")
_OF_A_CAMERA = ("image_topic", "info_topic", "compressed", "rectified")


def unknown_parameters(file: Path) -> list[str]:
    """Return a line for each parameter of a file that no node has and for each node that is not there.

    Only YAML is read, no node's model: the launch file asks, too, in a Python that may lack what the nodes need. What
    there is stands in config/perception.yaml. A file that cannot be read gives no line: the nodes say why.
    """
    try:
        content = yaml.safe_load(file.read_text())
        known = yaml.safe_load((config_folder() / "perception.yaml").read_text())["/**"]["ros__parameters"]
    except (OSError, ValueError, yaml.YAMLError):
        return []
    sections = list(_sections(content, "")) if isinstance(content, Mapping) else []
    names = {*_flat(known), *_OF_ANY_NODE}
    cameras = {camera for _, values in sections for camera in _names(values.get("cameras"))}
    return [
        f"{file}: {complaint}"
        for section, values in sections
        for complaint in _complaints(section, values, names, cameras)
    ]


def _sections(content: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give each node of a file with its parameters by full name."""
    for key, value in content.items():
        if key == "ros__parameters":
            yield path, dict(_flat(value)) if isinstance(value, Mapping) else {}
        elif isinstance(value, Mapping):
            yield from _sections(value, f"{path}/{str(key).strip('/')}")


def _flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        result |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return result


def _names(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _complaints(section: str, values: Mapping[str, Any], names: set[str], cameras: set[str]) -> Iterator[str]:
    node = section.rsplit("/", 1)[-1]
    if "*" not in node and node not in _NODES:
        near = get_close_matches(node, _NODES, n=1, cutoff=0.75)
        if near:  # else it is somebody else's
            yield f"there is no node '{node}', so its parameters are ignored; '{near[0]}' is meant?"
        return
    for name in values:
        reason = _reason(name, names, cameras)
        if reason:
            yield f"node '{section}': parameter '{name}' is ignored: {reason}"


def _reason(name: str, names: set[str], cameras: set[str]) -> str:
    """Return why a parameter means nothing, or ""."""
    if name in names or name.startswith("qos_overrides."):
        return ""
    camera, _, field = name.rpartition(".")
    in_cabin = camera.startswith("cabin.")
    if camera and field in _OF_A_CAMERA and "." not in camera.removeprefix("cabin."):
        if in_cabin or not cameras or camera in cameras:
            return ""
        return f"there is no camera '{camera}' in cameras"
    near = get_close_matches(name, names, n=1)
    return "no node has it" + (f"; '{near[0]}' is meant?" if near else "")
