# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of normals, edges and panoptic maps, and truth at a decoder's size: worked out by hand."""

import math

import pytest
import torch

from mtl_perception.network.panoptic.targets import query_targets
from mtl_perception.training.losses.edges import edges_loss
from mtl_perception.training.losses.normals import ROUNDED, normals_loss
from mtl_perception.training.losses.panoptic import largest_segments, panoptic_loss, panoptic_maps
from mtl_perception.training.losses.reduction import nearest, stride_of
from mtl_perception.training.samples import UNKNOWN_MOTION

THINGS = (2,)


def tilted(degrees: float) -> torch.Tensor:
    angle = math.radians(degrees)
    return torch.tensor([0.0, math.sin(angle), -math.cos(angle)])[None, :, None, None].expand(1, 3, 2, 2).clone()


def test_truth_is_sampled_at_any_whole_stride_and_at_no_other() -> None:
    truth = torch.arange(30.0).view(1, 5, 6)
    assert stride_of(truth, torch.zeros(1, 3, 3)) == 2
    assert nearest(truth, torch.zeros(1, 3, 3))[0].tolist() == [[7, 9, 11], [19, 21, 23], [25, 27, 29]]
    with pytest.raises(ValueError, match="6x5"):
        stride_of(truth, torch.zeros(1, 2, 6))


def test_normals_cost_one_minus_the_cosine_and_their_distance() -> None:
    for degrees in (0.0, 5.0, 90.0):
        chord = 2 * math.sin(math.radians(degrees) / 2)
        expected = 1 - math.cos(math.radians(degrees)) + math.hypot(chord, ROUNDED) - ROUNDED
        assert float(normals_loss(tilted(degrees), tilted(0.0))) == pytest.approx(expected, abs=1e-6)


def test_small_errors_of_normals_are_pulled_nearly_as_hard_as_large_ones() -> None:
    slopes = [
        float(normals_loss(tilted(d + 0.5), tilted(0)) - normals_loss(tilted(d - 0.5), tilted(0))) for d in (5.0, 40.0)
    ]
    assert slopes[0] > 0.6 * slopes[1]


def test_unknown_normals_do_not_count_and_a_normal_of_no_length_breaks_nothing() -> None:
    truth = tilted(0.0)
    truth[..., 0] = torch.nan
    normals = tilted(0.0)
    normals[..., 0] = 0.0
    normals.requires_grad_()
    loss = normals_loss(normals, truth)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert normals.grad is not None and torch.isfinite(normals.grad).all()


def test_edges_and_the_rest_weigh_the_same_and_thin_edges_survive_the_stride() -> None:
    truth = torch.zeros(1, 8, 8, dtype=torch.uint8)
    truth[0, 3, 5] = 255  # a single pixel: of 16 at stride 2, one is an edge
    edge = torch.full((1, 4, 4), -20.0)
    assert float(edges_loss(edge, truth)) == pytest.approx(10.0, abs=1e-3)  # half of everything is wrong by 20
    edge[0, 1, 2] = 20.0
    assert float(edges_loss(edge, truth)) == pytest.approx(0.0, abs=1e-3)
    assert float(edges_loss(-edge, truth)) == pytest.approx(20.0, abs=1e-3)


def test_unknown_edges_do_not_count_and_images_without_an_edge_cost_nothing() -> None:
    truth = torch.zeros(1, 4, 4, dtype=torch.uint8)
    assert float(edges_loss(torch.full((1, 2, 2), 3.0), truth)) == 0.0
    truth[0, 0, 0] = 255
    truth[0, 2:, 2:] = UNKNOWN_MOTION
    logits = torch.tensor([[[20.0, -20.0], [-20.0, 20.0]]])
    assert float(edges_loss(logits, truth)) == pytest.approx(0.0, abs=1e-3)


def test_panoptic_maps_number_things_anew_and_know_what_they_do_not_know() -> None:
    table = torch.tensor([[True, False, False], [False, False, True], [True, True, False], [False, False, False]])
    rows = torch.tensor([[[0, 1, 1, 1, 1, 2, 3]]])
    instance = torch.tensor([[[5000, 7001, 7001, 90210, 0, 0, 0]]])
    # stuff; one thing; the same; another; a crowd; either of two classes; void
    assert panoptic_maps(rows, table, instance, THINGS)[0, 0].tolist() == [0, 2001, 2001, 2002, 2000, -1, -1]
    assert panoptic_maps(rows, table, instance * 0 - 1, THINGS)[0, 0].tolist() == [0, -1, -1, -1, -1, -1, -1]


def test_the_light_head_is_right_with_peaks_at_centres_and_the_way_there() -> None:
    panoptic = torch.zeros(1, 16, 16, dtype=torch.int64)
    panoptic[0, 4:12, 4:12] = 2001
    centre = torch.tensor([3.5, 3.5])  # of the thing's pixels 2..5 of the map at stride 2
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")[::-1])
    offsets = (centre[:, None, None] - grid)[None]
    distance = (grid - centre.round()[:, None, None]).square().sum(dim=0)
    logits = torch.logit(torch.exp(-distance / 32).clamp(1e-6, 1 - 1e-6))[None]
    right = float(panoptic_loss(logits, offsets, panoptic, THINGS))
    assert right == pytest.approx(0.0, abs=1e-3)
    assert float(panoptic_loss(logits, -offsets, panoptic, THINGS)) > right + 0.01
    assert float(panoptic_loss(-logits, offsets, panoptic, THINGS)) > right + 10


def test_only_the_largest_segments_are_kept_and_the_others_not_known() -> None:
    panoptic = torch.zeros(1, 4, 4, dtype=torch.int64)
    panoptic[0, 0, 0], panoptic[0, 1, :2] = 2001, 2002
    kept = largest_segments(query_targets(panoptic, THINGS), 2)
    assert kept.class_labels[0].tolist() == [0, 2] and kept.mask_labels[0].sum(dim=(1, 2)).tolist() == [13, 2]
    assert not kept.known[0, 0, 0] and int(kept.known.sum()) == 15
