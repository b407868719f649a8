# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planted masks, classes and centres come out as panoptic maps, instances and semantics."""

import torch

from mtl_perception.network.panoptic.post_processing import (
    instances_from_queries,
    panoptic_from_centres,
    panoptic_from_queries,
    semantic_from_queries,
)
from mtl_perception.network.panoptic.query_segmentation import QueryOutput
from mtl_perception.network.panoptic.targets import centre_targets

THINGS = (2, 3)
CLASSES = 4
SIZE = (15, 23)


def planted(segments: list[tuple[int, tuple[slice, slice], float]]) -> QueryOutput:
    """Return queries for one image: each a label, a box and the class logit, among queries that hold nothing."""
    class_logits = torch.zeros(1, len(segments) + 3, CLASSES + 1)
    class_logits[:, len(segments) :, -1] = 9.0
    mask_logits = torch.full((1, len(segments) + 3, *SIZE), -9.0)
    mask_logits[:, len(segments) :] = 9.0  # these must not matter
    for query, (label, box, logit) in enumerate(segments):
        class_logits[0, query, label] = logit
        mask_logits[(0, query, *box)] = 9.0
    return QueryOutput(class_logits, mask_logits)


LEFT, RIGHT = (slice(4, 10), slice(2, 8)), (slice(4, 10), slice(8, 14))
TOP, BOTTOM = (slice(0, 4), slice(0, 23)), (slice(10, 15), slice(0, 23))


def test_touching_things_of_one_class_get_two_ids_and_stuff_merges() -> None:
    output = planted([(0, TOP, 9.0), (2, LEFT, 8.0), (0, BOTTOM, 9.5), (2, RIGHT, 9.0)])
    result = panoptic_from_queries(output, THINGS, SIZE)
    expected = torch.full(SIZE, -1, dtype=torch.int32)
    expected[TOP], expected[BOTTOM] = 0, 0
    expected[LEFT], expected[RIGHT] = 2002, 2001  # the more certain one is the first
    assert result.panoptic.dtype == torch.int32
    assert torch.equal(result.panoptic[0], expected)
    listed = result.segments[0] != -1
    assert result.segments[0, listed].tolist() == [0, 2001, 2002]
    assert (result.scores[0, listed] > 0.99).all() and (result.scores[0, ~listed] == 0).all()


def test_uncertain_queries_leave_their_pixels_unknown() -> None:
    output = planted([(0, TOP, 9.0), (2, LEFT, 2.0)])  # a probability of 0.65
    result = panoptic_from_queries(output, THINGS, SIZE)
    assert (result.panoptic[0][LEFT] == -1).all() and (result.panoptic[0][TOP] == 0).all()
    assert (panoptic_from_queries(output, THINGS, SIZE, lowest_score=0.5).panoptic[0][LEFT] == 2001).all()


def test_a_query_that_loses_most_of_its_mask_is_dropped() -> None:
    mostly_left = (slice(4, 10), slice(2, 9))
    output = planted([(2, LEFT, 9.0), (3, mostly_left, 7.0)])
    result = panoptic_from_queries(output, THINGS, SIZE)
    assert set(result.panoptic.unique().tolist()) == {-1, 2001}
    both = panoptic_from_queries(output, THINGS, SIZE, lowest_overlap=0.1)
    assert set(both.panoptic.unique().tolist()) == {-1, 2001, 3001}


def test_only_so_many_queries_compete_and_the_map_has_the_size_asked_for() -> None:
    output = planted([(0, TOP, 9.0), (2, LEFT, 8.0)])
    result = panoptic_from_queries(output, THINGS, (31, 45), most=1)
    assert result.panoptic.shape == (1, 31, 45) and result.segments.shape == (1, 1)
    assert set(result.panoptic.unique().tolist()) == {-1, 0}


def test_images_do_not_mix() -> None:
    first = planted([(0, TOP, 9.0), (2, LEFT, 8.0)])
    second = planted([(3, RIGHT, 9.0), (1, BOTTOM, 8.0)])
    both = QueryOutput(
        torch.cat([first.class_logits, second.class_logits]), torch.cat([first.mask_logits, second.mask_logits])
    )
    result = panoptic_from_queries(both, THINGS, SIZE)
    for image, alone in enumerate((first, second)):
        assert torch.equal(result.panoptic[image], panoptic_from_queries(alone, THINGS, SIZE).panoptic[0])


def test_queries_give_semantics_and_instances() -> None:
    output = planted([(0, TOP, 9.0), (2, LEFT, 8.0), (3, RIGHT, 9.0)])
    semantic = semantic_from_queries(output)
    assert semantic.shape == (1, CLASSES, *SIZE)
    assert (semantic >= 0).all() and (semantic.sum(dim=1) <= 1.0 + 1e-5).all()
    for label, box in ((0, TOP), (2, LEFT), (3, RIGHT)):
        assert (semantic[(0, label, *box)] > 0.98).all()
    assert (semantic[0, :, 14] < 0.02).all()  # nobody claims it
    (instances,) = instances_from_queries(output, THINGS, SIZE)
    assert [instance.label for instance in instances] == [3, 2]
    assert instances[0].mask[RIGHT].all() and instances[0].mask.sum() == 36
    assert 0.98 < instances[1].score < instances[0].score
    assert instances_from_queries(planted([(2, LEFT, 0.5)]), THINGS, SIZE) == [[]]


def scene() -> torch.Tensor:
    """Return panoptic maps (2, 30, 41) whose things are numbered by the order in which they are found."""
    panoptic = torch.zeros(2, 30, 41, dtype=torch.int32)
    panoptic[:, 20:] = 1000
    panoptic[0, 3:12, 2:11] = 2001
    panoptic[0, 3:12, 11:20] = 2002  # touches the first
    panoptic[0, 15:26, 25:36] = 3001
    panoptic[1, 10:25, 5:12] = 3001
    panoptic[1, :, 38:] = -1
    return panoptic


def from_truth(panoptic: torch.Tensor, **options: float) -> torch.Tensor:
    """Return the map that the truth of the light head and of semantics give."""
    targets = centre_targets(panoptic, THINGS, stride=1, sigma=2.0)
    semantic = panoptic.div(1000, rounding_mode="floor")
    logits = torch.logit(targets.heatmap, eps=1e-6)
    confidence = torch.ones(semantic.shape)
    result = panoptic_from_centres(semantic, confidence, logits, targets.offsets, THINGS, CLASSES, **options)
    return result.panoptic


def renumbered(panoptic: torch.Tensor) -> torch.Tensor:
    """Return maps with things numbered by place, so that the order of equal scores does not matter."""
    result = panoptic.clone()
    for image, values in zip(result, panoptic, strict=True):
        for label in THINGS:
            own = [int(value) for value in values.unique() if value // 1000 == label]
            own.sort(key=lambda value: int((values.flatten() == value).nonzero()[0]))
            for number, value in enumerate(own):
                image[values == value] = label * 1000 + number + 1
    return result


def test_the_light_heads_truth_gives_the_panoptic_map_back() -> None:
    panoptic = scene()
    result = from_truth(panoptic)
    assert result.dtype == torch.int32
    assert torch.equal(renumbered(result), renumbered(panoptic))


def test_the_light_heads_maps_may_be_smaller_than_the_labels() -> None:
    panoptic = scene().repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    targets = centre_targets(panoptic, THINGS, stride=2, sigma=2.0)
    logits = torch.logit(targets.heatmap, eps=1e-6)
    semantic = panoptic.div(1000, rounding_mode="floor")
    result = panoptic_from_centres(semantic, torch.ones(panoptic.shape), logits, targets.offsets, THINGS, CLASSES)
    assert torch.equal(renumbered(result.panoptic), renumbered(panoptic))


def test_things_without_a_centre_are_unknown_and_labels_are_voted() -> None:
    panoptic = scene()[:1]
    targets = centre_targets(panoptic, THINGS, stride=1, sigma=2.0)
    semantic = panoptic.div(1000, rounding_mode="floor")
    semantic[0, 3:12, 2:4] = 3  # 18 of the 81 pixels of the first thing are mistaken
    confidence = torch.full(semantic.shape, 0.5)
    confidence[0, 29] = 0.1
    logits = torch.logit(targets.heatmap, eps=1e-6)
    result = panoptic_from_centres(
        semantic, confidence, logits, targets.offsets, THINGS, CLASSES, lowest_confidence=0.2
    )
    assert len(result.panoptic[0, 3:12, 2:11].unique()) == 1 and result.panoptic[0, 3, 2] // 1000 == 2
    assert (result.panoptic[0, 29] == -1).all()
    listed = result.segments[0] != -1
    assert sorted(result.segments[0, listed].tolist()) == [0, 1000, 2001, 2002, 3001]
    torch.testing.assert_close(result.scores[0, listed], torch.full((5,), 0.5))
    nothing = panoptic_from_centres(semantic, confidence, logits - 99.0, targets.offsets, THINGS, CLASSES)
    assert (nothing.panoptic[semantic >= 2] == -1).all() and (nothing.panoptic[semantic == 1] == 1000).all()


def test_equal_neighbours_are_one_centre() -> None:
    semantic = torch.full((1, 9, 9), 2)
    logits = torch.full((1, 9, 9), -9.0, dtype=torch.bfloat16)
    logits[0, 4, 4:6] = 2.0
    offsets = torch.zeros(1, 2, 9, 9, dtype=torch.bfloat16)
    result = panoptic_from_centres(semantic, torch.ones(1, 9, 9), logits, offsets, THINGS, CLASSES)
    assert (result.panoptic == 2001).all()
