# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labels of a scene whose depth is known exactly: flat ground, a wall, the sky; by teachers that err in scale only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.resources import config_file
from mtl_perception.training.augmentation import augment
from mtl_perception.training.distillation.bag_frames import BagFrame, SparseDepth
from mtl_perception.training.distillation.class_names import map_classes
from mtl_perception.training.distillation.labelled_source import DATASET, LabelledSource
from mtl_perception.training.distillation.labelling import MANIFEST, Labeller, label_bag, label_file
from mtl_perception.training.samples import collate

SIZE = 96, 64
CAMERA_HEIGHT = 1.5
NOTHING = SparseDepth(np.zeros((0, 2)), np.zeros(0))
CLASSES = {0: "road", 1: "building", 2: "sky", 3: "car", 4: "spaceship"}


class Scene:
    """A camera looks along a road at a wall 20 m away, 4 m high."""

    def __init__(self) -> None:
        width, height = SIZE
        self.K = np.array([[80.0, 0.0, 47.5], [0.0, 80.0, 25.5], [0.0, 0.0, 1.0]])
        self.mount = BODY_FROM_OPTICAL.copy()
        self.mount[2, 3] = CAMERA_HEIGHT
        down = (np.arange(height)[:, None] - self.K[1, 2]) / self.K[1, 1] + np.zeros((1, width))
        ground = np.where(down > 0, CAMERA_HEIGHT / np.maximum(down, 1e-6), np.inf)
        self.depth = np.minimum(ground, 20.0)
        self.classes = np.where(ground < 20.0, 0, np.where(-down * 20.0 < 4.0 - CAMERA_HEIGHT, 1, 2))
        self.depth[self.classes == 2] = np.inf

    def frame(self) -> BagFrame:
        image, seen = np.zeros((1, SIZE[1], SIZE[0], 3), np.uint8), np.ones((1, SIZE[1], SIZE[0]), bool)
        return BagFrame(("front",), image, seen, image, self.K[None], self.mount[None], (NOTHING,))


class Depth:
    """Tells inverse depth, up to a scale and a shift; or metres."""

    def __init__(self, scene: Scene, metric: bool = False) -> None:
        self.scene, self.metric, self.asked = scene, metric, 0

    def __call__(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        self.asked += 1
        inverse = 1.0 / self.scene.depth
        told = np.where(np.isinf(self.scene.depth), 80.0, self.scene.depth) if self.metric else 30.0 * inverse + 2.0
        return told[None].astype(np.float32)


class Segmentation:
    def __init__(self, scene: Scene, confidence: float = 0.9) -> None:
        self.scene, self.confidence, self.id2label = scene, confidence, CLASSES

    def __call__(self, images: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        probability = torch.full((1, len(CLASSES), *self.scene.classes.shape), (1 - self.confidence) / 4)
        return probability.scatter(1, torch.from_numpy(self.scene.classes)[None, None], self.confidence)


@pytest.fixture(scope="module")
def labels() -> LabelSpace:
    return LabelSpace.load(config_file("labels", "default"))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def labeller(scene: Scene, labels: LabelSpace, prior: float = np.nan, **changes: object) -> Labeller:
    def seen(frame: BagFrame) -> np.ndarray:
        return np.where(np.isinf(scene.depth), np.nan, prior * scene.depth)[None].astype(np.float32)

    teachers = {"depth": Depth(scene), "segmentation": Segmentation(scene)} | changes
    return Labeller(**teachers, mapping=map_classes(CLASSES, labels), labels=labels, prior=seen)  # type: ignore[arg-type]


def check(depth: np.ndarray, scene: Scene, scale: float = 1.0) -> None:
    finite = np.isfinite(scene.depth)
    np.testing.assert_allclose(depth[0][finite], scale * scene.depth[finite], rtol=0.03)
    assert np.isposinf(depth[0][~finite]).all()


def test_the_known_height_over_the_ground_gives_metres(scene: Scene, labels: LabelSpace) -> None:
    depth, _, ways = labeller(scene, labels)(scene.frame())
    assert ways == ["ground"]
    check(depth, scene)


def test_what_the_bag_has_measured_comes_first(scene: Scene, labels: LabelSpace) -> None:
    rows, columns = np.nonzero(np.isfinite(scene.depth))
    measured = SparseDepth(np.stack([columns, rows], axis=1)[::9].astype(float), 2.0 * scene.depth[rows, columns][::9])
    depth, _, ways = labeller(scene, labels)(replace(scene.frame(), measured=(measured,)))
    assert ways == ["measured"]
    check(depth, scene, scale=2.0)


def test_without_either_the_student_says_how_far_things_are(scene: Scene, labels: LabelSpace) -> None:
    mount = scene.mount.copy()
    mount[2, 3] = 0.0  # not known
    frame = replace(scene.frame(), base_from_camera=mount[None])
    depth, _, ways = labeller(scene, labels, prior=3.0)(frame)
    assert ways == ["student"]
    check(depth, scene, scale=3.0)
    depth, _, ways = labeller(scene, labels)(frame)  # a student that has learnt nothing
    assert ways == ["unknown"] and np.isnan(depth[0][np.isfinite(scene.depth)]).all()


def test_metres_are_taken_as_they_are(scene: Scene, labels: LabelSpace) -> None:
    depth, _, ways = labeller(scene, labels, depth=Depth(scene, metric=True))(scene.frame())
    assert ways == ["metric"]
    check(depth, scene)


def test_semantics_keep_the_teachers_confidence_and_void(scene: Scene, labels: LabelSpace) -> None:
    scene.classes[:5] = 4  # a spaceship, in the sky
    for confidence in (0.95, 0.4):
        asked = labeller(scene, labels, segmentation=Segmentation(scene, confidence))
        depth, semantic, _ = asked(scene.frame())
        assert (semantic[0, :5] == 255).all()
        row = int(semantic[0, -1, 0])
        assert asked.rows.dataset[row] == ("road",)
        assert asked.rows.weights[row] == pytest.approx(confidence, abs=0.07) and asked.rows.weights[255] == 0.0
        # What might be sky is not said to be infinitely far.
        assert np.isposinf(depth).any() == (confidence > 0.6)


def test_there_is_no_sky_on_the_road(scene: Scene, labels: LabelSpace) -> None:
    scene.classes[-8:, :20] = 2
    depth, _, _ = labeller(scene, labels)(scene.frame())
    assert np.isfinite(depth[0, -8:, :20]).all()


def test_nothing_is_said_of_pixels_that_the_camera_does_not_see(scene: Scene, labels: LabelSpace) -> None:
    frame = scene.frame()
    frame.seen[:, :, :10] = False
    depth, semantic, _ = labeller(scene, labels)(frame)
    assert np.isnan(depth[0, :, :10]).all() and (semantic[0, :, :10] == 255).all()
    assert not np.isnan(depth[0, :, 10:]).any() and (semantic[0, :, 10:] != 255).all()


def test_labels_are_kept_and_not_made_again(scene: Scene, labels: LabelSpace, tmp_path: Path) -> None:
    asked = labeller(scene, labels)
    frames = lambda index: scene.frame()  # noqa: E731
    assert label_bag(frames, [0, 3], asked, tmp_path, {"bag": "a"}, quiet=True) == Counter(ground=2)  # type: ignore[arg-type]
    label_file(tmp_path, 3).unlink()
    assert label_bag(frames, [0, 3], asked, tmp_path, {"bag": "a"}, quiet=True) == Counter(ground=2)  # type: ignore[arg-type]
    assert asked.depth.asked == 3  # type: ignore[attr-defined]
    assert json.loads((tmp_path / MANIFEST).read_text())["bag"] == "a"
    with pytest.raises(ValueError, match="holds labels of another bag"):
        label_bag(frames, [0], asked, tmp_path, {"bag": "b"}, quiet=True)  # type: ignore[arg-type]
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    del manifest["format"]  # as it was before there was one
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="or another version of this program"):
        label_bag(frames, [0], asked, tmp_path / "old", {"bag": "a"}, quiet=True)  # type: ignore[arg-type]
    asked.mapping = replace(asked.mapping, set_of_class=(0, 0, 2, None, None))  # the same sets, of other classes
    with pytest.raises(ValueError, match="holds labels of another bag, other frames, teachers or classes"):
        label_bag(frames, [0], asked, tmp_path, {"bag": "a"}, quiet=True)  # type: ignore[arg-type]
    source = LabelledSource([label_file(tmp_path, 3)])
    sample = source.sample(0, SIZE, np.random.default_rng(0))
    check(sample.depth, scene)
    assert sample.ground_known and sample.previous_images is None and source.available(0.0) == 1
    with pytest.raises(ValueError, match="was labelled at 96x64, not at 48x32"):
        source.sample(0, (48, 32), np.random.default_rng(0))


def test_the_frame_before_is_kept_without_poses_too(scene: Scene, labels: LabelSpace, tmp_path: Path) -> None:
    still = scene.frame()
    before = replace(still, previous_images=still.images + 7, previous_large=still.large + 7, seconds=0.2)
    frames = {0: still, 1: before, 2: replace(before, previous_from_current=np.eye(4)[None])}
    label_bag(frames.__getitem__, list(frames), labeller(scene, labels), tmp_path, {}, quiet=True)  # type: ignore[arg-type]
    source = LabelledSource([label_file(tmp_path, index) for index in frames])
    samples = [source.sample(index, SIZE, np.random.default_rng(0)) for index in frames]
    assert samples[0].previous_images is None and samples[0].previous_from_current is None
    for sample in samples[1:]:
        assert sample.previous_images is not None and (sample.previous_images == 7).all() and sample.seconds == 0.2
    # Mirrored, recoloured and joined with others, what is not known stays so.
    changed = [augment(sample, np.random.default_rng(seed)) for sample in samples for seed in range(4)]
    space = replace(labels, datasets={**labels.datasets, DATASET: {}})
    batch = collate(changed, space, (4, 4, 4), ())
    assert batch.previous_rows.tolist() == list(range(4, 12))
    assert batch.previous_from_current[:4].isnan().all()
    torch.testing.assert_close(batch.previous_from_current[4:], torch.eye(4).expand(4, 4, 4))
