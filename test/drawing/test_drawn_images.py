# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sheets, legends and scales."""

import numpy as np
import pytest

from mtl_perception.drawing import images


def test_a_scale_has_round_ticks_and_no_negative_zero(monkeypatch):
    written = []
    monkeypatch.setattr(images, "write", lambda image, text, at, *_, **__: written.append(text))
    images.colour_bar(np.zeros((256, 3), np.uint8), 0.0, 60.0, "deg", 400)
    assert written == ["0", "10", "20", "30", "40", "50", "60", "deg"]


def test_a_legend_breaks_lines_where_the_width_ends():
    entries = [("road", (1, 2, 3)), ("vegetation", (200, 10, 10)), ("building", (0, 0, 250))]
    narrow, wide = images.legend(entries, 120), images.legend(entries, 600)
    assert narrow.shape[0] == 3 * wide.shape[0]
    for _, colour in entries:
        assert (narrow == colour).all(axis=-1).sum() > 100


def test_images_beside_and_below_each_other_keep_their_pixels():
    first, second = np.full((10, 20, 3), 7, np.uint8), np.full((5, 30, 3), 9, np.uint8)
    both = images.beside([first, second])
    assert both.shape == (10, 50 + images.GAP, 3)
    assert (both[:5, 20 + images.GAP :] == 9).all() and (both[5:, 20:] == images.PAPER).all()
    assert images.stacked([first, second]).shape == (15 + images.GAP, 30, 3)


@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_images_are_saved_whole(tmp_path, name):
    images.save_image(np.full((8, 8, 3), 100, np.uint8), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
