# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The dual-branch embedding: which branches run, what streams do and do not reach, and its two forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_perception.network.driving.dual_branch import (
    ChannelSelfAttention,
    DualBranchEmbedding,
    DualBranchOutput,
    SpatialSelfAttention,
    TaskSharedBranch,
    TaskSpecificBranch,
)

WIDTH = 16
TASKS = ("depth", "semantic", "motion")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def embedding(dense: bool = True, groups: tuple[int, ...] = (1, 1, 1)) -> DualBranchEmbedding:
    return DualBranchEmbedding(WIDTH, groups, TASKS, dense)


def streams(count: int = 3, batch: int = 3, size: tuple[int, int] = (5, 7)) -> list[Tensor | None]:
    return [torch.randn(batch, WIDTH, *size) for _ in range(count)]


def results(output: DualBranchOutput) -> list[Tensor]:
    return [output.shared, *output.specific.values(), *output.fused.values()]


def same(first: DualBranchOutput, second: DualBranchOutput, tolerance: float = 1e-5) -> bool:
    pairs = zip(results(first), results(second), strict=True)
    return all(torch.allclose(one, other, atol=tolerance) for one, other in pairs)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("batch", "size"), [(1, (15, 23)), (3, (4, 4)), (2, (1, 1))])
def test_dense_form_keeps_the_maps_whatever_the_number_of_streams(
    count: int, batch: int, size: tuple[int, int]
) -> None:
    output = embedding()(streams(count, batch, size), TASKS)
    assert set(output.specific) == set(output.fused) == set(TASKS)
    for values in results(output):
        assert values.shape == (batch, WIDTH, *size) and torch.isfinite(values).all()


@pytest.mark.parametrize("batch", [1, 3])
def test_scene_form_gives_vectors(batch: int) -> None:
    for values in results(embedding(dense=False)(streams(3, batch, (7, 7)), TASKS)):
        assert values.shape == (batch, WIDTH)


def test_scene_form_pools_before_the_tasks_sum_both_branches() -> None:
    module = embedding(dense=False)
    given = streams()
    output = module(given, ("depth",))
    maps = torch.cat([stream for stream in given if stream is not None], dim=1)
    own = module.specific["depth"](maps).mean(dim=(2, 3))
    assert torch.allclose(output.specific["depth"], own, atol=1e-6)
    fusion = module.fusion["depth"]
    half = torch.tensor(0.5).sigmoid()
    expected = half * fusion.own(own) + (1 - half) * fusion.common(output.shared)
    assert torch.allclose(output.fused["depth"], expected, atol=1e-6)


def test_the_shared_branch_joins_the_groups_one_after_the_other() -> None:
    module = embedding()
    driver, scene, joints = streams()
    shared = module([driver, scene, joints], ()).shared
    assert torch.allclose(shared, module.shared(module.shared(driver, scene), joints), atol=1e-6)


def test_only_the_branches_of_the_tasks_asked_for_run() -> None:
    module = embedding()
    ran: list[str] = []
    for task in TASKS:
        for part in (module.specific[task], module.fusion[task]):
            part.register_forward_hook(lambda *_, task=task: ran.append(task))
    everything = module(streams(), TASKS)
    assert sorted(ran) == sorted(2 * TASKS)
    ran.clear()
    output = module(streams(), ("semantic",))
    assert ran == ["semantic", "semantic"] and set(output.fused) == {"semantic"}
    output.fused["semantic"].sum().backward()
    assert all(parameter.grad is None for parameter in module.specific["depth"].parameters())
    assert set(everything.fused) == set(TASKS)


def test_other_tasks_do_not_change_a_task() -> None:
    module = embedding()
    given = streams()
    alone, together = module(given, ("motion",)), module(given, TASKS)
    assert torch.equal(alone.fused["motion"], together.fused["motion"])


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("present", [(0,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_gradients_reach_all_present_streams(dense: bool, present: tuple[int, ...]) -> None:
    module = embedding(dense)
    given = [stream.requires_grad_() if index in present else None for index, stream in enumerate(streams())]
    output = module(given, TASKS)
    for result in [output.shared, *output.fused.values()]:
        gradients = torch.autograd.grad(
            result.square().sum(), [stream for stream in given if stream is not None], retain_graph=True
        )
        assert all(gradient.abs().amax(dim=(1, 2, 3)).min() > 0 for gradient in gradients)


def test_gradients_reach_every_parameter() -> None:
    module = embedding(groups=(1, 2, 1))
    output = module(streams(4), TASKS)
    sum(values.square().sum() for values in output.fused.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_one_stream_is_shared_as_it_is() -> None:
    given = streams(1)
    assert torch.equal(embedding()(given, TASKS).shared, given[0])


def test_a_missing_stream_leaves_the_shared_map_and_the_first_takes_its_place_elsewhere() -> None:
    module = embedding()
    first, _, third = streams()
    without = module([first, None, third], TASKS)
    assert torch.equal(without.shared, module.shared(first, third))
    assert torch.equal(without.specific["depth"], module([first, first, third], TASKS).specific["depth"])


def test_a_missing_stream_of_a_group_is_replaced_from_its_group() -> None:
    module = embedding(groups=(1, 2, 1))
    driver, scene, joints = streams()
    assert same(module([driver, scene, None, joints], TASKS), module([driver, scene, scene, joints], TASKS))


def test_a_shorter_list_is_a_list_with_missing_streams() -> None:
    module = embedding()
    given = streams(2)
    assert same(module(given, TASKS), module([*given, None], TASKS))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("masked", [0, 1, 2])
def test_a_masked_row_is_as_if_its_stream_were_missing(dense: bool, masked: int) -> None:
    module = embedding(dense)
    given = streams()
    valid: list[Tensor | None] = [None, None, None]
    valid[masked] = torch.tensor([True, False, True])
    poisoned = list(given)
    poisoned[masked] = torch.where(valid[masked][:, None, None, None], given[masked], torch.nan)
    output = module(poisoned, TASKS, valid)
    full = module(given, TASKS)
    missing = module([None if index == masked else stream for index, stream in enumerate(given)], TASKS)
    for masked_values, full_values, missing_values in zip(
        results(output), results(full), results(missing), strict=True
    ):
        assert torch.allclose(masked_values[[0, 2]], full_values[[0, 2]], atol=1e-5)
        assert torch.allclose(masked_values[1], missing_values[1], atol=1e-5)
        assert not torch.allclose(full_values[1], missing_values[1], atol=1e-3)


def test_masked_rows_get_no_gradient_and_spoil_none() -> None:
    module = embedding()
    given = streams()
    given[1] = torch.full((3, WIDTH, 5, 7), torch.nan).requires_grad_()
    output = module(given, TASKS, [None, torch.zeros(3, dtype=torch.bool)])
    sum(values.square().sum() for values in results(output)).backward()
    assert given[1].grad.abs().sum() == 0
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_a_row_without_any_stream_is_finite() -> None:
    nowhere = torch.tensor([True, False, True])
    for values in results(embedding()(streams(), TASKS, [nowhere] * 3)):
        assert torch.isfinite(values).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dense", [True, False])
def test_rows_are_independent(training: bool, dense: bool) -> None:
    module = embedding(dense).train(training)
    given = streams()
    together = module(given, TASKS)
    alone = module([stream[1:2] for stream in given if stream is not None], TASKS)
    for many, one in zip(results(together), results(alone), strict=True):
        assert torch.allclose(many[1:2], one, atol=1e-5)


@pytest.mark.parametrize("dense", [True, False])
def test_bfloat16_is_near_float32(dense: bool) -> None:
    module = embedding(dense)
    given = streams()
    exact = module(given, TASKS)
    half = module.to(torch.bfloat16)([stream.bfloat16() for stream in given if stream is not None], TASKS)
    for rough, fine in zip(results(half), results(exact), strict=True):
        assert rough.dtype == torch.bfloat16 and torch.isfinite(rough).all()
        assert (rough.float() - fine).abs().mean() < 0.03 * fine.abs().mean() + 0.01


def test_the_shared_branch_stays_between_its_two_maps() -> None:
    branch = TaskSharedBranch(WIDTH)
    first, second = torch.randn(2, 3, WIDTH, 5, 7)
    joined = branch(first, second)
    assert (joined >= torch.minimum(first, second) - 1e-5).all()
    assert (joined <= torch.maximum(first, second) + 1e-5).all()
    both = branch.point(first + second) + branch.neighbourhood(first + second)
    weight = branch.channel(branch.spatial(both)).sigmoid()
    assert torch.allclose(joined, weight * first + (1 - weight) * second, atol=1e-5)
    assert torch.allclose(branch(first, first), first, atol=1e-5)
    assert not torch.allclose(joined, (first + second) / 2, atol=1e-2)


def test_spatial_attention_sees_the_whole_map_and_no_order() -> None:
    attention = SpatialSelfAttention(WIDTH)
    x = torch.randn(1, WIDTH, 5, 7)
    change = x.clone()
    change[..., 0, 0] += 3.0 * torch.randn(WIDTH)
    far = (attention(change) - change)[..., 4, 6] - (attention(x) - x)[..., 4, 6]
    assert far.abs().max() > 1e-3
    assert torch.allclose(attention(x.flip(3)), attention(x).flip(3), atol=1e-5)


def test_spatial_attention_does_what_the_formula_says() -> None:
    attention = SpatialSelfAttention(WIDTH)
    x = torch.randn(2, WIDTH, 3, 4)
    query, key, value = attention.query_key_value(attention.norm(x.flatten(2).transpose(1, 2))).chunk(3, dim=-1)
    found = (query @ key.transpose(1, 2) / WIDTH**0.5).softmax(dim=-1) @ value
    assert torch.allclose(attention(x), x + found.transpose(1, 2).reshape(x.shape), atol=1e-5)


def test_channel_attention_multiplies_each_channel_by_a_weight_that_follows_the_others() -> None:
    attention = ChannelSelfAttention()
    x = torch.rand(2, WIDTH, 5, 7) + 0.5
    weights = attention(x) / x
    assert torch.allclose(weights, weights.mean(dim=(2, 3), keepdim=True).expand_as(weights), atol=1e-5)
    assert (weights > 0).all() and (weights < 1).all()
    change = x.clone()
    change[:, -1] *= 5.0
    assert ((attention(change) / change)[:, 0] - weights[:, 0]).abs().max() > 1e-5
    query, key, value = attention.query_key_value(x.mean(dim=(2, 3))[:, None]).transpose(0, 1)
    expected = ((query[:, :, None] * key[:, None, :]).softmax(dim=2) @ value[..., None])[..., 0].sigmoid()
    assert torch.allclose(weights[..., 0, 0], expected, atol=1e-5)


def test_a_specific_branch_sees_all_streams() -> None:
    branch = TaskSpecificBranch(3, WIDTH)
    x = torch.randn(1, 3 * WIDTH, 5, 7, requires_grad=True)
    branch(x).square().sum().backward()
    assert x.grad.abs().amax(dim=(0, 2, 3)).min() > 0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        DualBranchEmbedding(WIDTH, (1,), ("depth", "depth"), True)
    with pytest.raises(ValueError, match="different names"):
        DualBranchEmbedding(WIDTH, (1,), (), True)
    with pytest.raises(ValueError, match="needs a stream"):
        DualBranchEmbedding(WIDTH, (1, 0), TASKS, True)
    with pytest.raises(ValueError, match="expected 1 to 3 streams"):
        embedding()([None, None], TASKS)
    with pytest.raises(ValueError, match="expected 1 to 3 streams"):
        embedding()(streams(4), TASKS)
    with pytest.raises(KeyError):
        embedding()(streams(), ("edges",))
