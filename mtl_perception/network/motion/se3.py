# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid motions as vectors and matrices, and the motion of a rig from those of its cameras.

A motion vector (N, 6) is an axis-angle (radians) followed by a translation (metres), as monodepth2's pose network gives
(Godard et al. 2019); the matrix [R t; 0 1] has that very translation. All is computed in float32 or better.

An uncertainty is that of a small motion `d`, on the side of the current frame: T_true = T matrix(d), with d in the axes
of the current frame, rotation first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.network.geometry import in_full_precision

# Information added to every frame's, so that a frame without cameras has a covariance too: of 1000 rad and 1000 m.
NO_INFORMATION = 1e-6


@in_full_precision
def matrix_from_vector(vector: Tensor) -> Tensor:
    """Turn axis-angle and translation (N, 6) into matrices (N, 4, 4) by Rodrigues' formula."""
    vector = _exact(vector)
    cross = cross_matrix(vector[:, :3])
    squared = vector[:, :3].square().sum(dim=1)
    small = squared < 1e-6
    # The series take over before sqrt's gradient grows without bound; `where` alone would still let it through.
    half = 0.5 * torch.where(small, torch.ones_like(squared), squared).sqrt()
    ratio = half.sin() / half
    sine = torch.where(small, 1.0 - squared / 6.0, ratio * half.cos())  # sin(angle) / angle
    cosine = torch.where(small, 0.5 - squared / 24.0, 0.5 * ratio.square())  # (1 - cos(angle)) / angle^2
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    rotation = identity + sine[:, None, None] * cross + cosine[:, None, None] * (cross @ cross)
    return _matrix(rotation, vector[:, 3:])


def vector_from_matrix(matrix: Tensor) -> Tensor:
    """Turn matrices (N, 4, 4) into axis-angle (of at most pi) and translation (N, 6)."""
    matrix = _exact(matrix)
    quaternion = _quaternion(matrix[:, :3, :3])
    real, imaginary = quaternion[:, 0], quaternion[:, 1:]
    squared = imaginary.square().sum(dim=1)
    small = squared < 1e-8
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    ratio = torch.where(small, 2.0 / real.clamp(min=0.5), 2.0 * torch.atan2(length, real) / length)
    return torch.cat([ratio[:, None] * imaginary, matrix[:, :3, 3]], dim=1)


@in_full_precision
def inverse(matrix: Tensor) -> Tensor:
    """Invert rigid motions (N, 4, 4)."""
    matrix = _exact(matrix)
    rotation = matrix[:, :3, :3].transpose(1, 2)
    return _matrix(rotation, -(rotation @ matrix[:, :3, 3:])[:, :, 0])


@in_full_precision
def adjoint(matrix: Tensor) -> Tensor:
    """Return (N, 6, 6), which carry small motions d from one frame into another: matrix(A d) = T matrix(d) T^-1."""
    matrix = _exact(matrix)
    rotation, translation = matrix[:, :3, :3], matrix[:, :3, 3]
    upper = torch.cat([rotation, torch.zeros_like(rotation)], dim=2)
    lower = torch.cat([cross_matrix(translation) @ rotation, rotation], dim=2)
    return torch.cat([upper, lower], dim=1)


def cross_matrix(vector: Tensor) -> Tensor:
    """Return the matrices (N, 3, 3) of the cross product with `vector` (N, 3)."""
    x, y, z = vector.unbind(dim=1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)


def rig_motion(
    previous_from_current: Tensor,
    base_from_camera: Tensor,
    log_variance: Tensor,
    valid: Tensor,
    frame_index: Tensor,
    num_frames: int,
) -> tuple[Tensor, Tensor]:
    """Combine the motions of a rig's cameras into that of its base, T_base = E T_camera E^-1 (our addition).

    Each camera's covariance is carried along by the adjoint, so that an uncertain rotation of a camera far from the
    base makes the base's translation uncertain. The cameras are then averaged in the tangent space of their plain mean,
    each weighted by its inverse covariance, as if their errors were independent; to first order in the errors.
    It inverts matrices of 6x6, in float64: outside an exported network.

    Args:
        previous_from_current: (N, 4, 4), the motion of each camera, metres.
        base_from_camera: (N, 4, 4), metres.
        log_variance: (N, 6), of the motion vectors' components, rad^2 and m^2.
        valid: (N,) bool; rows where it is False are ignored, whatever they hold.
        frame_index: (N,) int64, the frame of each row.
        num_frames: B.

    Returns:
        previous_base_from_base (B, 4, 4) and its covariance (B, 6, 6), float32. A frame without a valid camera has the
        identity and a covariance of 1e6.
    """
    identity = torch.eye(4, dtype=torch.float64, device=previous_from_current.device)
    camera = torch.where(valid[:, None, None], previous_from_current.double(), identity)
    extrinsics = torch.where(valid[:, None, None], base_from_camera.double(), identity)
    variance = torch.where(valid[:, None], log_variance.double(), 0.0).exp()
    weight = valid.double()

    motion = extrinsics @ camera @ inverse(extrinsics)
    information = _information(camera, variance, extrinsics) * weight[:, None, None]

    counts = weight.new_zeros(num_frames).index_add(0, frame_index, weight).clamp(min=1.0)
    vectors = vector_from_matrix(motion)  # zero where not valid
    sums = vectors.new_zeros(num_frames, 6).index_add(0, frame_index, vectors)
    reference = matrix_from_vector(sums / counts[:, None])

    offset = vector_from_matrix(inverse(reference)[frame_index] @ motion)
    pull = (information @ offset[:, :, None])[:, :, 0]
    prior = NO_INFORMATION * torch.eye(6, dtype=pull.dtype, device=pull.device)
    total = prior.repeat(num_frames, 1, 1).index_add(0, frame_index, information)
    covariance = torch.linalg.inv(total)
    step = covariance @ pull.new_zeros(num_frames, 6).index_add(0, frame_index, pull)[:, :, None]
    combined = reference @ matrix_from_vector(step[:, :, 0])
    return combined.float(), (0.5 * (covariance + covariance.transpose(1, 2))).float()


def _information(camera: Tensor, variance: Tensor, extrinsics: Tensor) -> Tensor:
    """Return the inverse covariance (N, 6, 6), in the base frame, of cameras with these motions and variances."""
    rotation = camera[:, :3, :3]
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    # From the small motion at the current camera to the change of its motion vector: the axis-angle by the inverse of
    # the right Jacobian (to first order in the angle), the translation into the axes of the previous camera.
    jacobian = identity + 0.5 * cross_matrix(vector_from_matrix(camera)[:, :3])
    none = torch.zeros_like(rotation)
    change = torch.cat([torch.cat([jacobian, none], dim=2), torch.cat([none, rotation], dim=2)], dim=1)
    from_base = change @ adjoint(inverse(extrinsics))
    return from_base.transpose(1, 2) @ (from_base / variance[:, :, None])


def _quaternion(rotation: Tensor) -> Tensor:
    """Return unit quaternions (N, 4), real part first and not negative; exact for all angles."""
    m = rotation.flatten(1).unbind(dim=1)
    diagonal = torch.stack([m[0], m[4], m[8]], dim=1)
    trace = diagonal.sum(dim=1, keepdim=True)
    # Four times the square of each component; the largest is far from zero, and dividing by it loses nothing.
    squares = torch.cat([1.0 + trace, 1.0 - trace + 2.0 * diagonal], dim=1)
    largest = squares.argmax(dim=1)
    a, b, c = m[7] - m[5], m[2] - m[6], m[3] - m[1]
    d, e, f = m[1] + m[3], m[2] + m[6], m[5] + m[7]
    rows = torch.stack(
        [
            torch.stack([squares[:, 0], a, b, c], dim=1),
            torch.stack([a, squares[:, 1], d, e], dim=1),
            torch.stack([b, d, squares[:, 2], f], dim=1),
            torch.stack([c, e, f, squares[:, 3]], dim=1),
        ],
        dim=1,
    )
    chosen = rows.gather(1, largest[:, None, None].expand(-1, 1, 4))[:, 0]
    quaternion = chosen / chosen.norm(dim=1, keepdim=True)
    return torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)


def _matrix(rotation: Tensor, translation: Tensor) -> Tensor:
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=rotation.dtype, device=rotation.device)
    upper = torch.cat([rotation, translation[:, :, None]], dim=2)
    return torch.cat([upper, last.expand(len(rotation), 1, 4)], dim=1)


def _exact(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
