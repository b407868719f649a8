# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The dual-branch embedding of UV-M3TL: what all tasks share and what each keeps to itself, from several streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.config import Branches


@dataclass(frozen=True)
class DualBranchOutput:
    """Maps (N, C, h, w) of the dense form, vectors (N, C) of the scene-level form.

    Attributes:
        shared: what the tasks have in common; zeros without the shared branch.
        specific: by task, its own; with `shared` the input of the decoupling loss. Empty without those branches.
        fused: by task, both together; the input of its decoder.
    """

    shared: Tensor
    specific: Mapping[str, Tensor]
    fused: Mapping[str, Tensor]


class DualBranchEmbedding(nn.Module):
    """Dual-branch spatial channel multimodal embedding, DB-SCME (UV-M3TL, arXiv 2602.01594).

    The task-shared branch joins the groups of streams one after the other (driver and scene, then joints); a
    task-specific branch a task sees all streams at once. A task sums a layer of its own branch's result and a layer of
    the shared one with learned weights. The structure follows the authors' figure. Our reading: one task-shared branch
    with one set of weights is applied again and again, a 1x1 convolution makes one map of several (a group, or the
    concatenation in the specific branches, which keeps attention cheap), and the weights are s and 1 - s with
    s = sigmoid(0.5) at first, as in the authors' MMTL-UniAD.

    Two forms: scene-level (`dense` False: vectors, after global average pooling, for classification) and dense (maps).
    Branches of tasks that are not asked for are not computed. Rows are independent of each other, in training too.
    """

    def __init__(
        self, width: int, streams: Sequence[int], tasks: Sequence[str], dense: bool, branches: Branches = "both"
    ) -> None:
        """Build it.

        Args:
            width: C of every stream and result.
            streams: number of streams in each group, in the order in which the shared branch joins the groups.
            tasks: names.
            dense: keep the maps.
            branches: those that there are. With one alone a task takes a layer of that (the source's ablation).

        Raises:
            ValueError: no task, a task twice, or a group without a stream.
        """
        super().__init__()
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks must be one or more different names, not {tuple(tasks)}")
        if not streams or min(streams) < 1:
            raise ValueError(f"every group needs a stream, but the groups' sizes are {tuple(streams)}")
        self.groups = tuple(streams)
        self.dense = dense
        self.join_group = nn.ModuleList(
            nn.Conv2d(size * width, width, 1) if size > 1 else nn.Identity() for size in self.groups
        )
        self.branches = branches
        if branches != "specific":
            self.shared = TaskSharedBranch(width)
        if branches != "shared":
            self.specific = nn.ModuleDict({task: TaskSpecificBranch(sum(self.groups), width) for task in tasks})
        layer = _BranchFusion if branches == "both" else _single_layer
        self.fusion = nn.ModuleDict({task: layer(width, dense) for task in tasks})

    def forward(
        self, streams: Sequence[Tensor | None], tasks: Sequence[str], valid: Sequence[Tensor | None] = ()
    ) -> DualBranchOutput:
        """Embed for some of the tasks.

        Args:
            streams: maps (N, C, h, w) of one size, group after group. None, or the list's end, stands for a missing
                stream. In the shared branch a missing group leaves the map as it is (F2 = F1); in the specific
                branches the first stream of its group that is present takes a missing one's place, or else the
                first of all.
            tasks: whose branches to compute.
            valid: for each stream, which rows (N,) bool have it; None, or the list's end, where all do. What other
                rows hold (even NaN) has no influence. A row without any stream is as one whose streams are zero.

        Raises:
            ValueError: no stream is present, or there are too many.
            KeyError: an unknown task.
        """
        maps, known = self._complete(streams, valid)
        shared = self._shared(maps, known) if self.branches != "specific" else torch.zeros_like(maps[0])
        specific: dict[str, Tensor] = {}
        if self.branches != "shared":
            everything = torch.cat(maps, dim=1)
            specific = {task: self.specific[task](everything) for task in tasks}
        if not self.dense:
            shared = shared.mean(dim=(2, 3))
            specific = {task: values.mean(dim=(2, 3)) for task, values in specific.items()}
        return DualBranchOutput(shared, specific, self._fused(shared, specific, tasks))

    def _fused(self, shared: Tensor, specific: Mapping[str, Tensor], tasks: Sequence[str]) -> dict[str, Tensor]:
        if self.branches == "both":
            return {task: self.fusion[task](specific[task], shared) for task in tasks}
        return {task: self.fusion[task](specific.get(task, shared)) for task in tasks}

    def _shared(self, maps: list[Tensor], known: list[Tensor | None]) -> Tensor:
        """Join the groups one after the other."""
        shared, has_shared = self._group(0, maps, known)
        for group in range(1, len(self.groups)):
            joining, has_joining = self._group(group, maps, known)
            if has_joining is None:
                continue
            if has_shared is None:
                shared, has_shared = joining, has_joining
                continue
            first = torch.where(_rows(has_shared), shared, joining)
            second = torch.where(_rows(has_joining), joining, shared)
            shared, has_shared = self.shared(first, second), has_shared | has_joining
        return shared

    def _complete(
        self, streams: Sequence[Tensor | None], valid: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return all streams, missing ones replaced, and which rows had each; None for none of them."""
        total = sum(self.groups)
        present = [stream for stream in streams if stream is not None]
        if not present or len(streams) > total or len(valid) > total:
            raise ValueError(f"expected 1 to {total} streams, got {len(present)} and {len(valid)} masks")
        everywhere = torch.ones(len(present[0]), dtype=torch.bool, device=present[0].device)
        padded: list[Tensor | None] = [*streams, *[None] * (total - len(streams))]
        masks = [everywhere if mask is None else mask for mask in [*valid, *[None] * (total - len(valid))]]
        known = [None if stream is None else mask for stream, mask in zip(padded, masks, strict=True)]
        first = _first_present(padded, masks, torch.zeros_like(present[0]))
        maps = []
        for chosen in self._slices():
            first_of_group = _first_present(padded[chosen], masks[chosen], first)
            for stream, mask in zip(padded[chosen], masks[chosen], strict=True):
                maps.append(_first_present([stream], [mask], first_of_group))
        return maps, known

    def _slices(self) -> list[slice]:
        """Return where each group is in the list of streams."""
        ends = list(accumulate(self.groups))
        return [slice(end - size, end) for end, size in zip(ends, self.groups, strict=True)]

    def _group(self, group: int, maps: list[Tensor], known: list[Tensor | None]) -> tuple[Tensor, Tensor | None]:
        """Return one map of the group's streams, and which rows have one of them; None for none of them."""
        chosen = self._slices()[group]
        masks = [mask for mask in known[chosen] if mask is not None]
        joined = self.join_group[group](torch.cat(maps[chosen], dim=1))
        return joined, torch.stack(masks).any(dim=0) if masks else None


class TaskSpecificBranch(nn.Module):
    """Concatenated streams (N, streams * C, h, w) -> what one task needs of them (N, C, h, w).

    Spatial, then channel self-attention (UV-M3TL, DB-SCME); the 1x1 convolution to C before it is ours.
    """

    def __init__(self, streams: int, width: int) -> None:
        """Build it for a number of streams of `width` channels each."""
        super().__init__()
        self.choose = nn.Conv2d(streams * width, width, 1)
        self.spatial = SpatialSelfAttention(width)
        self.channel = ChannelSelfAttention()

    def forward(self, streams: Tensor) -> Tensor:
        """Embed."""
        return self.channel(self.spatial(self.choose(streams)))


class TaskSharedBranch(nn.Module):
    """Two maps (N, C, h, w) -> one: w F1 + (1 - w) F2 (UV-M3TL, DB-SCME).

    w = sigmoid(channel attention(spatial attention(conv1x1(F1 + F2) + conv3x3(F1 + F2)))), one weight a value.
    """

    def __init__(self, width: int) -> None:
        """Build it for maps of `width` channels."""
        super().__init__()
        self.point = nn.Conv2d(width, width, 1)
        self.neighbourhood = nn.Conv2d(width, width, 3, padding=1)
        self.spatial = SpatialSelfAttention(width)
        self.channel = ChannelSelfAttention()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Join."""
        both = first + second
        weight = self.channel(self.spatial(self.point(both) + self.neighbourhood(both))).sigmoid()
        return torch.lerp(second, first, weight)


class SpatialSelfAttention(nn.Module):
    """Every position of a map (N, C, h, w) looks at all others; what it finds is added to it (UV-M3TL, DB-SCME).

    One head without a position code. The layer norm before it is ours: it keeps the softmax from saturating where
    features are large.
    """

    def __init__(self, width: int) -> None:
        """Build it for `width` channels."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query, key, value = self.query_key_value(tokens)[:, None].chunk(3, dim=-1)
        found = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        return x + found.transpose(1, 2).reshape(x.shape)


class ChannelSelfAttention(nn.Module):
    """Weigh the channels of a map (N, C, h, w) by what they hold together (UV-M3TL, DB-SCME).

    The channels' means are a sequence (N, 1, C); three 1-D convolutions of it give one query, key and value a channel;
    the sigmoid of what channels find in each other multiplies the map. It has no weight that depends on C.
    """

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.query_key_value = nn.Conv1d(1, 3, 3, padding=1)  # three convolutions in one

    def forward(self, x: Tensor) -> Tensor:
        """Weigh."""
        means = x.mean(dim=(2, 3))
        query, key, value = self.query_key_value(means[:, None])[..., None].chunk(3, dim=1)
        found = functional.scaled_dot_product_attention(query, key, value)[:, 0, :, 0]
        return x * found.sigmoid()[:, :, None, None]


class _BranchFusion(nn.Module):
    """What a task takes from its own branch and from the shared one."""

    def __init__(self, width: int, dense: bool) -> None:
        super().__init__()
        self.own = _single_layer(width, dense)
        self.common = _single_layer(width, dense)
        self.balance = nn.Parameter(torch.tensor(0.5))

    def forward(self, specific: Tensor, shared: Tensor) -> Tensor:
        weight = self.balance.sigmoid()
        return weight * self.own(specific) + (1 - weight) * self.common(shared)


def _single_layer(width: int, dense: bool) -> nn.Module:
    return nn.Conv2d(width, width, 1) if dense else nn.Linear(width, width)


def _first_present(streams: Sequence[Tensor | None], masks: Sequence[Tensor], otherwise: Tensor) -> Tensor:
    """Return, row by row, the first stream that has it."""
    for stream, mask in reversed(list(zip(streams, masks, strict=True))):
        if stream is not None:
            otherwise = torch.where(_rows(mask), stream, otherwise)
    return otherwise


def _rows(mask: Tensor) -> Tensor:
    """Return (N,) as (N, 1, 1, 1)."""
    return mask[:, None, None, None]
