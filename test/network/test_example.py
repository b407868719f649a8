# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The made-up input that costs are measured with."""

import pytest
import torch

from mtl_perception.network.example import example_batch, previous_of


def test_example_batch_is_a_ring_that_looks_outward(tiny_config):
    batch = example_batch(tiny_config, cameras=4, size=(640, 480))
    width, height = tiny_config.input_size(640, 480)
    assert batch.images.shape == (4, 3, height, width)
    forward = batch.base_from_camera[:, :3, 2]
    torch.testing.assert_close(forward[0], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(forward[1], torch.tensor([0.0, 1, 0]))
    outward = batch.base_from_camera[:, :2, 3]
    assert ((forward[:, :2] * outward).sum(dim=1) > 0).all()
    # 90 degrees wide: the outermost edge of the outermost pixel is as far to the side as to the front.
    assert (batch.K[:, 0, 2] + 0.5).tolist() == pytest.approx(4 * [width / 2])
    assert batch.K[:, 0, 0].tolist() == pytest.approx(4 * [width / 2])
    with pytest.raises(ValueError, match="0 cameras"):
        example_batch(tiny_config, cameras=0)


def test_the_frame_before_lies_behind(tiny_config, tiny_network):
    batch = example_batch(tiny_config, cameras=2)
    with torch.inference_mode():
        previous = previous_of(batch, tiny_network(batch, tiny_config.tasks))
        assert tiny_network(batch, ("motion_mask",), previous).motion_logits is not None
        assert previous_of(batch, tiny_network(batch, ("depth",))) is None
    # Forward motion: what the first camera sees now was farther away along its axis; the second looks back.
    torch.testing.assert_close(previous.previous_from_current[:, 2, 3], torch.tensor([0.5, -0.5]))
