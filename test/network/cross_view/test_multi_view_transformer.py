# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The multi-view transformer: who hears whom, windows and their shift, padding."""

import pytest
import torch
from torch.nn import functional

from mtl_perception.network.cross_view.multi_view_transformer import MultiViewTransformer, sine_position

NOBODY = torch.zeros(3, 1, dtype=torch.int64)


def transformer(layers: int = 2, windows: int = 2) -> MultiViewTransformer:
    torch.manual_seed(0)
    return MultiViewTransformer(16, layers, windows).eval()


def influence(module: MultiViewTransformer, size: tuple[int, int], pixel: tuple[int, int]) -> torch.Tensor:
    """Return which pixels (2, h, w) of two views that are neighbours one pixel of the first depends on."""
    features = torch.randn(2, 16, *size, requires_grad=True)
    result = module(features, torch.tensor([[1], [0]]), torch.ones(2, 1, dtype=torch.bool))
    (result[0, :, pixel[0], pixel[1]] * torch.randn(16)).sum().backward()
    return features.grad.abs().sum(dim=1) > 0


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [(15, 23), (8, 12), (1, 1), (3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_shapes_and_gradients(count: int, size: tuple[int, int], training: bool) -> None:
    module = transformer().train(training)
    features = torch.randn(count, 16, *size, requires_grad=True)
    previous = torch.randn(count, 16, *size)
    index = torch.stack([torch.arange(count) + count, torch.arange(count).roll(1)], dim=1)
    result = module(features, index, torch.ones(count, 2, dtype=torch.bool), previous)
    assert result.shape == features.shape
    result.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert features.grad.isfinite().all() and (features.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_one_layer_sees_its_own_window_in_both_views_and_no_other() -> None:
    seen = influence(transformer(layers=1), (8, 12), (1, 8))
    expected = torch.zeros(2, 8, 12, dtype=torch.bool)
    expected[:, :4, 6:] = True
    assert (seen == expected).all()


def test_the_second_layer_is_shifted_so_that_windows_exchange() -> None:
    module = transformer(layers=2)
    with torch.no_grad():  # nothing but the second layer
        module.layers[0].self_attention.norm.weight.zero_()
        module.layers[0].feed_forward[-1].weight.zero_()
    middle = torch.zeros(8, 12, dtype=torch.bool)
    middle[2:6, 3:9] = True
    assert (influence(module, (8, 12), (3, 5))[1] == middle).all()
    corner = torch.zeros(8, 12, dtype=torch.bool)
    corner[6:, 9:] = True  # what the roll brings in from the other sides is masked
    assert (influence(module, (8, 12), (7, 11))[1] == corner).all()
    assert influence(transformer(layers=2), (8, 12), (3, 5)).all()


@pytest.mark.parametrize("size", [(5, 7), (15, 23), (1, 3)])
def test_nobody_sees_the_padding(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    module = transformer(layers=3)
    features, previous = torch.randn(2, 16, *size), torch.randn(2, 16, *size)
    index, valid = torch.tensor([[1, 2], [0, 3]]), torch.ones(2, 2, dtype=torch.bool)
    expected = module(features, index, valid, previous)
    pad = functional.pad
    monkeypatch.setattr(functional, "pad", lambda x, sides: pad(x, sides, value=7.0))
    torch.testing.assert_close(module(features, index, valid, previous), expected)


def test_tokens_of_all_valid_neighbours_are_keys_and_only_they() -> None:
    module = transformer()
    features, previous = torch.randn(3, 16, 6, 7), torch.randn(3, 16, 6, 7)
    index = torch.tensor([[3, 1], [4, 2], [5, 1]])
    valid = torch.tensor([[True, True], [True, False], [True, True]])
    result = module(features, index, valid, previous)

    def changed(row: int, of_previous: bool) -> list[bool]:
        other = [features.clone(), previous.clone()]
        other[of_previous][row] += torch.randn(16, 6, 7)
        return (module(other[0], index, valid, other[1]) - result).abs().amax(dim=(1, 2, 3)).gt(1e-3).tolist()

    assert changed(0, False) == [True, False, False]
    assert changed(1, False) == [True, True, True]
    assert changed(2, False) == [False, False, True]  # 1 does not count 2 as valid
    assert changed(0, True) == [True, False, False]
    assert changed(1, True) == [True, True, True]  # through what 0 and 2 hear from 1 in the second layer
    assert changed(2, True) == [False, False, True]


def test_the_order_and_the_content_of_invalid_slots_do_not_matter() -> None:
    module = transformer()
    features = torch.randn(3, 16, 6, 7)
    first = module(features, torch.tensor([[1, 2, 0]] * 3), torch.tensor([[True, True, False]] * 3))
    second = module(features, torch.tensor([[1, 1, 2]] * 3), torch.tensor([[False, True, True]] * 3))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_previous_views_are_the_same_in_every_layer() -> None:
    module = transformer(layers=3)
    features, previous = torch.randn(1, 16, 6, 7), torch.randn(1, 16, 6, 7)
    seen = []
    for layer in module.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    module(features, torch.tensor([[1]]), torch.ones(1, 1, dtype=torch.bool), previous)
    torch.testing.assert_close(seen[0], seen[2])


def test_position_tells_equal_pixels_of_a_window_apart() -> None:
    code = sine_position(16, 5, 6).flatten(1).T
    distances = torch.cdist(code, code) + 10 * torch.eye(30)
    assert code.shape == (30, 16) and distances.min() > 0.1
    result = transformer()(torch.zeros(1, 16, 10, 12), NOBODY[:1], torch.ones(1, 1, dtype=torch.bool))
    assert (result[0, :, 0, 0] - result[0, :, 3, 4]).abs().max() > 0.1


def test_bfloat16_is_close_to_float32() -> None:
    module = transformer()
    features, index = torch.randn(3, 16, 7, 9), torch.tensor([[1], [2], [0]])
    valid = torch.ones(3, 1, dtype=torch.bool)
    expected = module(features, index, valid)
    result = module.to(torch.bfloat16)(features.bfloat16(), index, valid)
    assert result.dtype == torch.bfloat16
    assert (result.float() - expected).abs().mean() < 0.05 * expected.std()


@pytest.mark.parametrize(("width", "windows"), [(18, 2), (16, 0)])
def test_impossible_sizes_are_refused(width: int, windows: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        MultiViewTransformer(width, 1, windows)
