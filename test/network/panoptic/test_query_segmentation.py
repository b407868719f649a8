# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""OneFormer's decoders on our own maps: any size, any batch, conditioned on the task, and able to learn."""

import copy

import pytest
import torch

from mtl_perception.network.panoptic.query_segmentation import QuerySegmentation
from mtl_perception.network.panoptic.targets import QueryTargets, query_targets

WIDTHS = (4, 6, 8, 10)
THINGS = (2,)


@pytest.fixture
def module() -> QuerySegmentation:
    torch.manual_seed(0)
    return QuerySegmentation(WIDTHS, 3, queries=16, hidden=32, heads=4, encoder_layers=1, decoder_layers=2, points=256)


def maps(images: int, height: int = 15, width: int = 23) -> list[torch.Tensor]:
    """Return random maps at strides 1, 2, 4 and 8 of a size."""
    return [
        torch.randn(images, channels, -(-height // 2**level), -(-width // 2**level))
        for level, channels in enumerate(WIDTHS)
    ]


def truth(images: int) -> torch.Tensor:
    """Return panoptic maps (N, 60, 92): stuff 0 and 1, two touching things 2; the first image is upside down."""
    panoptic = torch.zeros(images, 60, 92, dtype=torch.int32)
    panoptic[:, 30:] = 1000
    panoptic[:, 20:44, 20:40] = 2001
    panoptic[:, 20:44, 40:60] = 2002
    panoptic[0] = panoptic[0].flip(0)
    return panoptic


@pytest.mark.parametrize(("images", "size"), [(1, (15, 23)), (3, (8, 12)), (2, (1, 1))])
def test_sizes(module: QuerySegmentation, images: int, size: tuple[int, int]) -> None:
    output = module(maps(images, *size))
    assert output.class_logits.shape == (images, 16, 4)
    assert output.mask_logits.shape == (images, 16, *size)


def test_there_is_no_backbone_and_the_pixel_decoder_runs_once_on_the_maps_given(module: QuerySegmentation) -> None:
    children = {name for name, _ in module.decoders.named_children()}
    assert children == {"pixel_decoder", "transformer_module", "task_encoder"}
    calls = []
    module.decoders.pixel_decoder.register_forward_hook(lambda _, inputs, __: calls.append(inputs[0]))
    levels = maps(2)
    module(levels)
    assert len(calls) == 1
    assert all(given is level for given, level in zip(calls[0], levels, strict=True))


def test_images_do_not_mix(module: QuerySegmentation) -> None:
    module.eval()
    levels = maps(3)
    together = module(levels)
    for image in range(3):
        alone = module([level[image : image + 1] for level in levels])
        torch.testing.assert_close(together.mask_logits[image : image + 1], alone.mask_logits)
        torch.testing.assert_close(together.class_logits[image : image + 1], alone.class_logits)


def test_the_task_changes_the_answer(module: QuerySegmentation) -> None:
    levels = maps(1)
    answers = [module(levels, task).class_logits for task in ("panoptic", "semantic", "instance")]
    assert torch.equal(answers[0], module(levels).class_logits)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (answers[first] - answers[second]).abs().max() > 1e-3


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_every_level_and_every_parameter_learns(module: QuerySegmentation, task: str) -> None:
    levels = [level.requires_grad_() for level in maps(2)]
    losses = module.loss(levels, query_targets(truth(2), THINGS, task), task)
    assert set(losses) == {"classification", "mask", "dice", "contrast"}
    sum(losses.values()).backward()
    for level in levels:
        assert level.grad is not None and all((image != 0).any() for image in level.grad)
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


def test_it_learns_a_scene(module: QuerySegmentation) -> None:
    panoptic = truth(1)
    targets = query_targets(panoptic, THINGS)
    labels = torch.nn.functional.one_hot(panoptic[:, ::4, ::4].long() // 1000, 3).permute(0, 3, 1, 2).float()
    columns = torch.linspace(-1, 1, 23).expand(1, 1, 15, 23)
    levels = [  # the classes and where a pixel is: what an encoder may know
        torch.nn.functional.pad(torch.cat([labels, columns], dim=1)[..., ::step, ::step], (0, 0, 0, 0, 0, channels - 4))
        for step, channels in zip((1, 2, 4, 8), WIDTHS, strict=True)
    ]
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-3)
    history = []
    for _ in range(30):
        losses = module.loss(levels, targets)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    for name in ("classification", "mask", "dice"):
        assert history[-1][name] < 0.7 * history[0][name]


def test_training_from_scratch_starts_with_different_queries_and_visible_masks(module: QuerySegmentation) -> None:
    masks = module(maps(1)).mask_logits
    assert masks.std() > 0.5
    queries = torch.nn.functional.normalize(module.decoders.transformer_module.queries_embedder.weight, dim=1)
    offsets = module.decoders.pixel_decoder.encoder.layers[0].self_attn.sampling_offsets
    assert (queries @ queries.T).fill_diagonal_(0).abs().max() < 0.8
    assert (offsets.weight == 0).all() and offsets.bias.abs().max() == 4.0  # points in all directions


def test_only_where_the_truth_is_known_masks_are_corrected(module: QuerySegmentation) -> None:
    targets = query_targets(truth(1), THINGS)
    known = torch.zeros_like(targets.known)
    nowhere = QueryTargets(targets.mask_labels, targets.class_labels, known)
    for name in ("mask", "dice"):
        assert module.loss(maps(1), nowhere)[name].item() == 0.0
        assert module.loss(maps(1), targets)[name].item() > 0.0


def test_images_without_segments_are_trained_too(module: QuerySegmentation) -> None:
    panoptic = truth(2)
    panoptic[1] = -1
    losses = module.loss(maps(2), query_targets(panoptic, THINGS))
    assert all(torch.isfinite(loss) for loss in losses.values())
    losses = module.loss(maps(2), query_targets(torch.full_like(panoptic, -1), THINGS))
    sum(losses.values()).backward()
    assert losses["mask"].item() == 0.0 and losses["classification"].item() > 0.0


def test_contrast_is_smallest_for_an_images_own_text(module: QuerySegmentation) -> None:
    queries = torch.randn(3, 16, 32)
    own = module.query_loss.contrast(queries, queries)
    other = module.query_loss.contrast(queries, queries.roll(1, dims=0))
    assert own < 0.01 and other > 1.0
    assert module.query_loss.contrast(queries[:1], queries[:1]) == 0.0


def test_bfloat16(module: QuerySegmentation) -> None:
    module.eval()
    levels = maps(2)
    exact = module(levels)
    half = copy.deepcopy(module).to(torch.bfloat16)
    output = half([level.bfloat16() for level in levels])
    assert output.class_logits.dtype == output.mask_logits.dtype == torch.bfloat16
    torch.testing.assert_close(output.class_logits.float(), exact.class_logits, atol=0.1, rtol=0.1)
    assert (output.mask_logits.float() - exact.mask_logits).abs().mean() < 0.05 * exact.mask_logits.abs().mean()
    losses = half.loss([level.bfloat16() for level in levels], query_targets(truth(2), THINGS))
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_what_cannot_be_is_refused(module: QuerySegmentation) -> None:
    with pytest.raises(ValueError, match="four maps"):
        QuerySegmentation(WIDTHS[:3], 3)
    with pytest.raises(ValueError, match="multiple of 32"):
        QuerySegmentation(WIDTHS, 3, hidden=48)
    with pytest.raises(ValueError, match="decoder_layers"):
        QuerySegmentation(WIDTHS, 3, decoder_layers=0)
    with pytest.raises(ValueError, match="task"):
        module(maps(1), "depth")
    crowded = torch.arange(15).repeat_interleave(4)[None, None].expand(1, 60, 60) + 2001
    with pytest.raises(ValueError, match="at most 14"):
        module.loss(maps(1), query_targets(crowded, THINGS))
