# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional

from mtl_perception.network.motion.matching import Matches, PairMatching

HEIGHT, WIDTH, CHANNELS = 16, 24, 12  # of the map at stride 4


@pytest.fixture
def matching() -> PairMatching:
    torch.manual_seed(0)
    module = PairMatching(CHANNELS, width=24, fine_width=16).eval()
    with torch.no_grad():
        module.scale.copy_(torch.tensor([40.0, 60.0]))  # a network that is sure of its features
    return module


def _frames(shift: tuple[int, int]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return embeddings of a frame and of the one before, whose content lay `shift` cells (stride 4) farther."""
    generator = torch.Generator().manual_seed(1)
    fine = functional.normalize(torch.randn(2, 16, HEIGHT, WIDTH, generator=generator), dim=1)
    coarse = functional.normalize(torch.randn(2, 24, HEIGHT // 2, WIDTH // 2, generator=generator), dim=1)
    x, y = shift
    before = {
        "match_fine": torch.roll(fine, (y, x), dims=(2, 3)),
        "match_coarse": torch.roll(coarse, (y // 2, x // 2), dims=(2, 3)),
    }
    return {"match_fine": fine, "match_coarse": coarse}, before


def _flow(matches: Matches) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return matches.fine - torch.stack([columns, rows], dim=-1)


@pytest.mark.parametrize("shift", [(0, 0), (4, 0), (-6, 2), (2, -4)])
def test_a_shifted_image_is_found_where_it_was(matching: PairMatching, shift: tuple[int, int]) -> None:
    now, before = _frames(shift)
    with torch.no_grad():
        flow = _flow(matching(torch.zeros(2, CHANNELS, HEIGHT, WIDTH), now, before))
    inner = flow[:, 6:-6, 8:-8]  # the rest was rolled in from the other side
    torch.testing.assert_close(inner.mean(dim=(0, 1, 2)), torch.tensor(shift).float(), atol=0.1, rtol=0)
    assert (inner - torch.tensor(shift)).norm(dim=-1).median() < 0.2


def test_the_precision_is_bounded_and_takes_no_part_in_the_match(matching: PairMatching) -> None:
    now, before = _frames((2, 0))
    finest = torch.randn(2, CHANNELS, HEIGHT, WIDTH)
    with torch.no_grad():
        matching.log_precision.weight.mul_(1e4)
        matches = matching(finest, now, before)
    for log_precision in (matches.log_precision, matches.still_log_precision):
        assert log_precision.abs().max() <= 7.0 and log_precision.shape == (2, HEIGHT, WIDTH)
    assert torch.isfinite(matches.fine).all()


def test_gradients_reach_the_features_of_the_current_image(matching: PairMatching) -> None:
    levels = [torch.randn(2, CHANNELS, HEIGHT, WIDTH), torch.randn(2, CHANNELS, HEIGHT // 2, WIDTH // 2)]
    for level in levels:
        level.requires_grad_()
    with torch.no_grad():
        before = matching.embeddings([level.flip(0) for level in levels])
    matches = matching(levels[0], matching.embeddings(levels), before)
    (matches.fine.mean() + matches.similarity.log_softmax(dim=2)[:, :, 0].mean()).backward()
    assert all(level.grad is not None and level.grad.abs().max() > 0 for level in levels)


def test_odd_sizes(matching: PairMatching) -> None:
    levels = [torch.randn(1, CHANNELS, 11, 15), torch.randn(1, CHANNELS, 6, 8)]
    kept = matching.embeddings(levels)
    assert matching(levels[0], kept, kept).fine.shape == (1, 11, 15, 2)
