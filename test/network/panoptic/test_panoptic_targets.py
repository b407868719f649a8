# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panoptic maps become centres, offsets and segments."""

import torch

from mtl_perception.network.panoptic.targets import centre_targets, query_targets

THINGS = (2, 3)


def scene() -> torch.Tensor:
    """Return a panoptic map (1, 12, 17): stuff 0 and 1, two things 2, one thing 3, a crowd of 3 and unknown."""
    panoptic = torch.zeros(1, 12, 17, dtype=torch.int32)
    panoptic[:, 6:] = 1000
    panoptic[:, 2:7, 1:6] = 2001
    panoptic[:, 2:7, 6:9] = 2002
    panoptic[:, 8:11, 11:16] = 3001
    panoptic[:, 0:2, 12:] = 3000
    panoptic[:, 11, :5] = -1
    return panoptic


def test_offsets_lead_to_the_centre_of_mass_and_the_heatmap_peaks_there() -> None:
    panoptic = scene()
    targets = centre_targets(panoptic, THINGS, stride=1, sigma=1.5)
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(17.0), indexing="ij")
    goal = targets.offsets[0] + torch.stack([columns, rows])
    for value, centre in ((2001, (3.0, 4.0)), (2002, (7.0, 4.0)), (3001, (13.0, 9.0))):
        assert (goal[:, panoptic[0] == value] == torch.tensor(centre)[:, None]).all()
        assert targets.heatmap[0, int(centre[1]), int(centre[0])] == 1.0
    assert (targets.heatmap == 1.0).sum() == 3
    torch.testing.assert_close(targets.heatmap[0, 4, 1], torch.tensor(-0.5 * (2 / 1.5) ** 2).exp())
    assert (targets.offsets[:, :, 11] == 0).all()


def test_what_is_unknown_or_a_crowd_teaches_nothing() -> None:
    panoptic = scene()
    targets = centre_targets(panoptic, THINGS, stride=1)
    assert torch.equal(targets.known, (panoptic != -1) & (panoptic != 3000))
    assert torch.equal(targets.thing, (panoptic > 2000) & (panoptic != 3000))


def test_strides_round_up_and_images_do_not_mix() -> None:
    both = torch.cat([scene(), torch.zeros_like(scene())])
    targets = centre_targets(both, THINGS, stride=2)
    assert targets.heatmap.shape == (2, 6, 9) and targets.offsets.shape == (2, 2, 6, 9)
    assert targets.heatmap[0].max() == 1.0 and (targets.heatmap[1] == 0).all()
    alone = centre_targets(scene(), THINGS, stride=2)
    assert torch.equal(targets.offsets[:1], alone.offsets)


def test_each_task_asks_for_its_own_segments() -> None:
    panoptic = scene()
    expected = {
        "panoptic": [0, 1, 2, 2, 3],
        "instance": [2, 2, 3],
        "semantic": [0, 1, 2, 3],
    }
    for task, labels in expected.items():
        targets = query_targets(panoptic, THINGS, task)
        assert targets.class_labels[0].tolist() == labels
        assert targets.mask_labels[0].shape == (len(labels), 12, 17)
        assert torch.equal(targets.known, (panoptic != -1) & ((panoptic != 3000) | torch.tensor(task == "semantic")))
    masks = query_targets(panoptic, THINGS, "panoptic").mask_labels[0]
    assert torch.equal(masks[2], panoptic[0] == 2001)
    semantic = query_targets(panoptic, THINGS, "semantic").mask_labels[0]
    assert torch.equal(semantic[3], panoptic[0] // 1000 == 3)


def test_an_image_may_have_no_segments() -> None:
    targets = query_targets(torch.full((1, 4, 5), -1), THINGS)
    assert targets.mask_labels[0].shape == (0, 4, 5) and targets.class_labels[0].shape == (0,)
    assert (centre_targets(torch.full((1, 4, 5), -1), THINGS).heatmap == 0).all()
