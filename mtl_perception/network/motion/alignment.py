# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ego motion of a rig by weighted alignment: the motion under which the points of all cameras land on their matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.config import AlignmentConfig, DepthBins
from mtl_perception.network.dense.detail import DepthHead
from mtl_perception.network.geometry import depth_scale, rays
from mtl_perception.network.motion.ego_motion import EgoMotion
from mtl_perception.network.motion.matching import STRIDE, Matches, PairMatching
from mtl_perception.network.motion.patch_alignment import align_patches
from mtl_perception.network.motion.se3 import adjoint, cross_matrix, inverse, matrix_from_vector, vector_from_matrix

ITERATIONS = 12
LENIENT = 7
"""The iterations at the beginning in which residuals may be larger, so that a few matches that happen to agree cannot
hold the motion where it starts (graduated non-convexity, Yang et al. 2020)."""
FREEDOM = 4.0
"""Degrees of freedom of the residuals' t distribution: how soon a match that does not fit stops counting."""
NEAREST = 0.1  # metres: nearer points, and those behind the camera, do not count
DAMPING = 1e-4
LARGEST_STEP = 0.5  # radians and metres of one iteration
LOG_VARIANCE = (-20.0, 10.0)
INFLATION_SCALE = 10.0
"""Of the logarithm of the factor by which variances grow: an optimiser's small steps must get it somewhere."""


@dataclass(frozen=True)
class Alignment:
    """What the ego motion follows from.

    Attributes:
        matches: of all current images.
        depth_logits: (N, D + 1, h, w) at stride 8, of the depth that it uses; it comes from each image alone.
        depth: (N, h, w) at stride 4, metres.
    """

    matches: Matches
    depth_logits: Tensor
    depth: Tensor

    def select(self, rows: Tensor) -> Alignment:
        """Return that of some of the images (M,) int64, without what is as large as both images together."""
        matches = self.matches
        some = replace(matches.select(rows), similarity=matches.similarity[:0])
        return Alignment(some, self.depth_logits[rows], self.depth[rows])


class AlignedEgoMotion(nn.Module):
    """Shared levels of both frames -> matches, depth, and the rig's motion.

    Where the unified encoder regresses a motion (section III-C), this solves for it: matches between the images (found
    by features, then moved by fractions of a pixel to where the images themselves agree), a depth of its own, and how
    precise the network thinks each is, go into a robust least-squares problem with the six unknowns of the whole rig,
    as in direct and feature-based visual odometry (DROID-SLAM, Teed and Deng 2021, section 3.2, has the same layer;
    there depth is solved for, here it is known and gives the scale). The depth is a small head on each image's own
    features: the depth task's may have seen the pose, which must not come back as an estimate of it. Matches and depth
    are trained by their own truth and likelihoods, and by where one step of the solver leads from the true motion
    (`training.losses.ego_motion`); no gradient passes the solver itself.
    """

    def __init__(self, width: int, bins: DepthBins, config: AlignmentConfig) -> None:
        """Build it for levels of `width` channels."""
        super().__init__()
        self.matching = PairMatching(width, config.width, config.fine_width)
        decoder = nn.Sequential(conv_norm_relu(width, width), nn.Conv2d(width, bins.count + 1, 1))
        self.depth = DepthHead(decoder, bins)
        self.canonical_focal = bins.canonical_focal
        # Neighbouring residuals are alike, so that the information of all is less than their sum: by how much is
        # learned, of rotation and of translation.
        self.inflation = nn.Parameter(torch.tensor([0.3, 0.3]))

    def keep(self, levels: Sequence[Tensor], batch: CameraBatch) -> dict[str, Tensor]:
        """Return what is compared, in this pass and in the next frame's: embeddings, and depth at stride 4."""
        return {
            **self.matching.embeddings(levels),
            "match_depth": self._depth(levels, batch)[1],
            "match_image": batch.images.mean(dim=1, keepdim=True),
        }

    def forward(
        self,
        levels: Sequence[Tensor],
        kept: Mapping[str, Tensor],
        batch: CameraBatch,
        previous: Mapping[str, Tensor],
    ) -> Alignment:
        """Match and measure.

        Args:
            levels: four maps (N, C, h, w) of the current images, finest first.
            kept: what `keep` gave for them.
            batch: the current images.
            previous: what `keep` gave for the previous images.
        """
        found = self.matching(levels[0], kept, previous)
        fine = align_patches(kept["match_image"], previous["match_image"], found.fine, STRIDE)
        return Alignment(replace(found, fine=fine), *self._depth(levels, batch))

    def _depth(self, levels: Sequence[Tensor], batch: CameraBatch) -> tuple[Tensor, Tensor]:
        """Return logits at stride 8 and depth at stride 4."""
        logits = self.depth(levels[1])
        depth = self.depth.harmonic_mean(logits, depth_scale(batch.K, self.canonical_focal))
        # Between pixels the depth is interpolated as the network sees it: its logarithm.
        fine = functional.interpolate(depth.log()[:, None], levels[0].shape[-2:], mode="bilinear")[:, 0].exp()
        return logits, fine

    def solve(self, alignment: Alignment, batch: CameraBatch, previous_K: Tensor, valid: Tensor) -> EgoMotion:
        """Return the motion of each camera of each rig; the cameras of one rig agree.

        Args:
            alignment: of the current images.
            batch: the current images.
            previous_K: (N, 3, 3) of the previous images at stride 1.
            valid: (N,) bool, which cameras have a previous image of the rig's previous frame.

        Returns:
            Motions without a gradient; that of their variances reaches `inflation` alone.
        """
        vector, log_variance = self._solved(alignment, batch, previous_K, valid)
        return EgoMotion(vector, log_variance + INFLATION_SCALE * self.inflation.float().repeat_interleave(3))

    @torch.no_grad()
    def _solved(
        self, alignment: Alignment, batch: CameraBatch, previous_K: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        previous_base_from_base, information = align(
            alignment.depth,
            alignment.matches.fine,
            alignment.matches.log_precision,
            batch,
            previous_K,
            valid,
            stride=STRIDE,
        )
        extrinsics = batch.base_from_camera.double()
        per_camera = inverse(extrinsics) @ previous_base_from_base[batch.frame_index] @ extrinsics
        identity = torch.eye(6, dtype=torch.float64, device=extrinsics.device)
        covariance = torch.linalg.inv(information + 1e-9 * identity)
        # `rig_motion` adds up the information of a frame's cameras, which all carry the same one here.
        cameras = valid.double().new_zeros(batch.num_frames).index_add(0, batch.frame_index, valid.double())
        shared = covariance[batch.frame_index] * cameras[batch.frame_index].clamp(min=1.0)[:, None, None]
        carried = adjoint(inverse(extrinsics))
        variance = (carried @ shared @ carried.transpose(1, 2)).diagonal(dim1=1, dim2=2)
        log_variance = variance.clamp(min=1e-12).log().clamp(*LOG_VARIANCE)
        return vector_from_matrix(per_camera).float(), log_variance.float()


def align(
    depth: Tensor,
    matches: Tensor,
    log_precision: Tensor,
    batch: CameraBatch,
    previous_K: Tensor,
    valid: Tensor,
    *,
    stride: int,
) -> tuple[Tensor, Tensor]:
    """Find the motion of each frame's base that brings the cameras' points to their matches; float64.

    Iteratively reweighted Gauss-Newton on the likelihood of t-distributed residuals (Lange et al. 1989): a residual r
    of precision w weighs w (f + 2) / (f + w r^2), with w r^2 divided by a lenience that falls to 1.

    Args:
        depth: (N, h, w) metres, at `stride`.
        matches: (N, h, w, 2), where each pixel was in the previous image, pixels at `stride`.
        log_precision: (N, h, w), log inverse variance of a coordinate of the residual, pixels^-2 at `stride`.
        batch: the current cameras; B frames.
        previous_K: (N, 3, 3) at stride 1.
        valid: (N,) bool, which cameras count.
        stride: of the maps.

    Returns:
        previous_base_from_base (B, 4, 4), the identity for a frame without a camera that counts, and the information
        (B, 6, 6) of a small motion on its left (rotation first, in the axes of the previous base).
    """
    problem = AlignmentProblem(depth, matches, log_precision, batch, previous_K, valid, stride)
    identity = torch.eye(4, dtype=torch.float64, device=depth.device)
    motion = identity.repeat(batch.num_frames, 1, 1)
    information = motion.new_zeros(batch.num_frames, 6, 6)
    for iteration in range(ITERATIONS):
        step, information = problem.step(motion, 10.0 ** max(0, LENIENT - iteration))
        motion = matrix_from_vector(step.clamp(-LARGEST_STEP, LARGEST_STEP)) @ motion
    return motion, information


class AlignmentProblem:
    """The least-squares problem of `align`, whose arguments it has."""

    def __init__(
        self,
        depth: Tensor,
        matches: Tensor,
        log_precision: Tensor,
        batch: CameraBatch,
        previous_K: Tensor,
        valid: Tensor,
        stride: int,
    ) -> None:
        """Take in what does not depend on the motion."""
        _, height, width = depth.shape
        extrinsics = batch.base_from_camera.double()
        self.camera_from_base = inverse(extrinsics)
        points = rays(batch.K.double(), height, width, stride) * depth.double()[:, None]
        self.in_base = (extrinsics[:, :3, :3] @ points.flatten(2)) + extrinsics[:, :3, 3:]
        self.target = matches.double().flatten(1, 2).transpose(1, 2)
        self.precision = log_precision.double().exp().flatten(1) * valid[:, None]
        self.focal = torch.stack([previous_K[:, 0, 0], previous_K[:, 1, 1]], dim=1).double()[:, :, None] / stride
        self.centre = (previous_K[:, :2, 2].double()[:, :, None] + 0.5) / stride - 0.5
        self.frame, self.frames = batch.frame_index, batch.num_frames

    def step(self, motion: Tensor, lenience: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the step (B, 6) from motions (B, 4, 4), float64, and the information (B, 6, 6).

        Rotation (radians) first, then translation (metres), on the left of the motion. From the true motion the step is
        to first order the error of `align`; unlike that one it has gradients, to depth, matches and precision.
        """
        frame, camera_from_base = self.frame, self.camera_from_base
        moved = motion[frame, :3, :3] @ self.in_base + motion[frame, :3, 3:]
        seen = camera_from_base[:, :3, :3] @ moved + camera_from_base[:, :3, 3:]
        in_front = seen[:, 2] > NEAREST
        z = seen[:, 2].clamp(min=NEAREST)
        residual = self.target - (self.focal * seen[:, :2] / z[:, None] + self.centre)
        weight = self.precision * in_front
        weight = weight * (FREEDOM + 2) / (FREEDOM + weight / lenience * residual.square().sum(dim=1))
        jacobian = _jacobian(seen, z, self.focal, camera_from_base, moved)
        weighted = jacobian * weight[:, None, :, None]
        information = motion.new_zeros(self.frames, 6, 6).index_add(
            0, frame, torch.einsum("nckp,nckq->npq", weighted, jacobian)
        )
        pull = motion.new_zeros(self.frames, 6).index_add(0, frame, torch.einsum("nckp,nck->np", weighted, residual))
        identity = torch.eye(6, dtype=torch.float64, device=motion.device)
        damped = information + DAMPING * information.diagonal(dim1=1, dim2=2).diag_embed() + 1e-9 * identity
        return torch.linalg.solve(damped, pull), information


def _jacobian(seen: Tensor, z: Tensor, focal: Tensor, camera_from_base: Tensor, moved: Tensor) -> Tensor:
    """Return d(pixel) / d(small motion on the left of the base's) of each point: (N, 2, P, 6), rotation first."""
    zero = torch.zeros_like(z)
    projection = torch.stack(
        [
            torch.stack([focal[:, 0] / z, zero, -focal[:, 0] * seen[:, 0] / z.square()], dim=2),
            torch.stack([zero, focal[:, 1] / z, -focal[:, 1] * seen[:, 1] / z.square()], dim=2),
        ],
        dim=1,
    )
    by_translation = projection @ camera_from_base[:, None, :3, :3]
    count, _, total = moved.shape
    turned = cross_matrix(moved.transpose(1, 2).reshape(-1, 3)).view(count, total, 3, 3)
    by_rotation = -torch.einsum("nckj,nkji->ncki", by_translation, turned)
    return torch.cat([by_rotation, by_translation], dim=3)
