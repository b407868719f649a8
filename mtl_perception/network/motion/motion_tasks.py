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
from mtl_perception.network.motion.displacement import EVIDENCE, measured_displacement
from mtl_perception.network.motion.ego_motion import EgoMotion, EgoMotionDecoder, SeparateEgoMotion
from mtl_perception.network.motion.flow_composition import independent_flow, rigid_flow
from mtl_perception.network.motion.matched_flow import MatchedSceneFlow
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

    def __init__(self, config: NetworkConfig, tasks: Collection[str], stem_width: int) -> None:
        """Build the decoders that `tasks` need; `stem_width` is that of the encoder's map at stride 2."""
        super().__init__()
        width, reprojection = config.neck.width, config.reprojection_motion
        by_matches = config.scene_flow == "matches"
        by_pyramids = frozenset(tasks) - ({"motion_mask"} if reprojection is not None else set())
        by_pyramids = by_pyramids - ({"scene_flow"} if by_matches else set())
        self.flow_tasks = by_pyramids - {"ego_motion"}
        flow_by_matches = by_matches and "scene_flow" in tasks
        if config.alignment is not None:
            if "ego_motion" in tasks or flow_by_matches:
                self.alignment = AlignedEgoMotion(width, config.depth_bins, config.alignment)
        elif by_pyramids:
            self.ego_motion: nn.Module
            if config.pose.encoder == "separate":
                self.ego_motion = SeparateEgoMotion(width)
            else:
                self.ego_motion = EgoMotionDecoder(width, levels=4 if config.pose.levels == "all" else 1)
        if flow_by_matches:
            self.matched_flow = MatchedSceneFlow(width)
        elif "scene_flow" in tasks:
            self.scene_flow = SceneFlowDecoder(width, finest_stride=FINEST_STRIDE)
        if reprojection is not None and ("motion_mask" in tasks or flow_by_matches):
            further = EVIDENCE if reprojection.matches else 0
            self.reprojection = ReprojectionMotionDecoder(width, stem_width, reprojection, further)
        if self.flow_tasks:
            self.motion_mask = MotionMaskDecoder(width, finest_stride=FINEST_STRIDE)

    @property
    def estimates(self) -> bool:
        """Whether it can tell the cameras' motion from the images alone."""
        return hasattr(self, "alignment") or hasattr(self, "ego_motion")

    @property
    def uses_matches(self) -> bool:
        """Whether masks or scene flow look at the matches that the motion is estimated from."""
        by_reprojection = hasattr(self, "reprojection") and self.reprojection.further > 0
        return hasattr(self, "alignment") and (by_reprojection or hasattr(self, "matched_flow"))

    def keep(self, levels: Sequence[Tensor], batch: CameraBatch, tasks: Collection[str]) -> dict[str, Tensor]:
        """Return what `tasks` need of these images, in this pass and in the next frame's.

        Args:
            levels: four maps (N, C, h, w), finest first.
            batch: the images.
            tasks: those of the temporal tasks that are wanted, in this pass or the next.
        """
        kept: dict[str, Tensor] = {}
        if hasattr(self, "reprojection") and {"motion_mask", "scene_flow"}.intersection(tasks):
            kept |= {"embedding": self.reprojection.embedding(levels[0]), "thumbnail": thumbnail(batch.images)}
        if hasattr(self, "alignment"):
            kept |= self.alignment.keep(levels, batch)
        if self.flow_tasks.intersection(tasks) or hasattr(self, "ego_motion"):
            kept |= {f"level_{index}": level for index, level in enumerate(levels)} | {"image": batch.images}
        return kept

    def match(
        self, levels: Sequence[Tensor], kept: Mapping[str, Tensor], batch: CameraBatch, previous: PreviousFrame
    ) -> Alignment | None:
        """Match both frames; None where the network does not, or the previous frame does not have what that needs."""
        if not hasattr(self, "alignment") or "match_coarse" not in previous.features:
            return None
        return self.alignment(levels, kept, batch, previous.features)

    def estimate(
        self, levels: Sequence[Tensor], batch: CameraBatch, previous: PreviousFrame, alignment: Alignment | None
    ) -> EgoMotion | None:
        """Tell the cameras' motion from the images alone; None where the previous frame does not have what it needs.

        When training, alignment is not solved: its parts are trained, and where the poses are known nobody needs it.
        """
        if hasattr(self, "alignment"):
            if alignment is None or (self.training and previous.previous_from_current is not None):
                return None
            return self.alignment.solve(alignment, batch, previous.K, previous.of_one_frame)
        if "image" not in previous.features:
            return None
        if isinstance(self.ego_motion, SeparateEgoMotion):
            return self.ego_motion(previous.features["image"], batch.images)
        before = [previous.features[f"level_{index}"] for index in range(len(levels))]
        assert isinstance(self.ego_motion, EgoMotionDecoder)
        used = -len(self.ego_motion.blocks)
        return self.ego_motion(before[used:], levels[used:])

    def forward(
        self,
        levels: Sequence[Tensor],
        stem: Tensor,
        kept: Mapping[str, Tensor],
        batch: CameraBatch,
        tasks: Collection[str],
        depth: Tensor | None,
        previous: PreviousFrame | None,
        alignment: Alignment | None = None,
    ) -> dict[str, Any]:
        """Decode masks and flow, as far as there is what they need.

        Args:
            levels: four maps (N, C, h, w) of the current images, finest first.
            stem: (N, C', H/2, W/2) of them.
            kept: what `keep` gave for them.
            batch: the current images.
            tasks: those of the temporal tasks that are wanted.
            depth: (N, h, w) metres; scene flow and reprojection need it, and no gradient reaches it from here.
            previous: what was kept of the frame before, with the cameras' motion, known or estimated; or None.
            alignment: of these images, if there is one.
        Returns:
            What `NetworkOutput` says of these tasks.
        """
        result: dict[str, Any] = {}
        if previous is None or previous.previous_from_current is None:
            return result
        if "embedding" in kept and "embedding" in previous.features:
            assert depth is not None  # the network decodes it for these tasks
            result = self._reprojected(levels[0], stem, kept["embedding"], depth, batch, previous, alignment)
            if "motion_mask" not in tasks:
                del result["motion_logits"]
        wanted = self.flow_tasks.intersection(tasks)
        if wanted and "image" in previous.features:
            result |= self._pyramids(levels, batch, wanted, depth, previous, previous.previous_from_current)
        return result

    def _reprojected(
        self,
        finest: Tensor,
        stem: Tensor,
        embedding: Tensor,
        depth: Tensor,
        batch: CameraBatch,
        previous: PreviousFrame,
        alignment: Alignment | None,
    ) -> dict[str, Tensor]:
        """Return masks by reprojection, and scene flow by matches where there are any; `depth` gets no gradient."""
        coarse = _resized(depth.detach(), finest.shape[-2:], STRIDE // 2).float()
        motion, displacement = previous.previous_from_current, None
        assert motion is not None  # asked before
        if alignment is not None:
            displacement = measured_displacement(
                alignment.matches, coarse, batch.K, previous.K, motion, previous.features["match_depth"]
            )
        evidence = None if displacement is None else displacement.evidence()
        logits, coarse_logits = self.reprojection(finest, stem, embedding, coarse, batch, previous, evidence)
        result = {"motion_logits": logits}
        if displacement is not None and hasattr(self, "matched_flow"):
            moved = self.matched_flow(finest, displacement, coarse)
            still = rigid_flow(coarse, batch.K, motion, STRIDE)
            result["flow_mask_logits"] = coarse_logits
            result["complete_flow"] = still + moved
            result["independent_flow"] = coarse_logits.sigmoid()[:, None].float() * moved
        return result

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
