# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of a bag as student and teachers look at them: rectified, with the frame some time before."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera, GroundTruth, RigFrame
from mtl_perception.core.transforms import inverse
from mtl_perception.data.recordings.bag import BagRecording
from mtl_perception.memory import MAX_PREVIOUS_AGE_NS
from mtl_perception.rectification import Rectification

WIDEST = 800
"""Pixels across that teachers are shown at most: their own input is smaller still."""
_GAP_NS = 200_000_000
"""Time to the frame before, as near as the bag has it: what the student was trained with."""
_MEASURED_POINTS = 4000


@dataclass(frozen=True, eq=False)
class SparseDepth:
    """Depth at some pixels: (K, 2) coordinates u, v and (K,) metres along the optical axis."""

    pixels: NDArray[np.float64]
    depth: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BagFrame:
    """One frame of the N cameras that have an image, all of one size (H, W), and the teachers' larger view of it.

    Attributes:
        names: of the cameras.
        images: uint8 (N, H, W, 3).
        seen: bool (N, H, W), False where a rectified image shows nothing because the camera's own does not reach there.
        large: uint8 (N, factor * H, factor * W, 3).
        K: (N, 3, 3) for `images`.
        base_from_camera: (N, 4, 4).
        measured: per camera, what depth images or LiDAR in the bag say, at the pixels of `images`; empty where nothing.
        previous_images, previous_large: of the frame before; None where a camera has no image there.
        previous_from_current: (N, 4, 4), each camera's motion; None where poses are not known.
        seconds: between the two frames, 0 without one before.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    large: NDArray[np.uint8]
    K: NDArray[np.float64]
    base_from_camera: NDArray[np.float64]
    measured: tuple[SparseDepth, ...]
    previous_images: NDArray[np.uint8] | None = None
    previous_large: NDArray[np.uint8] | None = None
    previous_from_current: NDArray[np.float64] | None = None
    seconds: float = 0.0


class BagFrames:
    """Reads frames of a bag at `size` (width, height), and at `factor` times that for the teachers."""

    def __init__(self, bag: BagRecording, size: tuple[int, int]) -> None:
        """Take a bag that is open."""
        self.bag, self.size = bag, size
        room = min(min(camera.width for camera in bag.rig), WIDEST)
        self.factor = max(1, room // size[0])
        self._rectifications: dict[tuple[str, int], Rectification] = {}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.bag)

    def __call__(self, index: int) -> BagFrame:
        """Read a frame.

        Raises:
            BagError: a message cannot be read.
        """
        sample = self.bag.sample(index)
        frame, names = sample.frame, sample.frame.present
        earlier = self._before(index)
        before = None if earlier is None else self.bag.sample(earlier).frame
        if before is not None and not set(names) <= set(before.present):
            before = None
        motion = None
        if before is not None and set(names) <= before.world_from_camera.keys() & frame.world_from_camera.keys():
            motion = np.stack([inverse(before.world_from_camera[n]) @ frame.world_from_camera[n] for n in names])
        views = [self._rectification(frame.rig[name], 1) for name in names]
        cameras = [view.target for view in views]
        everything = np.ones(self.size[::-1], dtype=bool)
        return BagFrame(
            names=names,
            images=self._images(frame, names, 1),
            seen=np.stack([everything if view.valid is None else view.valid for view in views]),
            large=self._images(frame, names, self.factor),
            K=np.stack([camera.K for camera in cameras]),
            base_from_camera=np.stack([camera.base_from_camera for camera in cameras]),
            measured=tuple(
                _measured(frame, sample.truth, name, camera) for name, camera in zip(names, cameras, strict=True)
            ),
            previous_images=None if before is None else self._images(before, names, 1),
            previous_large=None if before is None else self._images(before, names, self.factor),
            previous_from_current=motion,
            seconds=0.0 if before is None else 1e-9 * (frame.stamp_ns - before.stamp_ns),
        )

    def _before(self, index: int) -> int | None:
        """Return the frame nearest to `_GAP_NS` before, of those that the network would look back at."""
        now, best, best_error = self.bag.stamp_ns(index), None, float("inf")
        for frames in range(1, index + 1):
            earlier = self.bag.before(index, frames)
            if earlier is None or now - self.bag.stamp_ns(earlier) > MAX_PREVIOUS_AGE_NS:
                break
            error = abs(now - self.bag.stamp_ns(earlier) - _GAP_NS)
            if error < best_error:
                best, best_error = earlier, error
        return best

    def _images(self, frame: RigFrame, names: tuple[str, ...], factor: int) -> NDArray[np.uint8]:
        return np.stack([self._rectification(frame.rig[name], factor).apply(frame.images[name]) for name in names])

    def _rectification(self, camera: Camera, factor: int) -> Rectification:
        key = camera.name, factor
        if key not in self._rectifications:
            width, height = self.size
            self._rectifications[key] = Rectification.prepare(camera, factor * width, factor * height)
        return self._rectifications[key]


def _measured(frame: RigFrame, truth: GroundTruth, name: str, target: Camera) -> SparseDepth:
    """Return what the bag has measured of a camera's view, at the pixels of its rectified image."""
    source, known = frame.rig[name], truth.cameras.get(name)
    if known is not None and known.depth is not None:
        return _from_image(known.depth, source, target)
    sweep = truth.sweep
    if sweep is None or sweep.points is None:
        return SparseDepth(np.zeros((0, 2)), np.zeros(0))
    camera_from_sweep = inverse(source.base_from_camera)
    if sweep.world_from_base is not None and name in frame.world_from_camera:
        camera_from_sweep = inverse(frame.world_from_camera[name]) @ sweep.world_from_base
    points = sweep.points[:, :3] @ camera_from_sweep[:3, :3].T + camera_from_sweep[:3, 3]
    points = points[points[:, 2] > 0.3]
    return _inside(points[:, :2] / points[:, 2:], points[:, 2], target)


def _from_image(depth: NDArray[np.float32], source: Camera, target: Camera) -> SparseDepth:
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0.0))
    step = max(1, len(rows) // _MEASURED_POINTS)
    rows, columns = rows[::step], columns[::step]
    pixels = np.stack([columns, rows], axis=1).astype(np.float64)
    if source.is_rectified or not len(pixels):
        rays = (pixels - source.K[:2, 2]) / np.array([source.K[0, 0], source.K[1, 1]])
    elif source.distortion_model == "equidistant":
        rays = cv2.fisheye.undistortPoints(pixels[:, None], source.K, source.distortion)[:, 0]
    else:
        rays = cv2.undistortPoints(pixels[:, None], source.K, source.distortion)[:, 0]
    return _inside(rays, depth[rows, columns], target)


def _inside(rays: NDArray[np.floating], depth: NDArray[np.floating], target: Camera) -> SparseDepth:
    """Project rays (K, 2), x and y at z = 1, and keep those in the image."""
    pixels = rays * np.array([target.K[0, 0], target.K[1, 1]]) + target.K[:2, 2]
    seen = ((pixels > -0.5) & (pixels < np.array([target.width, target.height]) - 0.5)).all(axis=1)
    return SparseDepth(pixels[seen].astype(np.float64), depth[seen].astype(np.float64))
