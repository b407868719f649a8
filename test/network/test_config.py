# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration: what must be there for which task, and what a plain network keeps."""

from pathlib import Path
from typing import Any

import pytest

from mtl_perception.network import NetworkConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volume": None}, "task 'occupancy' needs the section 'volume'"),
        ({"panoptic": None, "dense": {"decoder": "detail"}}, "task 'panoptic' needs the section 'panoptic'"),
        ({"steering": None}, "task 'steering' needs the section 'steering'"),
        ({"steering": {"motion": True}, "tasks": ("depth", "steering")}, "steering.motion needs the task 'ego_motion'"),
        (
            {"driving": {"motion": True}, "tasks": ("depth", "traffic_context")},
            "driving.motion needs the task 'ego_motion'",
        ),
        ({"driving": None}, "task 'driver_behaviour' needs the section 'driving'"),
        ({"dense": {"multi_scale_fusion": False}}, "cross_task needs dense.multi_scale_fusion"),
        ({"dense": {"decoder": "coarse", "multi_scale_fusion": True}}, "'coarse' decodes depth only, not 'edges'"),
        ({"neck": {"kind": "reassembly", "width": 8}, "dense": {}, "cross_task": None}, "its levels are not fused"),
        ({"volume": {"lift_width": 6, "plane_width": 8}}, "'detections' needs volume.detection_labels"),
        (
            {"volume": {"lift_width": 6, "plane_width": 8, "detection_labels": (8, 16)}, "tasks": ("detections",)},
            "volume names label 16, there are 16",
        ),
        ({"panoptic": {"kind": "light"}, "dense": {"semantic_from": "queries"}, "cross_task": None}, "panoptic.kind"),
        ({"wings": 2}, "wings"),
    ],
)
def test_what_does_not_fit_is_named(full_config: NetworkConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        NetworkConfig.model_validate(full_config.model_dump() | changes)


def test_a_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: mine\ntasks: [depth]\n")
    with pytest.raises(ValueError, match=r"network configuration .*mine\.yaml: .*\n*.*num_labels"):
        NetworkConfig.load(path)


def test_a_plain_network_has_no_exchange_and_the_same_encoder(full_config: NetworkConfig) -> None:
    plain = full_config.plain(("semantic", "occupancy", "vehicle_behaviour"))
    assert plain.tasks == ("semantic", "occupancy", "vehicle_behaviour")
    assert plain.backbone == full_config.backbone and plain.neck == full_config.neck
    assert plain.cross_view is None and plain.cross_task is None and not plain.dense_dual_branch
    assert plain.volume is not None and not plain.volume.prototypes
    assert plain.driving is not None and not plain.driving.dual_branch
    assert not plain.dense.multi_scale_fusion


def test_some_of_the_tasks(full_config: NetworkConfig) -> None:
    assert full_config.restricted(("edges", "depth")).tasks == ("depth", "edges")
    with pytest.raises(ValueError, match="'tiny' has no task occupancy"):
        NetworkConfig.model_validate(full_config.model_dump() | {"preset": "tiny", "tasks": ("depth",)}).restricted(
            ("occupancy",)
        )


def test_input_size_follows_the_camera(tiny_config: NetworkConfig) -> None:
    config = tiny_config.model_copy(update={"input_pixels": 42240})
    assert config.input_size(640, 480) == (240, 176)
    assert config.input_size(1600, 900) == (272, 160)
    assert config.model_copy(update={"input_multiple": 14}).input_size(640, 480) == (238, 182)
