# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From hand-made network outputs to the fields of a Prediction, with exact results."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl_perception.core import FREE, UNOBSERVED, Detection, LabelSpace
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.memory import Past
from mtl_perception.network import CameraBatch, NetworkConfig, NetworkOutput, PreviousFrame
from mtl_perception.network.motion.ego_motion import EgoMotion
from mtl_perception.network.panoptic.query_segmentation import QueryOutput
from mtl_perception.network.volume.center_head import BoxMaps
from mtl_perception.postprocessing import Postprocessing, Thresholds
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
NANO = NetworkConfig.load(config_file("networks", "nano"))
POST = Postprocessing(NANO, LABELS)
HEIGHT, WIDTH = 8, 12
ROAD, CAR, PEDESTRIAN = (LABELS.id_of(name) for name in ("road", "car", "pedestrian"))
YAW_90 = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
FORWARD = torch.from_numpy(BODY_FROM_OPTICAL).float()


def batch(*mounts: Tensor) -> CameraBatch:
    count = len(mounts)
    K = torch.tensor([[10.0, 0, 5.5], [0, 10, 3.5], [0, 0, 1]])
    return CameraBatch(
        torch.zeros(count, 3, HEIGHT, WIDTH),
        K.expand(count, 3, 3),
        torch.stack(mounts),
        torch.ones(count, dtype=torch.bool),
        torch.zeros(count, dtype=torch.int64),
        1,
    )


def past(motion: Tensor | None, seconds: list[float], valid: list[bool], newest: list[bool] | None = None) -> Past:
    recent = None if newest is None else torch.tensor(newest)
    K, elapsed = torch.eye(3).expand(len(valid), 3, 3), torch.tensor(seconds)
    return Past(PreviousFrame({}, K, motion, torch.tensor(valid), recent, elapsed), 123)


def halves(left: float, right: float) -> Tensor:
    """Return a map (1, h, w) at half the size, one value on the left and another on the right."""
    values = torch.full((1, HEIGHT // 2, WIDTH // 2), left)
    values[..., WIDTH // 4 :] = right
    return values


def logit(probability: float) -> float:
    return float(np.log(probability / (1.0 - probability)))


def test_depth_normals_and_flow_are_nan_where_there_is_no_surface() -> None:
    flow = torch.zeros(1, 3, HEIGHT // 2, WIDTH // 2)
    output = NetworkOutput(
        depth=halves(4.0, 4.0),
        depth_std=halves(0.5, 0.5),
        surface=halves(0.0, 1.0),
        normals=torch.tensor([0.0, 0.6, -0.8])[None, :, None, None].expand_as(flow),
        independent_flow=flow,
    )
    tasks = ("depth", "normals", "scene_flow")
    images = POST.images(output, tasks, batch(FORWARD), past(torch.eye(4)[None], [0.1], [True]))
    assert set(images) == {"depth", "depth_std", "normals", "scene_flow"}
    first = WIDTH // 2 - 1  # a quarter of a surface: one that is likely enough
    for image in images.values():
        assert np.isnan(image[0, :, :first]).all() and np.isfinite(image[0, :, first:]).all()
    assert images["depth"][0, 0, -1] == pytest.approx(4.0) and images["depth_std"][0, 0, -1] == pytest.approx(0.5)
    np.testing.assert_allclose(images["normals"][0, 0, -1], [0.0, 0.6, -0.8], atol=1e-6)


def test_depth_is_interpolated_by_its_inverse() -> None:
    output = NetworkOutput(depth=halves(2.0, 8.0), depth_std=halves(0.1, 0.1), surface=halves(1.0, 1.0))
    depth = POST.images(output, ("depth",), batch(FORWARD), None)["depth"][0, 0]
    middle = WIDTH // 2
    assert 1.0 / depth[middle - 1] == pytest.approx(0.75 / 2 + 0.25 / 8)  # a quarter of a pixel from either border
    assert 1.0 / depth[middle] == pytest.approx(0.25 / 2 + 0.75 / 8)


def test_normals_keep_unit_length_between_pixels() -> None:
    normals = torch.zeros(1, 3, HEIGHT // 2, WIDTH // 2)
    normals[:, 0, :, : WIDTH // 4] = 1.0
    normals[:, 2, :, WIDTH // 4 :] = -1.0
    image = POST.images(NetworkOutput(normals=normals), ("normals",), batch(FORWARD), None)["normals"]
    assert image.dtype == np.float32 and image.shape == (1, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(np.linalg.norm(image, axis=3), 1.0, atol=1e-6)
    assert 0.0 < image[0, 0, WIDTH // 2 - 1, 0] < 1.0


def test_edges_and_motion_are_masks_at_even_odds() -> None:
    logits = halves(logit(0.4), logit(0.6))
    output = NetworkOutput(edge_logits=logits, motion_logits=logits)
    told = past(torch.eye(4)[None], [0.1], [True])
    images = POST.images(output, ("edges", "motion_mask"), batch(FORWARD), told)
    expected = np.repeat([[0] * (WIDTH // 2) + [255] * (WIDTH // 2)], HEIGHT, axis=0)
    np.testing.assert_array_equal(images["edges"][0], expected)
    np.testing.assert_array_equal(images["motion_mask"][0], expected)
    assert "motion_mask" not in POST.images(output, ("edges", "motion_mask"), batch(FORWARD), None)


def test_edges_have_their_probability_interpolated_as_logits() -> None:
    output = NetworkOutput(edge_logits=halves(logit(0.1), logit(0.9)))
    images = POST.images(output, ("edges",), batch(FORWARD), None)
    probability = images["edge_probability"]
    assert set(images) == {"edges", "edge_probability"} and probability.dtype == np.float32
    assert probability.shape == (1, HEIGHT, WIDTH)
    row = probability[0, 0]
    middle = WIDTH // 2
    assert row[0] == pytest.approx(0.1) and row[-1] == pytest.approx(0.9)
    # A quarter of a pixel from the left half's last value on: logit(0.1) * 0.75 + logit(0.9) * 0.25 = logit(0.1) / 2.
    assert row[middle - 1] == pytest.approx(1.0 / (1.0 + 9.0**0.5)) and row[middle] == pytest.approx(0.75)
    np.testing.assert_array_equal(images["edges"] > 0, probability > 0.5)


@pytest.mark.parametrize("known", [True, False])
def test_flow_becomes_velocity_in_base_axes(known: bool) -> None:
    # Seen by three cameras: forward, to the left, and forward but turned left by 90 degrees since the frame before.
    mounts = (FORWARD, YAW_90 @ FORWARD, FORWARD)
    turn = FORWARD.inverse() @ YAW_90 @ FORWARD
    motion = torch.stack([torch.eye(4), torch.eye(4), turn])
    # A thing has come 1 m away from each camera (in the previous camera's axes): it was 1 m nearer before.
    flow = torch.zeros(3, 3, HEIGHT // 2, WIDTH // 2)
    flow[:, 2] = -1.0
    vector = torch.tensor([[0.0] * 6, [0.0] * 6, [0.0, -np.pi / 2, 0.0, 0.0, 0.0, 0.0]])
    estimate = EgoMotion(vector, torch.zeros(3, 6))
    output = NetworkOutput(independent_flow=flow, ego_motion=None if known else estimate)
    told = past(motion if known else None, [0.5, 0.25, 0.1], [True, True, True])
    image = POST.images(output, ("scene_flow",), batch(*mounts), told)["scene_flow"]
    assert image.dtype == np.float32 and image.shape == (3, HEIGHT, WIDTH, 3)
    expected = [[2.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, -10.0, 0.0]]
    np.testing.assert_allclose(image, np.broadcast_to(np.array(expected)[:, None, None], image.shape), atol=1e-5)


def test_flow_is_nothing_where_more_likely_nothing_moves() -> None:
    flow = torch.full((1, 3, HEIGHT // 2, WIDTH // 2), 0.1)
    output = NetworkOutput(independent_flow=flow, flow_mask_logits=halves(-0.2, 0.3))
    told = past(torch.eye(4)[None], [0.1], [True])
    image = POST.images(output, ("scene_flow",), batch(FORWARD), told)["scene_flow"][0]
    assert (image[:, : WIDTH // 2 - 1] == 0).all() and (np.abs(image[:, WIDTH // 2 :]) > 0.9).all()


def test_flow_is_nan_without_a_previous_image_or_any_motion() -> None:
    flow = torch.ones(2, 3, HEIGHT // 2, WIDTH // 2)
    output, rig = NetworkOutput(independent_flow=flow), batch(FORWARD, FORWARD)
    some = POST.images(output, ("scene_flow",), rig, past(torch.eye(4).expand(2, 4, 4), [0.1, 1.0], [True, False]))
    assert np.isfinite(some["scene_flow"][0]).all() and np.isnan(some["scene_flow"][1]).all()
    for told in (None, past(None, [0.1, 0.1], [True, True])):
        assert np.isnan(POST.images(output, ("scene_flow",), rig, told)["scene_flow"]).all()
    assert np.isnan(POST.images(NetworkOutput(), ("scene_flow",), rig, None)["scene_flow"]).all()


def test_queries_become_segments_and_semantics() -> None:
    # One query holds the left as a car, one the middle as road, two hold nothing; the right belongs to none.
    classes = torch.full((1, 4, len(LABELS) + 1), -20.0)
    classes[0, 0, CAR] = classes[0, 1, ROAD] = classes[0, 2:, -1] = 20.0
    masks = torch.full((1, 4, HEIGHT // 2, WIDTH // 2), -20.0)
    masks[0, 0, :, :2] = masks[0, 1, :, 2:4] = 20.0
    output = NetworkOutput(queries=QueryOutput(classes, masks))
    images = POST.images(output, ("semantic", "panoptic"), batch(FORWARD), None)
    expected = np.repeat([[CAR * 1000 + 1] * 4 + [ROAD * 1000] * 4 + [-1] * 4], HEIGHT, axis=0)
    np.testing.assert_array_equal(images["panoptic"][0], expected)
    assert images["panoptic"].dtype == np.int32 and images["semantic"].dtype == np.uint8
    np.testing.assert_array_equal(images["semantic"][0, :, :8], expected[:, :8] // 1000)
    assert images["semantic_confidence"][0, 0, 0] > 0.99 and images["semantic_confidence"][0, 0, -1] < 0.01
    assert set(POST.images(output, ("panoptic",), batch(FORWARD), None)) == {"panoptic"}


def test_centres_become_segments_of_the_semantic_head() -> None:
    logits = torch.full((1, len(LABELS), HEIGHT // 2, WIDTH // 2), -10.0)
    logits[:, ROAD] = 0.0
    logits[:, CAR, :, :1] = logits[:, CAR, :, -1:] = 10.0
    centres = torch.full((1, HEIGHT // 2, WIDTH // 2), -10.0)
    centres[0, 1, 0], centres[0, 1, -1] = 3.0, 5.0  # the right one is more certain
    output = NetworkOutput(
        semantic_logits=logits, centre_logits=centres, centre_offsets=torch.zeros(1, 2, HEIGHT // 2, WIDTH // 2)
    )
    panoptic = POST.images(output, ("panoptic",), batch(FORWARD), None)["panoptic"][0]
    assert (panoptic[:, 0] == CAR * 1000 + 2).all() and (panoptic[:, -1] == CAR * 1000 + 1).all()
    assert (panoptic[:, 4:8] == ROAD * 1000).all()


def test_boxes_come_out_in_metres_with_the_ids_of_their_labels() -> None:
    grid = NANO.box_grid.to_grid()
    shape = grid.shape[:2]
    heatmap = torch.full((1, 4, *shape), -10.0)
    heatmap[0, 0, 40, 32], heatmap[0, 2, 20, 10] = logit(0.6), logit(0.8)
    heatmap[0, 3, 5, 5] = logit(0.05)  # too unlikely
    log_size = torch.tensor([4.0, 2.0, 1.5]).log()[None, :, None, None].expand(1, 3, *shape)
    direction = torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, *shape)
    velocity = torch.tensor([3.0, -1.0])[None, :, None, None].expand(1, 2, *shape)
    offset, height = torch.full((1, 2, *shape), 0.5), torch.full((1, 1, *shape), 0.75)
    output = NetworkOutput(boxes=BoxMaps(heatmap, offset, height, log_size, direction, velocity))
    first, second = POST.rig(output, ("detections",), batch(FORWARD), None)["detections"]
    assert isinstance(first, Detection) and (first.label, second.label) == (PEDESTRIAN, CAR)
    assert (first.score, second.score) == (pytest.approx(0.8), pytest.approx(0.6))
    x, y = (low + cells * grid.voxel_size for low, cells in zip(grid.origin[:2], (41.0, 33.0), strict=True))
    assert second.centre == pytest.approx((x, y, 0.75))
    assert second.size == pytest.approx((4.0, 2.0, 1.5)) and second.yaw == pytest.approx(np.pi / 2)
    assert second.velocity == pytest.approx((3.0, -1.0))


def test_map_layers_have_their_names_and_place() -> None:
    logits = torch.full((1, 4, *NANO.grid.shape[:2]), -10.0)
    logits[0, 1, 3, 5] = logit(0.75)
    bev_map = POST.rig(NetworkOutput(map_logits=logits), ("bev_map",), batch(FORWARD), None)["bev_map"]
    assert tuple(bev_map.layers) == ("road", "pavement", "lane_marking", "crossing")
    assert bev_map.origin == (-16.0, -16.0) and bev_map.cell_size == 0.5
    assert bev_map.layers["pavement"][3, 5] == pytest.approx(0.75) and bev_map.layers["road"].max() < 0.01


def test_ego_motion_is_of_the_base_since_the_newest_frame_in_the_order_of_ros() -> None:
    # The base goes 1 m forward; the third camera has missed a frame and tells of 2 m, the fourth has no previous one.
    mounts = (FORWARD, YAW_90 @ FORWARD, FORWARD, FORWARD)
    vector = torch.zeros(4, 6)
    vector[0, 5], vector[1, 3], vector[2, 5], vector[3, 5] = 1.0, 1.0, 2.0, 50.0
    variance = torch.tensor([1e-4, 4e-4, 9e-4, 0.01, 0.04, 0.09])
    output = NetworkOutput(ego_motion=EgoMotion(vector, variance.log().expand(4, 6)))
    told = past(None, [0.1, 0.1, 0.2, 1.0], [True, True, True, False], [True, True, False, True])
    moved = POST.rig(output, ("ego_motion",), batch(*mounts), told)["ego_motion"]
    assert moved.previous_stamp_ns == 123
    expected = np.eye(4)
    expected[0, 3] = 1.0
    np.testing.assert_allclose(moved.previous_base_from_base, expected, atol=1e-6)
    alone = past(None, [0.1], [True])
    only = NetworkOutput(ego_motion=EgoMotion(torch.zeros(1, 6), variance.log()[None]))
    covariance = POST.rig(only, ("ego_motion",), batch(FORWARD), alone)["ego_motion"].covariance
    # Optical z, x, y are the base's x, y, z; the translation comes first.
    np.testing.assert_allclose(np.diag(covariance), [0.09, 0.01, 0.04, 9e-4, 1e-4, 4e-4], rtol=1e-3)
    assert POST.rig(NetworkOutput(), ("ego_motion",), batch(FORWARD), alone)["ego_motion"] is None


def test_steering_and_context_have_units_and_names() -> None:
    output = NetworkOutput(
        steering=torch.tensor([0.2]),
        steering_log_variance=torch.tensor([0.01]).log(),
        scene_logits={"traffic_context": torch.tensor([[0.0, np.log(2.0), 0.0]])},
    )
    rig = POST.rig(output, ("steering", "traffic_context"), batch(FORWARD), None)
    assert rig["steering"].angle == pytest.approx(0.2) and rig["steering"].std == pytest.approx(0.1)
    expected = {"traffic jam": 0.25, "waiting": 0.5, "smooth traffic": 0.25}
    assert rig["driving_context"] == {"traffic_context": pytest.approx(expected)}


def test_occupancy_is_what_is_likely_where_something_was_seen() -> None:
    shape = NANO.grid.shape
    logits, reached = torch.full((1, 1 + len(LABELS), *shape), -5.0), torch.zeros(1, *shape)
    reached[0, 10:20, 10:20] = 1.0
    for x in (15, 40):  # the second one was never seen
        logits[0, [0, 1 + CAR], x, 15, 3] = 5.0
    logits[0, 1 + LABELS.id_of("sky")] = 9.0  # nothing consists of sky
    occupancy = POST.rig(NetworkOutput(occupancy_logits=logits, reached=reached), ("occupancy",), batch(FORWARD), None)[
        "occupancy"
    ]
    assert occupancy.labels[15, 15, 3] == CAR and occupancy.occupied.sum() == 1
    assert occupancy.labels[12, 12, 0] == FREE and occupancy.labels[40, 15, 3] == UNOBSERVED


@pytest.mark.parametrize("told", [None, past(torch.eye(4)[None], [0.1], [True])])
def test_nothing_comes_out_that_was_not_asked_for(told: Past | None) -> None:
    content: dict[str, Any] = {
        "depth": halves(1.0, 1.0),
        "depth_std": halves(1.0, 1.0),
        "surface": halves(1.0, 1.0),
        "edge_logits": halves(1.0, 1.0),
        "motion_logits": halves(1.0, 1.0),
        "semantic_logits": torch.zeros(1, len(LABELS), 4, 6),
        "map_logits": torch.zeros(1, 4, *NANO.grid.shape[:2]),
        "steering": torch.zeros(1),
        "steering_log_variance": torch.zeros(1),
        "scene_logits": {"traffic_context": torch.zeros(1, 3)},
    }
    assert POST.images(NetworkOutput(**content), (), batch(FORWARD), told) == {}
    assert POST.rig(NetworkOutput(**content), (), batch(FORWARD), told) == {"driving_context": {}}


def test_thresholds_decide_what_is_taken_for_true() -> None:
    post = Postprocessing(NANO, LABELS)
    logits = halves(logit(0.4), logit(0.6))
    scores = torch.full((1, len(LABELS), HEIGHT // 2, WIDTH // 2), -20.0)
    scores[:, ROAD, :, : WIDTH // 4], scores[:, CAR, :, : WIDTH // 4] = 1.0, 1.0  # as likely as each other
    scores[:, CAR, :, WIDTH // 4 :] = 20.0
    output = NetworkOutput(
        depth=halves(4.0, 4.0),
        depth_std=halves(0.5, 0.5),
        surface=halves(0.3, 0.9),
        edge_logits=logits,
        motion_logits=logits,
        semantic_logits=scores,
    )
    tasks, told = ("depth", "edges", "motion_mask", "semantic"), past(torch.eye(4)[None], [0.1], [True])

    def ends(**thresholds: float) -> dict[str, tuple[float, float]]:
        post.thresholds = Thresholds(**thresholds)
        images = post.images(output, tasks, batch(FORWARD), told)
        return {name: (float(image[0, 0, 0]), float(image[0, 0, -1])) for name, image in images.items()}

    usual = ends()
    assert (usual["edges"], usual["motion_mask"], usual["semantic"][1]) == ((0, 255), (0, 255), CAR)
    assert usual["depth"] == pytest.approx((4.0, 4.0))
    assert ends(edge=0.3)["edges"] == (255, 255) and ends(edge=0.7)["edges"] == (0, 0)
    assert ends(motion=0.3)["motion_mask"] == (255, 255) and ends(motion=0.7)["motion_mask"] == (0, 0)
    assert ends(motion=0.0)["motion_mask"] == (255, 255) and ends(motion=1.0)["motion_mask"] == (0, 0)
    assert np.isnan(ends(surface=0.5)["depth"][0]) and ends(surface=0.5)["depth"][1] == pytest.approx(4.0)
    assert ends(semantic=0.6)["semantic"] == (255, CAR)
    assert ends(semantic=0.6)["semantic_confidence"] == usual["semantic_confidence"] == pytest.approx((0.5, 1.0))


def test_thresholds_of_boxes_and_voxels() -> None:
    post, shape = Postprocessing(NANO, LABELS), NANO.grid.shape
    logits, reached = torch.full((1, 1 + len(LABELS), *shape), -5.0), torch.ones(1, *shape)
    logits[0, [0, 1 + CAR], 15, 15, 3] = logit(0.7)
    heatmap = torch.full((1, 4, *NANO.box_grid.to_grid().shape[:2]), -10.0)
    heatmap[0, 0, 40, 32] = logit(0.6)
    rest = [torch.zeros(1, channels, *heatmap.shape[2:]) for channels in (2, 1, 3, 2, 2)]
    output = NetworkOutput(occupancy_logits=logits, reached=reached, boxes=BoxMaps(heatmap, *rest))
    counts = []
    for threshold in (0.05, 0.5, 0.65, 0.8):
        post.thresholds = Thresholds(detection=threshold, occupancy=threshold)
        rig = post.rig(output, ("occupancy", "detections"), batch(FORWARD), None)
        counts.append((len(rig["detections"]), int(rig["occupancy"].occupied.sum())))
    assert counts == [(1, 1), (1, 1), (0, 1), (0, 0)]
