# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dense heads: four times the size, affordable; normals of unit length, and statistics of semantics."""

import pytest
import torch
from torch import Tensor, nn

from mtl_perception.network.dense.detail import DetailDecoder
from mtl_perception.network.dense.heads import EdgeHead, NormalHead, RefinedHead, SemanticHead, UpsamplingHead

DECODERS = (RefinedHead, UpsamplingHead)


def features(count: int = 2) -> Tensor:
    """Return a task's map of odd size."""
    return torch.randn(count, 12, 5, 7, generator=torch.Generator().manual_seed(1))


def decoder(kind: type[nn.Module], outputs: int = 6) -> nn.Module:
    """Return a decoder with seeded weights, in evaluation mode."""
    torch.manual_seed(0)
    return kind(12, outputs, (16, 8)).eval()


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_four_times_as_large(kind: type[nn.Module], count: int, training: bool) -> None:
    logits = decoder(kind).train(training)(features(count))
    assert logits.shape == (count, 6, 20, 28) and logits.isfinite().all()


@pytest.mark.parametrize("kind", DECODERS)
def test_gradients_reach_the_map_and_every_parameter(kind: type[nn.Module]) -> None:
    module, x = decoder(kind).train(), features().requires_grad_()
    module(x).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().sum(dim=1) > 0).all()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "enlarge" in name or "image" in name, name  # a ReLU may be closed


@pytest.mark.parametrize("kind", DECODERS)
def test_images_do_not_mix(kind: type[nn.Module]) -> None:
    module, x = decoder(kind), features(3)
    torch.testing.assert_close(module(x)[1:2], module(x[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", DECODERS)
def test_bfloat16(kind: type[nn.Module]) -> None:
    module, x = decoder(kind), features()
    exact = module(x)
    rounded = module.to(torch.bfloat16)(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_a_refined_head_has_context_from_the_whole_image() -> None:
    x = features(1)
    touched = x.clone()
    touched[0, :, 0, 0] += 10.0
    module = decoder(RefinedHead).context
    assert (module(touched) != module(x)).any(dim=1).all()


def test_the_pyramid_looks_6_12_and_18_pixels_away() -> None:
    module = decoder(RefinedHead).context
    module.image.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    x = torch.randn(1, 12, 37, 37, generator=torch.Generator().manual_seed(1))
    touched = x.clone()
    touched[0, :, 18, 18] += 10.0
    changed = (module(touched) != module(x)).any(dim=1)[0].nonzero() - 18
    grid = torch.cartesian_prod(torch.tensor([-1, 0, 1]), torch.tensor([-1, 0, 1]))
    expected = {tuple((rate * step).tolist()) for rate in (6, 12, 18) for step in grid}
    assert {tuple(offset.tolist()) for offset in changed} == expected


def test_the_refinement_adds_to_a_shortcut() -> None:
    module, x = decoder(RefinedHead), features()
    module.refine.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    fine = module.up(module.context(x))
    torch.testing.assert_close(module(x), module.logits(fine * module.gate(fine)))


def test_the_gate_closes_pixels_of_a_refined_head() -> None:
    module, x = decoder(RefinedHead), features()
    module.gate.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    torch.testing.assert_close(module(x), module.logits.bias[None, :, None, None].expand(2, 6, 20, 28))


def test_up_blocks_weigh_channels_and_keep_a_shortcut() -> None:
    block, x = decoder(UpsamplingHead).up[0], features()
    block.attention.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    upsampled = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(block(x), block.shortcut(upsampled))


def test_normals_have_unit_length() -> None:
    head = NormalHead(decoder(UpsamplingHead, 3))
    normals = head(features())
    assert normals.shape == (2, 3, 20, 28)
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 20, 28))
    raw = head.decoder(features())
    assert torch.equal(normals.sign(), raw.sign())
    rounded = head.to(torch.bfloat16)(features().bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float().norm(dim=1), torch.ones(2, 20, 28), atol=0.01, rtol=0.0)


def test_a_normal_s_components_saturate_before_they_are_scaled() -> None:
    raw = torch.tensor([100.0, 50.0, 0.0])[None, :, None, None]
    normal = NormalHead(nn.Identity())(raw)[0, :, 0, 0]
    torch.testing.assert_close(normal, torch.tensor([0.5, 0.5, 0.0]).sqrt())


def test_edges_are_one_logit_a_pixel() -> None:
    head = EdgeHead(decoder(UpsamplingHead, 1))
    torch.testing.assert_close(head(features()), head.decoder(features())[:, 0])


def test_semantic_statistics() -> None:
    logits = torch.zeros(1, 4, 1, 3)
    logits[0, 2, 0, 1] = 50.0  # certain
    logits[0, :2, 0, 2] = 50.0  # one of two
    label, confidence, entropy = SemanticHead(nn.Identity()).statistics(logits)
    assert label.dtype == torch.int64 and label[0, 0, 1] == 2
    torch.testing.assert_close(confidence[0, 0], torch.tensor([0.25, 1.0, 0.5]))
    torch.testing.assert_close(entropy[0, 0], torch.tensor([1.0, 0.0, 0.5]))


def test_semantic_statistics_stay_in_bounds_in_bfloat16() -> None:
    head = SemanticHead(decoder(RefinedHead, 41)).to(torch.bfloat16)
    logits = 100.0 * head(features().bfloat16())
    label, confidence, entropy = head.statistics(logits)
    assert label.shape == confidence.shape == entropy.shape == (2, 20, 28)
    assert confidence.dtype == entropy.dtype == torch.float32
    assert (confidence > 1 / 41).all() and (confidence <= 1).all() and (entropy >= 0).all() and (entropy <= 1).all()


def test_a_head_hands_all_arguments_to_a_light_decoder() -> None:
    torch.manual_seed(0)
    light = DetailDecoder(12, 4, 8, 6).eval()
    stem = torch.randn(2, 4, 10, 14)
    torch.testing.assert_close(SemanticHead(light)(features(), stem), light(features(), stem))
