# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth fed back as predictions is perfect in every metric; known faults cost what can be computed by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.core import CameraPrediction, Detection, LabelSpace, Prediction, Steering
from mtl_perception.core.ground_truth import CameraTruth, Sample
from mtl_perception.data.world import World
from mtl_perception.evaluation.judged import JudgedFrame, judged
from mtl_perception.evaluation.map_reference import MapReference
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores import SCORES, all_scores
from mtl_perception.evaluation.scores.detection_matching import true_boxes
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
TIMES = (4.0, 4.1, 4.2)
Change = Callable[[Prediction], Prediction]


@pytest.fixture(scope="module", params=["street", "indoor"])
def samples(request) -> list[Sample]:
    world = World.generate(request.param, 3, LABELS, cameras="surround4", image_size=(96, 72), cabin=True)
    before = (None, *TIMES)
    return [world.render(now, previous_s=then) for then, now in zip(before, TIMES, strict=False)]


def as_predicted(sample: Sample) -> Prediction:
    """What a perfect network says of a frame: it sees no farther than the cameras do."""
    frame, truth = sample.frame, sample.truth
    prediction = Prediction(
        stamp_ns=frame.stamp_ns,
        cameras={name: _camera(sample, name, truth.cameras[name]) for name in frame.present},
        base_frame=frame.rig.base_frame,
        world_frame=frame.world_frame,
        world_from_base=frame.world_from_base,
        occupancy=truth.occupancy,
        bev_map=truth.bev_map,
        ego_motion=truth.ego_motion,
        steering=None if truth.steering is None else Steering(truth.steering, 0.0),
        driving_context={task: {name: 1.0} for task, name in truth.driving_context.items()},
    )
    return replace(prediction, detections=_detections(judged(prediction, frame, truth)))


def _camera(sample: Sample, name: str, truth: CameraTruth) -> CameraPrediction:
    assert truth.depth is not None
    surface = np.isfinite(truth.depth)
    return CameraPrediction(
        camera=sample.frame.rig[name].resized(*truth.depth.shape[::-1]),
        stamp_ns=sample.frame.image_stamps_ns[name],
        world_from_camera=sample.frame.world_from_camera[name],
        colour=sample.frame.images[name],
        depth=np.where(surface, truth.depth, np.float32(np.nan)),
        depth_std=np.where(surface, np.float32(0.01), np.float32(np.nan)),
        semantic=truth.semantic,
        semantic_confidence=np.ones_like(truth.depth),
        normals=truth.normals,
        edges=truth.edges,
        panoptic=truth.panoptic,
        motion_mask=truth.motion_mask,
        scene_flow=truth.scene_flow,
    )


def _detections(both: JudgedFrame) -> tuple[Detection, ...]:
    boxes = true_boxes(both, LABELS)
    assert boxes is not None
    return tuple(
        Detection(int(label), 0.9, tuple(centre), tuple(size), float(yaw), tuple(velocity))
        for label, centre, size, yaw, velocity in zip(
            boxes.label, boxes.centre, boxes.size, boxes.yaw, boxes.velocity, strict=True
        )
    )


def metrics_of(samples: list[Sample], change: Change = lambda prediction: prediction) -> dict[str, dict[str, float]]:
    """Score what a perfect network says after a change of it, maps included."""
    config = MapperConfig(voxel_size=0.3, max_depth=20.0, grid_resolution=0.5)
    scores, mapper, reference = all_scores(LABELS, ScoreOptions()), Mapper(config, LABELS), MapReference(config, LABELS)
    rows = {score.task: [] for score in scores}
    for index, sample in enumerate(samples):
        both = judged(change(as_predicted(sample)), sample.frame, sample.truth)
        mapper.fuse(both.prediction)
        reference.add(both)
        for score in scores:
            row = score.frame(both)
            if row is not None:
                rows[score.task].append((index, row))
    rows["map"].append((0, reference.map_statistics(mapper.mesh())))
    return {
        score.task: score.metrics(TaskStatistics.of(score.bag(rows[score.task])).total())
        for score in scores
        if rows[score.task]
    }


def cameras_changed(prediction: Prediction, change: Callable[[CameraPrediction], CameraPrediction]) -> Prediction:
    return replace(prediction, cameras={name: change(camera) for name, camera in prediction.cameras.items()})


def test_the_truth_is_perfect_in_every_metric_of_every_task(samples):
    """What is to be high is 1, what is to be low is 0; but for the rounding of Open3D's single-precision distances."""
    found = metrics_of(samples)

    steers = samples[0].truth.steering is not None  # a robot indoors has no front wheels
    judged_here = {score.task for score in SCORES} - {"scene_graph"}  # whose reference is not made by a mapper
    assert set(found) == judged_here - (set() if steers else {"steering"})
    checked = 0
    for score in (score for score in SCORES if score.task in found):
        for metric, value in found[score.task].items():
            if metric in score.better and np.isfinite(value):
                perfect = 1.0 if score.better[metric] == "higher" else 0.0
                assert value == pytest.approx(perfect, abs=1e-7), f"{score.task}.{metric}"
                checked += 1
        assert np.isfinite(found[score.task][score.key]), score.task
    assert checked > 50


def test_depth_a_tenth_too_large_is_a_tenth_wrong(samples):
    def larger(camera: CameraPrediction) -> CameraPrediction:
        return replace(camera, depth=np.float32(1.1) * camera.depth)

    # Nothing beyond 80 / 1.1 m, where the predicted depth would be cut off.
    near = [_without_far_depth(sample) for sample in samples]
    found = metrics_of(near, lambda prediction: cameras_changed(prediction, larger))["depth"]
    assert found["abs_rel"] == pytest.approx(0.1, rel=1e-5)
    assert found["rmse_log"] == pytest.approx(np.log(1.1), rel=1e-5)
    assert found["delta1"] == 1.0
    truth = np.concatenate([camera.depth.ravel() for sample in near for camera in sample.truth.cameras.values()])
    truth = truth[np.isfinite(truth)].astype(np.float64)
    assert found["sq_rel"] == pytest.approx((0.01 * truth).mean(), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt((0.01 * truth**2).mean()), rel=1e-5)


def test_labels_shifted_by_a_pixel_are_right_where_neighbours_agree(samples):
    def shifted(camera: CameraPrediction) -> CameraPrediction:
        return replace(camera, semantic=np.roll(camera.semantic, 1, axis=1))

    found = metrics_of(samples, lambda prediction: cameras_changed(prediction, shifted))["semantic"]
    truth = [camera.semantic for sample in samples for camera in sample.truth.cameras.values()]
    pairs = np.concatenate([np.stack([image, np.roll(image, 1, axis=1)]).reshape(2, -1) for image in truth], axis=1)
    true, seen = pairs[:, pairs[0] != 255]
    assert found["pixel_accuracy"] == pytest.approx((true == seen).mean(), rel=1e-12)
    overlaps = [
        ((true == label) & (seen == label)).sum() / ((true == label) | (seen == label)).sum()
        for label in range(len(LABELS))
        if ((true == label) | (seen == label)).any()
    ]
    assert found["miou"] == pytest.approx(np.mean(overlaps), rel=1e-12)


def test_a_pose_that_is_off_by_a_decimetre_each_step(samples):
    def off(prediction: Prediction) -> Prediction:
        if prediction.ego_motion is None:
            return prediction
        pose = prediction.ego_motion.previous_base_from_base.copy()
        pose[:3, 3] += pose[:3, :3] @ [0.1, 0.0, 0.0]  # forward, in the frame of now: the error of TUM's definition
        return replace(prediction, ego_motion=replace(prediction.ego_motion, previous_base_from_base=pose))

    found = metrics_of(samples, off)["ego_motion"]
    assert found["rpe"] == pytest.approx(0.1, abs=1e-9)
    assert found["rpe_rotation_deg"] == pytest.approx(0.0, abs=1e-6)


def test_boxes_that_are_off_by_three_decimetres(samples):
    def off(prediction: Prediction) -> Prediction:
        moved = tuple(
            replace(box, centre=(box.centre[0] + 0.3, box.centre[1], box.centre[2])) for box in prediction.detections
        )
        return replace(prediction, detections=moved)

    found = metrics_of(samples, off)["detections"]
    assert found["translation_error"] == pytest.approx(0.3, abs=1e-6)
    assert found["map"] == pytest.approx(1.0) and found["scale_error"] == pytest.approx(0.0, abs=1e-6)
    assert found["nds"] == pytest.approx((5 + 0.7 + 4) / 10, abs=1e-3)


def _without_far_depth(sample: Sample) -> Sample:
    cameras = {
        name: replace(camera, depth=np.where(camera.depth < 72.0, camera.depth, np.float32(np.nan)))
        for name, camera in sample.truth.cameras.items()
    }
    return replace(sample, truth=replace(sample.truth, cameras=cameras))
