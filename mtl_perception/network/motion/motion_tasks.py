# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The temporal tasks together: ego motion, scene flow and motion masks of each camera from two frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.motion.ego_motion import EgoMotion, EgoMotionDecoder
from mtl_perception.network.motion.flow_composition import independent_flow, rigid_flow
from mtl_perception.network.motion.motion_mask import MotionMaskDecoder
from mtl_perception.network.motion.reprojection import STRIDE, ReprojectionMotionDecoder, thumbnail
from mtl_perception.network.motion.scene_flow import SceneFlowDecoder
from mtl_perception.network.motion.se3 import vector_from_matrix

FINEST_STRIDE = 2


class MotionTasks(nn.Module):
    """What moved between the previous and the current image of each camera (unified encoder, section III).

    Where poses are known they are the camera's motion; where they are not, the pose decoder's estimate is, and its
    decoder runs for scene flow and motion masks, too. Masks come from reprojection with known poses if the network is
    configured so, else from the unified encoder's decoder.
    """

    def __init__(self, config: NetworkConfig, tasks: Collection[str]) -> None:
        """Build the decoders that `tasks` need."""
        super().__init__()
        width, reprojection = config.neck.width, config.reprojection_motion
        self.pyramid_tasks = frozenset(tasks) - ({"motion_mask"} if reprojection is not None else set())
        if self.pyramid_tasks:
            self.ego_motion = EgoMotionDecoder(width)
        if "scene_flow" in tasks:
            self.scene_flow = SceneFlowDecoder(width, finest_stride=FINEST_STRIDE)
        if reprojection is not None and "motion_mask" in tasks:
            self.reprojection = ReprojectionMotionDecoder(width, reprojection.embedding, reprojection.radius)
        if (reprojection is None and "motion_mask" in tasks) or "scene_flow" in tasks:
            self.motion_mask = MotionMaskDecoder(width, finest_stride=FINEST_STRIDE)

    def forward(
        self,
        levels: Sequence[Tensor],
        batch: CameraBatch,
        tasks: Collection[str],
        depth: Tensor | None,
        previous: PreviousFrame | None,
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Decode.

        Args:
            levels: four maps (N, C, h, w) of the current images, finest first.
            batch: the current images.
            tasks: those of the temporal tasks that are wanted.
            depth: (N, h, w) metres; scene flow and reprojection need it, and no gradient reaches it from here.
            previous: what was kept of the frame before, or None.

        Returns:
            What `NetworkOutput` says of these tasks, and what is to be kept for the next frame.
        """
        result: dict[str, Any] = {}
        kept: dict[str, Tensor] = {}
        if "motion_mask" in tasks and hasattr(self, "reprojection"):
            embedding = self.reprojection.embedding(levels[0])
            kept |= {"embedding": embedding, "thumbnail": thumbnail(batch.images)}
            if previous is not None and previous.previous_from_current is not None and "embedding" in previous.features:
                assert depth is not None  # the network decodes it for this task
                result["motion_logits"] = self.compare(levels[0], embedding, depth, batch, previous)
        wanted = self.pyramid_tasks.intersection(tasks)
        if wanted:
            kept |= {f"level_{index}": level for index, level in enumerate(levels)} | {"image": batch.images}
            if previous is not None and "image" in previous.features:
                result |= self._pyramids(levels, batch, wanted, depth, previous)
        return result, kept

    def compare(
        self, finest: Tensor, embedding: Tensor, depth: Tensor, batch: CameraBatch, previous: PreviousFrame
    ) -> Tensor:
        """Return motion logits (N, h, w) by reprojection; `depth` gets no gradient from here."""
        coarse = _resized(depth.detach(), finest.shape[-2:], STRIDE // 2)
        return self.reprojection(finest, embedding, coarse, batch, previous)

    def _pyramids(
        self,
        levels: Sequence[Tensor],
        batch: CameraBatch,
        tasks: Collection[str],
        depth: Tensor | None,
        previous: PreviousFrame,
    ) -> dict[str, Any]:
        before = [previous.features[f"level_{index}"] for index in range(len(levels))]
        result: dict[str, Any] = {}
        motion = previous.previous_from_current
        if "ego_motion" in tasks or motion is None:
            estimate: EgoMotion = self.ego_motion(before, levels)
            if "ego_motion" in tasks:
                result["ego_motion"] = estimate
            if motion is None:
                motion = estimate.previous_from_current
        if not {"scene_flow", "motion_mask"}.intersection(tasks):
            return result
        vector = vector_from_matrix(motion)
        images = (previous.features["image"], batch.images)
        logits = self.motion_mask(before, levels, *images, vector)
        if "motion_mask" in tasks:
            result["motion_logits"] = logits
        if "scene_flow" in tasks:
            assert depth is not None  # the network decodes it for this task
            complete = self.scene_flow(before, levels, *images, vector)
            still = rigid_flow(_resized(depth.detach(), complete.shape[-2:]), batch.K, motion, FINEST_STRIDE)
            result["flow_mask_logits"] = logits
            result["complete_flow"] = complete
            result["independent_flow"] = independent_flow(logits.sigmoid(), complete, still)
        return result


def _resized(depth: Tensor, size: Sequence[int], factor: int = 1) -> Tensor:
    """Bring a depth map (N, h, w) to another size; by averaging where it is a whole multiple."""
    if factor > 1 and depth.shape[-2:] == (size[0] * factor, size[1] * factor):
        return functional.avg_pool2d(depth[:, None], factor)[:, 0]
    if tuple(depth.shape[-2:]) == tuple(size):
        return depth
    return functional.interpolate(depth[:, None], tuple(size), mode="bilinear")[:, 0]
