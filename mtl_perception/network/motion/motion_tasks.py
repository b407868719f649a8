# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The temporal tasks together: ego motion, scene flow and motion masks of each camera from two frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.motion.alignment import AlignedEgoMotion, Alignment
from mtl_perception.network.motion.ego_motion import EgoMotion, EgoMotionDecoder, SeparateEgoMotion
from mtl_perception.network.motion.flow_composition import independent_flow, rigid_flow
from mtl_perception.network.motion.motion_mask import MotionMaskDecoder
from mtl_perception.network.motion.reprojection import STRIDE, ReprojectionMotionDecoder, thumbnail
from mtl_perception.network.motion.scene_flow import SceneFlowDecoder
from mtl_perception.network.motion.se3 import vector_from_matrix

FINEST_STRIDE = 2


class MotionTasks(nn.Module):
    """What moved between the previous and the current image of each camera (unified encoder, section III).

    Where poses are known they are the camera's motion; where they are not, the network's own estimate is, for scene
    flow and motion masks, too. The estimate comes from matching and alignment if the network is configured so, else
    from the unified encoder's pose decoder; no pose ever enters it. Masks come from reprojection if the network is
    configured so, else from the unified encoder's decoder.
    """

    def __init__(self, config: NetworkConfig, tasks: Collection[str]) -> None:
        """Build the decoders that `tasks` need."""
        super().__init__()
        width, reprojection = config.neck.width, config.reprojection_motion
        by_pyramids = frozenset(tasks) - ({"motion_mask"} if reprojection is not None else set())
        self.flow_tasks = by_pyramids - {"ego_motion"}
        if config.alignment is not None:
            if "ego_motion" in tasks:
                self.alignment = AlignedEgoMotion(width, config.depth_bins, config.alignment)
        elif by_pyramids:
            self.ego_motion: nn.Module
            if config.pose.encoder == "separate":
                self.ego_motion = SeparateEgoMotion(width)
            else:
                self.ego_motion = EgoMotionDecoder(width, levels=4 if config.pose.levels == "all" else 1)
        if "scene_flow" in tasks:
            self.scene_flow = SceneFlowDecoder(width, finest_stride=FINEST_STRIDE)
        if reprojection is not None and "motion_mask" in tasks:
            self.reprojection = ReprojectionMotionDecoder(width, reprojection.embedding, reprojection.radius)
        if (reprojection is None and "motion_mask" in tasks) or "scene_flow" in tasks:
            self.motion_mask = MotionMaskDecoder(width, finest_stride=FINEST_STRIDE)

    @property
    def estimates(self) -> bool:
        """Whether it can tell the cameras' motion from the images alone."""
        return hasattr(self, "alignment") or hasattr(self, "ego_motion")

    def keep(self, levels: Sequence[Tensor], images: Tensor, tasks: Collection[str]) -> dict[str, Tensor]:
        """Return what `tasks` need of these images, in this pass and in the next frame's.

        Args:
            levels: four maps (N, C, h, w), finest first.
            images: (N, 3, H, W).
            tasks: those of the temporal tasks that are wanted, in this pass or the next.
        """
        kept: dict[str, Tensor] = {}
        if "motion_mask" in tasks and hasattr(self, "reprojection"):
            kept |= {"embedding": self.reprojection.embedding(levels[0]), "thumbnail": thumbnail(images)}
        if hasattr(self, "alignment"):
            kept |= self.alignment.matching.embeddings(levels)
        if self.flow_tasks.intersection(tasks) or hasattr(self, "ego_motion"):
            kept |= {f"level_{index}": level for index, level in enumerate(levels)} | {"image": images}
        return kept

    def estimate(
        self, levels: Sequence[Tensor], kept: Mapping[str, Tensor], batch: CameraBatch, previous: PreviousFrame
    ) -> tuple[EgoMotion | None, Alignment | None]:
        """Tell the cameras' motion from the images alone; None where the previous frame does not have what it needs.

        When training, alignment is not solved: its parts are trained, and where the poses are known nobody needs it.
        """
        if hasattr(self, "alignment"):
            if "match_coarse" not in previous.features:
                return None, None
            alignment = self.alignment(levels, kept, batch, previous.features)
            if self.training and previous.previous_from_current is not None:
                return None, alignment
            return self.alignment.solve(alignment, batch, previous.K, previous.of_one_frame), alignment
        if "image" not in previous.features:
            return None, None
        if isinstance(self.ego_motion, SeparateEgoMotion):
            return self.ego_motion(previous.features["image"], batch.images), None
        before = [previous.features[f"level_{index}"] for index in range(len(levels))]
        assert isinstance(self.ego_motion, EgoMotionDecoder)
        used = -len(self.ego_motion.blocks)
        return self.ego_motion(before[used:], levels[used:]), None

    def forward(
        self,
        levels: Sequence[Tensor],
        kept: Mapping[str, Tensor],
        batch: CameraBatch,
        tasks: Collection[str],
        depth: Tensor | None,
        previous: PreviousFrame | None,
    ) -> dict[str, Any]:
        """Decode masks and flow, as far as there is what they need.

        Args:
            levels: four maps (N, C, h, w) of the current images, finest first.
            kept: what `keep` gave for them.
            batch: the current images.
            tasks: those of the temporal tasks that are wanted.
            depth: (N, h, w) metres; scene flow and reprojection need it, and no gradient reaches it from here.
            previous: what was kept of the frame before, with the cameras' motion, known or estimated; or None.

        Returns:
            What `NetworkOutput` says of these tasks.
        """
        result: dict[str, Any] = {}
        if previous is None or previous.previous_from_current is None:
            return result
        if "embedding" in kept and "motion_mask" in tasks and "embedding" in previous.features:
            assert depth is not None  # the network decodes it for this task
            result["motion_logits"] = self.compare(levels[0], kept["embedding"], depth, batch, previous)
        wanted = self.flow_tasks.intersection(tasks)
        if wanted and "image" in previous.features:
            result |= self._pyramids(levels, batch, wanted, depth, previous, previous.previous_from_current)
        return result

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
        motion: Tensor,
    ) -> dict[str, Any]:
        before = [previous.features[f"level_{index}"] for index in range(len(levels))]
        result: dict[str, Any] = {}
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
