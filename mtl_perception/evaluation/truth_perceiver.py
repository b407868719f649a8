# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Perfect perception: what is true of a bag's images, in the form in which a network would have said it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtl_perception.core import UNKNOWN, CameraPrediction, LabelSpace, Prediction
from mtl_perception.core.ground_truth import CameraTruth, Sample
from mtl_perception.rectification import Rectification

_UNKNOWN = {"depth": np.nan, "semantic": UNKNOWN, "panoptic": -1, "motion_mask": 0}


class TruthPerceiver:
    """Says of each frame what is known about it, so that nothing but the mapper can be wrong.

    Attributes:
        labels: those of the truth.
        tasks: what it tells, where it is known.
        tasks_left_out: per other task why not; no other is asked for.
        preset, checkpoint: names for reports.
    """

    tasks = tuple(_UNKNOWN)
    preset, checkpoint = "truth", "truth"

    def __init__(self, labels: LabelSpace) -> None:
        """Tell labels of this label space."""
        self.labels = labels
        self.tasks_left_out: dict[str, str] = {}

    def __call__(self, sample: Sample) -> Prediction:
        """Return what is true of a frame's images, at their own size and rectified: each pixel tells the nearest one's.

        Cameras without a depth image are left out. Labels of another label space are unknown.

        Raises:
            ValueError: no camera has a depth image.
        """
        frame, known = sample.frame, sample.truth.cameras
        cameras = {name: self._camera(sample, name) for name in frame.present if _has_depth(known.get(name))}
        if not cameras:
            raise ValueError("no camera has a true depth image at this stamp")
        return Prediction(
            stamp_ns=frame.stamp_ns,
            cameras=cameras,
            base_frame=frame.rig.base_frame,
            world_frame=frame.world_frame,
            world_from_base=frame.world_from_base,
            missing=frame.missing,
            tasks=self.tasks,
        )

    def _camera(self, sample: Sample, name: str) -> CameraPrediction:
        frame, truth, camera = sample.frame, sample.truth.cameras[name], sample.frame.rig[name]
        fields = ("depth", "motion_mask") if sample.truth.dataset else tuple(_UNKNOWN)
        images: dict[str, Any] = {field: getattr(truth, field) for field in fields}
        images = {field: image.copy() for field, image in images.items() if image is not None}
        images["depth"][np.isinf(images["depth"])] = np.nan  # sky: no surface, as predictions have it
        rectification = Rectification.prepare(camera, camera.width, camera.height)
        if not camera.is_rectified:
            images = {field: rectification.nearest(image, _UNKNOWN[field]) for field, image in images.items()}
        return CameraPrediction(
            camera=rectification.target,
            stamp_ns=frame.image_stamps_ns[name],
            world_from_camera=frame.world_from_camera.get(name),
            colour=rectification.apply(frame.images[name]),
            **images,
        )


def _has_depth(truth: CameraTruth | None) -> bool:
    return truth is not None and truth.depth is not None
