# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From cameras outside, cameras in the cabin, joints and the recent past to streams of one size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core.frame import GESTURE_JOINTS, POSTURE_JOINTS
from mtl_perception.network.batch import History
from mtl_perception.network.driving.attentive_pooler import AttentivePooler, MotionToken, with_past


@dataclass(frozen=True)
class CabinBatch:
    """What is known of the drivers of B frames. A frame may lack any of it.

    The joints are those of AIDE (Yang et al. 2023): the first 26 of Halpe's 136 for the posture, then its 21 of the
    left and 21 of the right hand. AIDE's own files hold (x, y, confidence) in the image; here they are points in space,
    which is our reading of its shapes (26, 3) and (42, 3), and does not depend on the camera's lens.

    Attributes:
        images: (B, S, 3, H, W) RGB, 0..1: the cabin's views, for example the whole cabin, the face and the body.
        valid: (B, S) bool, which of them there are.
        posture: (B, 26, 3) metres in the cabin camera's optical frame; NaN for a joint that is not seen.
        gestures: (B, 42, 3) likewise.
        joints_valid: (B,) bool; False where no joints are known (the row is then meaningless).
    """

    images: Tensor
    valid: Tensor
    posture: Tensor
    gestures: Tensor
    joints_valid: Tensor


class SceneStreams(nn.Module):
    """Streams (B, C, 7, 7) of B frames for the scene-level dual-branch embedding.

    The eight streams of UV-M3TL (arXiv 2602.01594), grouped as its task-shared branch joins them. How a group becomes
    one map is our reading: views are averaged, so that any number of cameras will do, and weighed by a learned grid, as
    the pooling behind the embedding would else forget where in a view something is; joints go through a small network
    whose result a learned grid spreads over the cells, and up to `history` earlier frames (the authors stack 16
    into the channels) through a convolution over time and learned weights by age.
    """

    def __init__(self, width: int, history: int = 0, size: int = 7) -> None:
        """Build it.

        Args:
            width: C of the maps and of the streams.
            history: most frames of the past that are looked at; 0 for no such stream.
            size: cells along each side of a stream.
        """
        super().__init__()
        self.size = size
        values = 4 * (POSTURE_JOINTS + GESTURE_JOINTS)  # x, y, z, and whether the joint is seen
        self.joints = nn.Sequential(nn.Linear(values, width), nn.ReLU(inplace=True), nn.Linear(width, width))
        self.grid = nn.Parameter(1.0 + 0.1 * torch.randn(width, size, size))
        self.driver_grid = nn.Parameter(1.0 + torch.randn(width, size, size))
        self.scene_grid = nn.Parameter(1.0 + torch.randn(width, size, size))
        self.history = _History(width, history) if history else None

    def forward(
        self,
        outside: Tensor,
        frame_index: Tensor,
        num_frames: int,
        cabin: CabinBatch | None = None,
        cabin_maps: Tensor | None = None,
        past: Tensor | None = None,
        past_valid: Tensor | None = None,
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return the streams (B, C, size, size) in the order driver, scene, history (if built), joints; and their rows.

        Rows are (B,) bool: which frames have the stream; it is zero in the others. A stream is None where no frame has
        it. Both lists go straight into `DualBranchEmbedding`, with groups of (1, 1, 1), or (1, 2, 1) with history.

        Args:
            outside: (N, C, h, w) coarse maps of the outside cameras.
            frame_index: (N,) int64, the frame of each.
            num_frames: B.
            cabin: joints, and which cabin images there are.
            cabin_maps: (B, S, C, h, w), the coarse maps of its images.
            past: (B, T, C, size, size), the scene streams of earlier frames, oldest first.
            past_valid: (B, T) bool, which of them there are.

        Raises:
            ValueError: more frames of the past than the history has.
        """
        scene, scene_valid = self.scene(outside, frame_index, num_frames)
        driver = driver_valid = joints = joints_valid = None
        if cabin is not None:
            joints, joints_valid = self._joints(cabin, outside.dtype), cabin.joints_valid
            if cabin_maps is not None:
                driver, driver_valid = self._driver(cabin_maps, cabin.valid), cabin.valid.any(dim=1)
        if self.history is None:
            return [driver, scene, joints], [driver_valid, scene_valid, joints_valid]
        history = history_valid = None
        if past is not None and past_valid is not None:
            history, history_valid = self.history(past, past_valid), past_valid.any(dim=1)
        return [driver, scene, history, joints], [driver_valid, scene_valid, history_valid, joints_valid]

    def scene(self, maps: Tensor, frame_index: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """Return the stream of the outside cameras (B, C, size, size), as `forward` has it, and its rows (B,) bool."""
        cells = functional.adaptive_avg_pool2d(maps, self.size) * self.scene_grid
        # One row a frame of 1 / number of its cameras: a product, so that the sum is exact enough in bfloat16 too.
        member = frame_index[None] == torch.arange(num_frames, device=maps.device)[:, None]
        count = member.sum(dim=1)
        weights = member.to(torch.float32) / count.clamp(min=1)[:, None]
        return torch.einsum("bn,nchw->bchw", weights.to(maps.dtype), cells), count > 0

    def _driver(self, maps: Tensor, valid: Tensor) -> Tensor:
        cells = functional.adaptive_avg_pool2d(maps.flatten(0, 1), self.size).unflatten(0, valid.shape)
        present = torch.where(valid[:, :, None, None, None], cells, 0.0)
        return self.driver_grid * present.sum(dim=1) / valid.sum(dim=1).clamp(min=1)[:, None, None, None].to(maps.dtype)

    def _joints(self, cabin: CabinBatch, dtype: torch.dtype) -> Tensor:
        points = torch.cat([cabin.posture, cabin.gestures], dim=1)
        seen = torch.isfinite(points).all(dim=2) & cabin.joints_valid[:, None]
        values = torch.cat([torch.where(seen[..., None], points, 0.0), seen[..., None].to(points.dtype)], dim=2)
        vector = self.joints(values.flatten(1).to(dtype))
        return torch.where(cabin.joints_valid[:, None, None, None], vector[:, :, None, None] * self.grid, 0.0)


class MotionStream(nn.Module):
    """How the rig has moved in the last frames, as one more stream (B, C, 7, 7).

    A token a frame, pooled over time by attention; a learned grid spreads the result over the cells, as the joints'.
    """

    def __init__(self, width: int, frames: int, size: int = 7) -> None:
        """Build it for that many frames, the newest included."""
        super().__init__()
        self.token = MotionToken(width)
        self.pooler = AttentivePooler(width, frames, tokens=1)
        self.grid = nn.Parameter(1.0 + 0.1 * torch.randn(width, size, size))

    def forward(self, twist: Tensor, history: History | None) -> tuple[Tensor, Tensor]:
        """Return the stream and its rows (B,) bool: those of which the motion is known at one frame at least.

        Args:
            twist: (B, 6) rates of rotation (rad/s) and translation (m/s) of the base since the frame before, in its
                axes then; NaN where they are not known.
            history: has `twist` of the frames before, or None.
        """
        twists, age, valid = with_past(twist, history, "twist", self.pooler.frames)
        tokens = self.token(twists.flatten(0, 1)).unflatten(0, twists.shape[:2])
        known = (valid & torch.isfinite(twists).all(dim=2)).any(dim=1)
        pooled = self.pooler(tokens, age, valid)
        return torch.where(known[:, None, None, None], pooled[:, :, None, None] * self.grid, 0.0), known


class _History(nn.Module):
    """Earlier maps (B, T, C, s, s), oldest first, and which there are (B, T) -> (B, C, s, s); zero without any."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.change = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.by_age = nn.Parameter(torch.zeros(frames))  # the newest last

    def forward(self, maps: Tensor, valid: Tensor) -> Tensor:
        batch, frames, width, height, breadth = maps.shape
        if frames > len(self.by_age):
            raise ValueError(f"{frames} frames of the past, but the history has {len(self.by_age)}")
        known = torch.where(valid[:, :, None, None, None], maps, 0.0)
        over_time = known.permute(0, 3, 4, 2, 1).reshape(batch * height * breadth, width, frames)
        refined = (over_time + self.change(over_time)).view(batch, height, breadth, width, frames)
        weights = self.by_age[len(self.by_age) - frames :].masked_fill(~valid, -1e4).softmax(dim=1) * valid
        return torch.einsum("bhwct,bt->bchw", refined, weights)
