# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The spatial encoder: sizes, alignment of its pixels, one image at a time."""

import pytest
import torch

from mtl_perception.network.cross_view.spatial_encoder import SpatialEncoder

SMALL = (8, 12, 16)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 89), (57, 100), (5, 5), (17, 8)])
@pytest.mark.parametrize("training", [True, False])
def test_sizes_are_rounded_up(height: int, width: int, training: bool) -> None:
    torch.manual_seed(0)
    encoder = SpatialEncoder(12, SMALL).train(training)
    features = encoder(torch.rand(1, 3, height, width))
    assert features.shape == (1, 12, -(-height // 8), -(-width // 8))
    assert features.isfinite().all()


def test_a_pixel_of_the_result_is_centred_where_the_plane_sweep_takes_it_to_be() -> None:
    torch.manual_seed(0)
    encoder = SpatialEncoder(16, SMALL)
    images = torch.rand(8, 3, 136, 136, requires_grad=True)
    row, column = 7, 9
    (encoder(images)[:, :, row, column] * torch.randn(8, 16)).sum().backward()
    weight = images.grad.square().sum(dim=(0, 1))
    position = torch.arange(136.0)
    assert (weight.sum(1) * position).sum() / weight.sum() == pytest.approx(8 * row + 3.5, abs=1.5)
    assert (weight.sum(0) * position).sum() / weight.sum() == pytest.approx(8 * column + 3.5, abs=1.5)


def test_images_are_independent_even_in_training() -> None:
    torch.manual_seed(0)
    encoder = SpatialEncoder(16, SMALL)
    images = torch.rand(3, 3, 40, 56)
    together = encoder(images)
    torch.testing.assert_close(encoder(images[1:2]), together[1:2], rtol=1e-4, atol=1e-5)


def test_brightness_and_contrast_of_an_image_change_little_inside() -> None:
    torch.manual_seed(0)
    encoder = SpatialEncoder(16, SMALL).eval()
    images = torch.rand(1, 3, 128, 128)
    change = (encoder(0.5 * images + 0.2) - encoder(images))[:, :, 3:-3, 3:-3]
    assert change.abs().mean() < 0.1 * encoder(images).std()


def test_bfloat16_is_close_to_float32() -> None:
    torch.manual_seed(0)
    encoder = SpatialEncoder(16, SMALL).eval()
    images = torch.rand(2, 3, 45, 61)
    expected = encoder(images)
    result = encoder.to(torch.bfloat16)(images.bfloat16())
    assert result.dtype == torch.bfloat16
    assert (result.float() - expected).abs().mean() < 0.05 * expected.std()
