# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The self-supervised terms of a batch: what pairs of images ask of depth, motion, flow and mask, without any truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.motion.flow_composition import correspondence, independent_flow, rigid_flow
from mtl_perception.training.losses.self_supervised import (
    above_ground_loss,
    motion_consistency_loss,
    motion_sparsity_loss,
    normalised_disparity,
    photometric_loss,
    smoothness_loss,
    warp,
)
from mtl_perception.training.samples import TrainingBatch

SELF_SUPERVISED = ("photometric", "smoothness", "motion_consistency", "motion_sparsity", "above_ground")
"""The terms; names of weights, too."""


@dataclass(frozen=True)
class ImagePairs:
    """N images with the ones before, and what the network says of them. Maps are (h, w), a whole stride of (H, W).

    Attributes:
        images, previous_images: (N, 3, H, W), 0 to 1.
        K, previous_K: (N, 3, 3).
        base_from_camera: (N, 4, 4).
        ground_known: (N,) bool, whether the base frame's z = 0 plane is the ground.
        previous_from_current: (N, 4, 4), the cameras' motion, known or estimated; None where it is neither.
        depth: (N, h, w) metres.
        complete_flow, mask_logits: (N, 3, h, w) metres and (N, h, w); None where the network has no scene flow.
    """

    images: Tensor
    previous_images: Tensor
    K: Tensor
    previous_K: Tensor
    base_from_camera: Tensor
    ground_known: Tensor
    previous_from_current: Tensor | None
    depth: Tensor
    complete_flow: Tensor | None = None
    mask_logits: Tensor | None = None

    @classmethod
    def of(
        cls,
        batch: TrainingBatch,
        depth: Tensor,
        previous_from_current: Tensor | None,
        complete_flow: Tensor | None = None,
        mask_logits: Tensor | None = None,
    ) -> ImagePairs:
        """Return those of a batch that has previous images; all arguments have a row for each of these."""
        assert batch.previous is not None
        rows = batch.previous_rows
        return cls(
            images=batch.cameras.images[rows],
            previous_images=batch.previous.images,
            K=batch.cameras.K[rows],
            previous_K=batch.previous.K,
            base_from_camera=batch.cameras.base_from_camera[rows],
            ground_known=batch.cameras.ground_known[rows],
            previous_from_current=previous_from_current,
            depth=depth,
            complete_flow=complete_flow,
            mask_logits=mask_logits,
        )

    @property
    def stride(self) -> int:
        """Pixels of the images that one of the maps stands for."""
        return -(-self.images.shape[-1] // self.depth.shape[-1])


def self_supervised_terms(pairs: ImagePairs, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the weighted terms that have a weight and that the pairs have what they need for.

    The final flow is composed as the network does, but here the depth gets a gradient through the camera's part of it,
    and so does the motion where it is estimated. What is asked of flow and mask does not reach either.
    """
    terms: tuple[Callable[[ImagePairs], Tensor | None], ...] = (
        _photometric,
        _smoothness,
        _consistency,
        _sparsity,
        _above_ground,
    )
    result: dict[str, Tensor] = {}
    for name, term in zip(SELF_SUPERVISED, terms, strict=True):
        value = term(pairs) if weights[name] > 0 else None
        if value is not None:
            result[name] = weights[name] * value
    return result


def _photometric(pairs: ImagePairs) -> Tensor | None:
    if pairs.previous_from_current is None:
        return None
    flow = rigid_flow(pairs.depth, pairs.K, pairs.previous_from_current, pairs.stride)
    if pairs.complete_flow is not None and pairs.mask_logits is not None:
        mask = pairs.mask_logits.float().sigmoid()
        flow = flow + independent_flow(mask, pairs.complete_flow, flow.detach())
    pixels, in_front = correspondence(pairs.depth, flow, pairs.K, pairs.previous_K, pairs.stride)
    current, previous = _small(pairs.images, pairs), _small(pairs.previous_images, pairs)
    warped, seen = warp(previous, pixels, in_front)
    return photometric_loss(warped[None], seen[None], previous[None], current)


def _smoothness(pairs: ImagePairs) -> Tensor:
    image = _small(pairs.images, pairs)
    total = smoothness_loss(normalised_disparity(pairs.depth), image)
    if pairs.complete_flow is not None and pairs.mask_logits is not None:
        total = total + smoothness_loss(pairs.complete_flow, image)
        total = total + smoothness_loss(pairs.mask_logits.float().sigmoid()[:, None], image)
    return total


def _consistency(pairs: ImagePairs) -> Tensor | None:
    rigid = _rigid(pairs)
    if rigid is None or pairs.complete_flow is None or pairs.mask_logits is None:
        return None
    return motion_consistency_loss(pairs.complete_flow, rigid, pairs.mask_logits)


def _sparsity(pairs: ImagePairs) -> Tensor | None:
    rigid = _rigid(pairs)
    if rigid is None or pairs.complete_flow is None or pairs.mask_logits is None:
        return None
    return motion_sparsity_loss(pairs.complete_flow, rigid, pairs.mask_logits)


def _above_ground(pairs: ImagePairs) -> Tensor:
    return above_ground_loss(pairs.depth, pairs.K, pairs.base_from_camera, pairs.ground_known, pairs.stride)


@torch.no_grad()
def _rigid(pairs: ImagePairs) -> Tensor | None:
    if pairs.previous_from_current is None:
        return None
    return rigid_flow(pairs.depth, pairs.K, pairs.previous_from_current, pairs.stride)


def _small(image: Tensor, pairs: ImagePairs) -> Tensor:
    """Average an image down to the maps' size."""
    return functional.avg_pool2d(image.float(), pairs.stride, ceil_mode=True)
