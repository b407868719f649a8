# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Window cross-task attention: tasks tell each other what is in a window, and nothing of any other window."""

import pytest
import torch
from torch import Tensor

from mtl_perception.network.dense.cross_task_attention import TaskLayerNorm, WindowCrossTaskAttention


def maps(count: int = 1, height: int = 15, width: int = 23, tasks: int = 3, channels: int = 16) -> list[Tensor]:
    """Return one map a task, of odd size unless told."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, channels, height, width, generator=generator) for _ in range(tasks)]


def attention(reduction: int = 1, tasks: int = 3, channels: int = 16) -> WindowCrossTaskAttention:
    """Return a module with seeded weights."""
    torch.manual_seed(0)
    module = WindowCrossTaskAttention(channels, tasks, heads=2, reduction=reduction)
    with torch.no_grad():  # fresh norms and offsets are equal for all tasks
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module.eval()


def changes(module: WindowCrossTaskAttention, inputs: list[Tensor], task: int, row: int, column: int) -> list[Tensor]:
    """Return where each task's map (h, w) changes if one pixel of one task's map does."""
    before = module(inputs)
    touched = [x.clone() for x in inputs]
    touched[task][0, :, row, column] += torch.linspace(-9.0, 9.0, 16)  # layer norm would not see an equal shift
    return [(after != x).any(dim=1)[0] for x, after in zip(before, module(touched), strict=True)]


@pytest.mark.parametrize("reduction", [1, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_shapes(count: int, reduction: int) -> None:
    outputs = attention(reduction)(maps(count))
    assert [x.shape for x in outputs] == [(count, 16, 15, 23)] * 3


@pytest.mark.parametrize("task", range(3))
@pytest.mark.parametrize(("row", "column"), [(0, 0), (9, 10), (14, 22), (3, 21)])
def test_a_pixel_changes_all_tasks_in_its_window_and_nothing_else(task: int, row: int, column: int) -> None:
    top, left = row // 7 * 7, column // 7 * 7
    expected = torch.zeros(15, 23, dtype=torch.bool)
    expected[top : top + 7, left : left + 7] = True  # windows at the right and lower border are cut off
    for changed in changes(attention(), maps(), task, row, column):
        assert torch.equal(changed, expected)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (16, 20), (28, 32)])
def test_reduced_windows_are_twice_as_wide_and_smear_by_a_pixel(row: int, column: int) -> None:
    inputs = maps(height=29, width=33)
    top, left = row // 14 * 14, column // 14 * 14
    expected = torch.zeros(29, 33, dtype=torch.bool)
    expected[max(top - 1, 0) : top + 15, max(left - 1, 0) : left + 15] = True
    for changed in changes(attention(4), inputs, 1, row, column):
        assert torch.equal(changed, expected)


def test_a_cut_off_window_attends_to_its_own_pixels_only() -> None:
    constant = [x[:, :, :1, :1].expand(1, 16, 9, 10) for x in maps()]
    for output in attention()(constant):  # equal tokens give equal results, however many there are
        torch.testing.assert_close(output, output[:, :, :1, :1].expand_as(output), atol=1e-5, rtol=1e-5)


def test_a_cut_off_window_is_like_a_map_of_its_own() -> None:
    module, inputs = attention(), maps()
    corner = module([x[:, :, 14:, 21:] for x in inputs])
    for whole, alone in zip(module(inputs), corner, strict=True):
        torch.testing.assert_close(whole[:, :, 14:, 21:], alone, atol=1e-5, rtol=1e-5)


def test_there_is_no_position_inside_a_window() -> None:
    module, inputs = attention(), maps(height=7, width=7)
    flipped = module([x.flip(2, 3) for x in inputs])
    for output, other in zip(module(inputs), flipped, strict=True):
        torch.testing.assert_close(other.flip(2, 3), output, atol=1e-5, rtol=1e-5)


def test_attention_and_feed_forward_add_to_shortcuts_behind_the_first_norm() -> None:
    layer = attention().layers[0]
    x = torch.randn(4, 3, 49, 16, generator=torch.Generator().manual_seed(1))
    for last in (layer.output, layer.feed_forward[2]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    torch.testing.assert_close(layer(x, None), layer.after(layer.before(x)))


def test_norms_belong_to_tasks() -> None:
    norm = TaskLayerNorm(8, 2)
    with torch.no_grad():
        norm.weight[1], norm.bias[1] = 2.0, 1.0
    x = torch.randn(3, 1, 5, 8, generator=torch.Generator().manual_seed(1))
    plain, scaled = norm(x.expand(3, 2, 5, 8)).unbind(dim=1)
    torch.testing.assert_close(plain, torch.nn.functional.layer_norm(x[:, 0], (8,)))
    torch.testing.assert_close(scaled, 2.0 * plain + 1.0)


@pytest.mark.parametrize("reduction", [1, 4])
def test_one_task_s_result_has_gradients_from_every_task_and_parameter(reduction: int) -> None:
    module, inputs = attention(reduction), [x.requires_grad_() for x in maps()]
    outputs = module(inputs)
    outputs[2].square().sum().backward(retain_graph=True)
    for x in inputs:
        assert x.grad is not None and x.grad.abs().sum() > 0
    (outputs[0].square().sum() + outputs[1].square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("reduction", [1, 4])
def test_images_do_not_mix(reduction: int) -> None:
    module, inputs = attention(reduction), maps(3)
    alone = module([x[1:2] for x in inputs])
    for output, expected in zip(module(inputs), alone, strict=True):
        torch.testing.assert_close(output[1:2], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reduction", [1, 4])
def test_bfloat16(reduction: int) -> None:
    module, inputs = attention(reduction), maps()
    exact = module(inputs)
    rounded = module.to(torch.bfloat16)([x.bfloat16() for x in inputs])
    for output, expected in zip(rounded, exact, strict=True):
        assert output.dtype == torch.bfloat16
        assert (output.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="width 16 / reduction 4 does not divide into 3 heads"):
        WindowCrossTaskAttention(16, 3, heads=3, reduction=4)
    with pytest.raises(ValueError, match="3 tasks got 2 maps"):
        attention()(maps(tasks=2))
