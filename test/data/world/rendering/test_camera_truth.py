# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panoptic numbers and edges from labels and instances."""

import numpy as np

from mtl_perception.core.labels import UNKNOWN
from mtl_perception.data.world.rendering.camera_truth import edges_of, panoptic_of


def test_panoptic_is_label_times_1000_plus_the_number_of_the_thing() -> None:
    semantic = np.array([[3, 3, 8], [8, 255, 8]], np.uint8)
    instance = np.array([[0, 0, 7], [999, 0, 7]], np.int32)
    assert panoptic_of(semantic, instance).tolist() == [[3000, 3000, 8007], [8999, -1, 8007]]


def test_numbers_above_999_get_free_ones() -> None:
    generator = np.random.default_rng(2)
    instance = generator.integers(0, 2500, (20, 30)).astype(np.int32)
    instance[:, :4] = 1000  # modulo 999 + 1 is 2
    instance[:, 4:7] = 2
    semantic = np.where(instance > 0, 8, 1).astype(np.uint8)
    numbers = panoptic_of(semantic, instance) % 1000
    small = instance < 1000
    assert np.array_equal(numbers[small], instance[small])
    pairs = np.unique(np.stack([instance.ravel(), numbers.ravel()], 1), axis=0)
    assert len(pairs) == len(np.unique(instance)) == len(np.unique(numbers)), "one number each, and each another"
    assert numbers[instance > 0].min() >= 1 and numbers.max() <= 999


def test_edges_are_one_pixel_on_each_side_of_a_border_between_classes() -> None:
    semantic = np.full((6, 8), 1, np.uint8)
    semantic[:, 4:] = 2
    semantic[4:, :2] = UNKNOWN
    expected = np.zeros((6, 8), np.uint8)
    expected[:, 3:5] = 255
    assert np.array_equal(edges_of(semantic), expected)
    semantic = np.full((6, 8), 1, np.uint8)
    semantic[2, 5] = 9
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 5] = expected[2, 4:7] = 255
    assert np.array_equal(edges_of(semantic), expected)
