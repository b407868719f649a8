# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-scale fusion: a map at the finest level to which every level contributes, the coarsest everywhere."""

import pytest
import torch
from torch import Tensor

from mtl_perception.network.dense.multi_scale_fusion import MultiScaleFusion, ResidualUnit

SIZES = ((15, 23), (8, 12), (4, 6), (2, 3))


def levels(count: int = 2, width: int = 8) -> list[Tensor]:
    """Return levels of odd and even sizes, finest first."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, width, *size, generator=generator) for size in SIZES]


def fusion(width: int = 8) -> MultiScaleFusion:
    """Return a module with seeded weights."""
    torch.manual_seed(0)
    return MultiScaleFusion(width)


@pytest.mark.parametrize("count", [1, 3])
def test_the_result_has_the_finest_size(count: int) -> None:
    assert fusion()(levels(count)).shape == (count, 8, 15, 23)


@pytest.mark.parametrize("level", range(4))
def test_every_level_contributes(level: int) -> None:
    module, inputs = fusion(), levels()
    before = module(inputs)
    inputs[level] = inputs[level] + 1.0
    assert (module(inputs) - before).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_a_fine_pixel_acts_nearby_and_a_coarse_one_far_away() -> None:
    module = fusion()
    reach = []
    for level in (0, 3):
        inputs = levels(1)
        before = module(inputs)
        inputs[level][0, :, 0, 0] += 10.0
        changed = (module(inputs) != before).any(dim=1)[0].nonzero().amax(dim=0)
        reach.append(changed)
    assert (reach[0] < 6).all()  # five 3x3 convolutions behind one another
    assert (reach[1] == torch.tensor([14, 22])).all()


def test_the_units_keep_a_shortcut() -> None:
    unit = ResidualUnit(8)
    torch.nn.init.zeros_(unit.second.weight)
    x = levels(1)[0]
    torch.testing.assert_close(unit(x), x)
    assert (x < 0).any()  # nothing was changed in place


def test_gradients_reach_every_level_and_parameter() -> None:
    module, inputs = fusion(), [x.requires_grad_() for x in levels()]
    module(inputs).square().sum().backward()
    for tensor in [*inputs, *module.parameters()]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_images_do_not_mix() -> None:
    module, inputs = fusion().eval(), levels(3)
    alone = module([x[1:2] for x in inputs])
    torch.testing.assert_close(module(inputs)[1:2], alone, atol=1e-5, rtol=1e-4)


def test_bfloat16() -> None:
    module, inputs = fusion(), levels()
    exact = module(inputs)
    rounded = module.to(torch.bfloat16)([x.bfloat16() for x in inputs])
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.1)


def test_the_number_of_levels_is_checked() -> None:
    with pytest.raises(ValueError, match="4 levels, not 3"):
        fusion()(levels()[:3])
