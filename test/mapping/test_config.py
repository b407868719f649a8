# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bounds of the settings."""

import pytest
from pydantic import ValidationError

from mtl_perception.mapping import Mapper, MapperConfig

WRONG = [{"voxel_size": 0.0}, {"max_blocks": 1}, {"truncation_voxels": 20}, {"voxelsize": 0.1}]


@pytest.mark.parametrize("values", WRONG)
def test_values_out_of_bounds_and_unknown_names_are_refused(values):
    with pytest.raises(ValidationError, match=next(iter(values))):
        MapperConfig(**values)


def test_ranges_must_be_in_order():
    with pytest.raises(ValidationError, match=r"min_depth 5\.0 must be below max_depth 4\.0"):
        MapperConfig(min_depth=5, max_depth=4)
    with pytest.raises(ValidationError, match=r"obstacle_min_height 3\.0 must be below"):
        MapperConfig(obstacle_min_height=3)


def test_every_setting_has_a_text_with_a_meaning():
    for name, field in MapperConfig.model_fields.items():
        assert field.description and len(field.description) > 20, name


def test_ground_labels_must_be_in_the_label_space(labels):
    with pytest.raises(ValueError, match="ground_labels names 'lava', which label space 'default' does not have"):
        Mapper(MapperConfig(ground_labels=("lava",)), labels)
