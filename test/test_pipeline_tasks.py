# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every task through the perceiver: small networks with random weights that pass for trained, on rendered frames."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mtl_perception.core import TASKS, CabinFrame, LabelSpace, Prediction, Rig, RigFrame
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.world import World
from mtl_perception.data.world.cameras.rigs import RigLayout, load_rig
from mtl_perception.network import Checkpoint, MultiTaskNetwork, NetworkConfig
from mtl_perception.network.motion.pose_pyramid import OUTPUT_SCALE
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
# Every module of every system, as small as they come.
QUERIES: dict[str, Any] = {
    "preset": "everything",
    "tasks": TASKS,
    "num_labels": len(LABELS),
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}},
    "neck": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "dense": {"decoder": "refined", "multi_scale_fusion": True, "head_widths": (8, 8), "semantic_from": "queries"},
    "cross_view": {"width": 16, "planes": 8, "layers": 1},
    "dense_dual_branch": True,
    "cross_task": {"layers": 1, "heads": 2},
    "panoptic": {"kind": "queries", "width": 32, "queries": 6, "encoder_layers": 1, "decoder_layers": 2},
    "grid": {"origin": (-8.0, -8.0, -1.0), "voxel_size": 0.5, "shape": (32, 24, 8)},
    "volume": {
        "lift_width": 6,
        "plane_width": 8,
        "detection_labels": (8, 10),
        "map_layers": {"road": (1,), "line": ()},
        "prototypes": True,
        "boxes": 5,
    },
    "steering": {"width": 16, "frames": 4},
    "driving": {"width": 8},
}
LIGHT = QUERIES | {
    "dense": {"width": 8},
    "cross_view": None,
    "dense_dual_branch": False,
    "cross_task": None,
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "panoptic": {"kind": "light", "width": 8},
    "volume": QUERIES["volume"] | {"prototypes": False},
}
Make = Callable[..., Perceiver]


@pytest.fixture(scope="module")
def frames() -> list[RigFrame]:
    """Return three frames of two cameras, 0.2 s apart; the second camera's lens leaves the image's corners empty."""
    whole = load_rig("surround4", (96, 64))
    two = RigLayout(Rig(whole.rig.cameras[:2]), whole.exposure_offsets_ns)
    street = World.generate("street", 2_000_000, LABELS, cameras=two, duration_s=3.0)
    left = street.rig["left"]
    wide = replace(left, distortion_model="plumb_bob", distortion=np.array([0.35, 0.0, 0.0, 0.0, 0.0]))
    rig = Rig((street.rig["front"], wide))
    return [replace(street.look(seconds), rig=rig) for seconds in (2.0, 2.2, 2.4)]


@pytest.fixture(scope="module")
def networks() -> dict[str, MultiTaskNetwork]:
    """Return a network by each configuration, seeded."""
    torch.manual_seed(0)
    configs = {"queries": QUERIES, "light": LIGHT}
    return {name: MultiTaskNetwork(NetworkConfig.model_validate(config)).eval() for name, config in configs.items()}


@pytest.fixture
def make(networks: dict[str, MultiTaskNetwork]) -> Make:
    """Return what makes a perceiver that has seen nothing yet."""

    def make(kind: str = "queries", trained: tuple[str, ...] = TASKS) -> Perceiver:
        return Perceiver(Checkpoint(networks[kind], LABELS, trained, {}, "random.safetensors"))

    return make


def without(*tasks: str) -> tuple[str, ...]:
    return tuple(task for task in TASKS if task not in tasks)


def cabin() -> CabinFrame:
    generator = np.random.default_rng(0)
    joints = generator.normal(size=(26, 3))
    joints[3] = np.nan
    images = {
        "face": generator.integers(0, 255, (50, 40, 3)).astype(np.uint8),
        "body": np.zeros((90, 160, 3), np.uint8),
    }
    return CabinFrame(images, joints, generator.normal(size=(42, 3)).astype(np.float32))


def seeing_motion(network: MultiTaskNetwork, evidence: float) -> MultiTaskNetwork:
    """Return a network whose motion mask's logits are raised everywhere by the same."""
    network = copy.deepcopy(network)
    bias = network.motion.motion_mask.pose.bias
    bias.data.add_(evidence / OUTPUT_SCALE)
    return network


def blind(frame: RigFrame) -> RigFrame:
    return replace(frame, world_from_base=None, world_from_camera={})


def unchanged(first: Prediction, second: Prediction, field: str) -> bool:
    return all(
        np.array_equal(getattr(first.cameras[name], field), getattr(second.cameras[name], field), equal_nan=True)
        for name in first.cameras
    )


@pytest.mark.parametrize("kind", ["queries", "light"])
def test_every_task_comes_out_in_the_promised_form(make: Make, frames: list[RigFrame], kind: str) -> None:
    perceiver = make(kind)
    perceiver(frames[0], cabin=cabin())
    prediction = perceiver(frames[1], cabin=cabin())
    assert prediction.tasks == TASKS
    things = {label.id for label in LABELS.labels if label.thing}
    for name, camera in prediction.cameras.items():
        height, width = camera.colour.shape[:2]
        forms = {
            "depth": (np.float32, ()),
            "depth_std": (np.float32, ()),
            "semantic": (np.uint8, ()),
            "semantic_confidence": (np.float32, ()),
            "motion_mask": (np.uint8, ()),
            "normals": (np.float32, (3,)),
            "edges": (np.uint8, ()),
            "panoptic": (np.int32, ()),
            "scene_flow": (np.float32, (3,)),
        }
        for field, (dtype, channels) in forms.items():
            values = getattr(camera, field)
            assert values.dtype == dtype and values.shape == (height, width, *channels), field
        surface = np.isfinite(camera.depth)
        for image in (camera.depth_std, camera.normals, camera.scene_flow):
            finite = np.isfinite(image)
            np.testing.assert_array_equal(finite if finite.ndim == 2 else finite.all(axis=2), surface)
            assert (finite if finite.ndim == 2 else finite.any(axis=2)).sum() == surface.sum()
        assert surface.any()
        np.testing.assert_allclose(np.linalg.norm(camera.normals[surface], axis=1), 1.0, atol=1e-5)
        assert set(np.unique(camera.edges)) <= {0, 255} and set(np.unique(camera.motion_mask)) <= {0, 255}
        segments = np.unique(camera.panoptic[camera.panoptic >= 0])
        assert (segments // 1000 < len(LABELS)).all() and camera.panoptic.min() >= -1
        assert all((segment % 1000 > 0) == (segment // 1000 in things) for segment in segments)
        outside = perceiver._rectifications[name].valid
        assert (outside is None) == (name == "front")
        if outside is not None:
            corner = ~outside
            assert corner[0, 0] and np.isnan(camera.depth[corner]).all() and (camera.panoptic[corner] == -1).all()
            assert (camera.semantic[corner] == 255).all() and not camera.semantic_confidence[corner].any()
            assert not camera.edges[corner].any() and not camera.motion_mask[corner].any()

    assert prediction.bev_map is not None and tuple(prediction.bev_map.layers) == ("road", "line")
    assert prediction.bev_map.origin == (-8.0, -8.0) and prediction.bev_map.cell_size == 0.5
    for layer in prediction.bev_map.layers.values():
        assert layer.shape == (32, 24) and layer.dtype == np.float32 and 0.0 <= layer.min() <= layer.max() <= 1.0
    assert prediction.occupancy is not None and isinstance(prediction.detections, tuple)
    assert prediction.steering is not None and prediction.steering.std > 0.0
    assert prediction.ego_motion is not None and prediction.ego_motion.previous_stamp_ns == frames[0].stamp_ns
    np.testing.assert_allclose(np.linalg.det(prediction.ego_motion.previous_base_from_base), 1.0, atol=1e-5)
    assert (np.linalg.eigvalsh(prediction.ego_motion.covariance) > 0).all()
    assert {task: tuple(classes) for task, classes in prediction.driving_context.items()} == SCENE_CLASSES
    for probabilities in prediction.driving_context.values():
        assert sum(probabilities.values()) == pytest.approx(1.0)


def test_the_first_frame_has_nothing_to_compare_with_and_neither_has_a_repeated_one(
    make: Make, frames: list[RigFrame]
) -> None:
    perceiver = make()
    first = perceiver(frames[1])
    again = perceiver(frames[0])  # a looping recording
    for prediction in (first, again):
        assert prediction.ego_motion is None
        for camera in prediction.cameras.values():
            assert camera.motion_mask is None
            assert camera.scene_flow is not None and np.isnan(camera.scene_flow).all()
    assert perceiver(frames[1]).ego_motion is not None


def test_a_camera_without_a_previous_image_has_no_flow_yet(make: Make, frames: list[RigFrame]) -> None:
    perceiver = make()
    perceiver(replace(frames[0], images={"front": frames[0].images["front"]}))
    cameras = perceiver(frames[1]).cameras
    front, left = cameras["front"].scene_flow, cameras["left"].scene_flow
    assert front is not None and np.isfinite(front).any()
    assert left is not None and np.isnan(left).all() and cameras["left"].motion_mask is None


def test_flow_is_per_second_of_each_camera(
    make: Make, networks: dict[str, MultiTaskNetwork], frames: list[RigFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(networks, "queries", seeing_motion(networks["queries"], 100.0))
    flows = []
    for delay_ns in (0, 200_000_000):  # the same images and poses, but twice the time between them
        perceiver = make(trained=("depth", "scene_flow"))
        perceiver(frames[0])
        stamps = {name: stamp + delay_ns for name, stamp in frames[1].image_stamps_ns.items()}
        later = replace(frames[1], stamp_ns=frames[1].stamp_ns + delay_ns, image_stamps_ns=stamps)
        flows.append(perceiver(later).cameras["front"].scene_flow)
    np.testing.assert_allclose(flows[0], 2.0 * flows[1], rtol=1e-4)
    assert np.nanmin(np.linalg.norm(flows[0], axis=-1)) > 0.0


def test_where_the_mask_says_that_nothing_moves_the_flow_is_zero(
    make: Make, networks: dict[str, MultiTaskNetwork], frames: list[RigFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(networks, "queries", seeing_motion(networks["queries"], -100.0))
    perceiver = make(trained=("depth", "scene_flow"))
    perceiver(frames[0])
    flow = perceiver(frames[1]).cameras["front"].scene_flow
    assert flow is not None and np.nanmax(np.abs(flow)) == 0.0


def test_without_poses_the_networks_own_estimate_serves_where_it_was_trained(
    make: Make, frames: list[RigFrame]
) -> None:
    perceiver = make()
    prediction = [perceiver(blind(frame)) for frame in frames][-1]
    camera = prediction.cameras["front"]
    assert prediction.ego_motion is not None and camera.motion_mask is not None
    assert camera.scene_flow is not None and np.isfinite(camera.scene_flow).any()
    narrowed = make()
    only = [narrowed(blind(frame), ("scene_flow",)) for frame in frames][-1]
    assert only.ego_motion is None and only.tasks == ("scene_flow",)
    assert only.cameras["front"].scene_flow is not None and np.isfinite(only.cameras["front"].scene_flow).any()


def test_without_poses_and_without_an_estimate_there_is_neither_flow_nor_mask(
    make: Make, frames: list[RigFrame]
) -> None:
    perceiver = make(trained=without("ego_motion"))
    predictions = [perceiver(frame) for frame in (blind(frames[0]), blind(frames[1]), frames[2])]
    for prediction in predictions:  # the last frame has poses, but the one before it has not
        assert not {"scene_flow", "motion_mask", "ego_motion"}.intersection(prediction.tasks)
        assert prediction.cameras["front"].scene_flow is None and prediction.cameras["front"].motion_mask is None
    reprojecting = make("light")
    second = [reprojecting(blind(frame)) for frame in frames[:2]][1]
    assert second.cameras["front"].motion_mask is not None  # with the motion that the network has estimated
    assert "scene_flow" in second.tasks and second.ego_motion is not None


def test_the_driver_is_judged_only_where_something_is_known_of_him(make: Make, frames: list[RigFrame]) -> None:
    driver = {"driver_behaviour", "driver_emotion"}
    alone = make()(frames[0])
    assert set(alone.driving_context) == set(SCENE_CLASSES) - driver and not driver.intersection(alone.tasks)
    seen = make()(frames[0], cabin=cabin())
    joints = make()(frames[0], cabin=CabinFrame({}, cabin().posture))
    image = make()(frames[0], cabin=CabinFrame(cabin().images))
    answers = [prediction.driving_context["driver_emotion"]["peace"] for prediction in (seen, joints, image)]
    assert np.isfinite(answers).all() and len(set(answers)) == 3
    assert unchanged(alone, seen, "depth")  # the cabin has no say in what is outside


def test_what_is_computed_for_another_task_stays_inside(make: Make, frames: list[RigFrame]) -> None:
    perceiver = make(trained=("occupancy",))
    prediction = perceiver(frames[0])
    assert prediction.occupancy is not None and prediction.tasks == ("occupancy",)
    assert prediction.bev_map is None and prediction.detections is None
    assert prediction.cameras["front"].depth is None
    normals = make()(frames[0], ("normals",)).cameras["front"]
    assert normals.depth is None and normals.normals is not None
    np.testing.assert_array_equal(
        np.isnan(normals.normals[..., 0]), np.isnan(make()(frames[0]).cameras["front"].normals[..., 0])
    )


def test_light_panoptic_agrees_with_semantics_and_needs_them(make: Make, frames: list[RigFrame]) -> None:
    both = make("light")(frames[0]).cameras["front"]
    alone = make("light")(frames[0], ("panoptic",)).cameras["front"]
    assert alone.semantic is None and alone.panoptic is not None and both.semantic is not None
    np.testing.assert_array_equal(both.panoptic, alone.panoptic)
    known = alone.panoptic >= 0
    things = np.array([label.thing for label in LABELS.labels])[both.semantic]
    assert known[~things].all()
    np.testing.assert_array_equal(alone.panoptic[~things], both.semantic[~things].astype(np.int32) * 1000)
    untrained = make("light", without("semantic"))
    assert "needs semantics" in untrained.tasks_left_out["panoptic"]
    with pytest.raises(ValueError, match="'panoptic': it needs semantics"):
        untrained(frames[0], ("panoptic",))


def test_steering_looks_at_the_frames_before(make: Make, frames: list[RigFrame]) -> None:
    perceiver, fresh = make(), make()
    perceiver(frames[0], ("steering",))
    first, second = fresh(frames[1], ("steering",)).steering, perceiver(frames[1], ("steering",)).steering
    assert first is not None and second is not None and first.angle != second.angle
    perceiver.reset()
    assert perceiver(frames[1], ("steering",)).steering == first


def test_a_rehearsed_preset_computes_everything_and_says_nothing(tmp_path: Path, frames: list[RigFrame]) -> None:
    content = NetworkConfig.model_validate(LIGHT).model_dump(mode="json")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    perceiver = Perceiver.from_preset(str(tmp_path / "small.yaml"), LABELS)
    assert perceiver.rehearsed_tasks == TASKS and perceiver.tasks == ()
    for frame in frames:
        prediction = perceiver(frame, cabin=cabin())
        assert prediction.tasks == () and prediction.seconds["network"] > 0.0
        assert (prediction.occupancy, prediction.bev_map, prediction.detections) == (None, None, None)
        assert (prediction.ego_motion, prediction.steering, prediction.driving_context) == (None, None, {})
        for camera in prediction.cameras.values():
            images = vars(camera).keys() - {"camera", "stamp_ns", "world_from_camera", "colour"}
            assert len(images) == 10 and all(getattr(camera, image) is None for image in images)


@pytest.mark.parametrize("kind", ["queries", "light"])
def test_a_frame_that_is_only_looked_at_serves_the_next_as_well_as_one_that_is_computed(
    make: Make, frames: list[RigFrame], kind: str
) -> None:
    wanted = without("steering", "driver_behaviour", "driver_emotion", "vehicle_behaviour", "traffic_context")
    computed, looked_at, alone = make(kind), make(kind), make(kind)
    computed(frames[0], wanted)
    nothing = looked_at(frames[0], (), next_tasks=wanted)
    assert nothing.tasks == () and all(camera.depth is None for camera in nothing.cameras.values())
    first, second, third = (perceiver(frames[1], wanted) for perceiver in (computed, looked_at, alone))
    for field in ("depth", "semantic", "normals", "edges", "panoptic", "motion_mask", "scene_flow"):
        assert unchanged(first, second, field), field
    assert first.ego_motion is not None and second.ego_motion is not None and third.ego_motion is None
    np.testing.assert_array_equal(first.ego_motion.previous_base_from_base, second.ego_motion.previous_base_from_base)
    for task in ("depth", "semantic", "panoptic", "occupancy"):
        assert (task in alone.comparing_tasks) == (kind == "queries"), task
    assert unchanged(first, third, "depth") == (kind == "light")  # the other's depends on the frame before
    assert {"motion_mask", "scene_flow", "ego_motion", "steering"} <= set(alone.comparing_tasks)


def test_what_is_asked_for_at_the_next_frame_must_exist_too(make: Make, frames: list[RigFrame]) -> None:
    with pytest.raises(ValueError, match=r"task 'edges': random.* was not trained for it"):
        make(trained=("depth",))(frames[0], ("depth",), next_tasks=("edges",))
