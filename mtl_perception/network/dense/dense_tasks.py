# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The dense per-camera tasks together: what each needs, and where they exchange."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.config import DENSE_TASKS, NetworkConfig
from mtl_perception.network.dense.cross_task_attention import WindowCrossTaskAttention
from mtl_perception.network.dense.detail import DepthHead, DetailDecoder
from mtl_perception.network.dense.gated_fusion import GlobalGatedFusion, UniqueStream
from mtl_perception.network.dense.heads import EdgeHead, NormalHead, RefinedHead, SemanticHead, UpsamplingHead
from mtl_perception.network.dense.multi_scale_fusion import MultiScaleFusion
from mtl_perception.network.driving.dual_branch import DualBranchEmbedding

GATED_TASKS = ("depth", "semantic")
"""M2H's published code fuses with the gate for these two only; its figure shows every task (we follow the code)."""
EMBEDDED_LEVEL = 2
"""The level (stride 16) on which the dual branch works: attention over all its pixels stays cheap there."""

EMBEDDED_STREAMS = (1, 1, 1)
"""The level itself, what other views say, the previous frame's level: the shared branch joins them in this order."""


class DenseTasks(nn.Module):
    """Levels of all cameras -> logits of the dense tasks.

    In order, as far as they are switched on: dual-branch embedding (UV-M3TL), multi-scale fusion per task, windowed
    cross-task attention, global gated fusion (M2H), heads. With cross-task attention every task's fused features feed
    every other's, so they are all computed whatever is asked for; gates and heads are those of the asked tasks only.
    """

    def __init__(self, config: NetworkConfig, tasks: Collection[str], stem_width: int, last_width: int) -> None:
        """Build what `tasks` need; the widths are those of the encoder's map at stride 2 and of its last one."""
        super().__init__()
        width = config.neck.width
        self.tasks: tuple[str, ...] = tuple(task for task in DENSE_TASKS if task in tasks)
        self.decoder = config.dense.decoder
        self.lift_level = 0 if config.volume is None else config.volume.lift_level
        if config.dense_dual_branch:
            self.dual_branch = DualBranchEmbedding(
                width, EMBEDDED_STREAMS, self.tasks, dense=True, branches=config.dual_branch_parts
            )
        if config.dense.multi_scale_fusion:
            self.fusion = nn.ModuleDict({task: MultiScaleFusion(width) for task in self.tasks})
        if config.cross_task is not None:
            attention = config.cross_task
            self.attention = WindowCrossTaskAttention(
                width,
                len(self.tasks),
                layers=attention.layers,
                heads=attention.heads,
                window=attention.window,
                reduction=attention.reduction,
            )
            gated = [task for task in self.tasks if task in GATED_TASKS] if attention.gate else []
            self.gate = nn.ModuleDict({task: GlobalGatedFusion(width) for task in gated})
            if attention.unique_stream:
                self.unique = nn.ModuleDict({task: UniqueStream(last_width, width) for task in gated})
        self.heads = nn.ModuleDict({task: self._head(task, config, stem_width) for task in self.tasks})

    @property
    def depth(self) -> DepthHead:
        """The depth head, which knows the bins."""
        head = self.heads["depth"]
        assert isinstance(head, DepthHead)
        return head

    def forward(
        self,
        levels: Sequence[Tensor],
        stem: Tensor,
        last: Tensor,
        tasks: Collection[str],
        streams: Sequence[Tensor | None] = (),
        streams_valid: Sequence[Tensor | None] = (),
    ) -> dict[str, Tensor]:
        """Decode.

        Args:
            levels: four maps (N, C, h, w), finest first.
            stem: (N, C', H/2, W/2).
            last: the encoder's last map (N, C", h, w).
            tasks: those that are wanted.
            streams: what the dual branch sees beside the level it works on: other views' and the previous frame's
                (N, C, h, w), None where there is none.
            streams_valid: per such stream, which rows (N,) have it; None for all.

        Returns:
            Per wanted task, its head's output: logits, or unit normals.
        """
        wanted = [task for task in self.tasks if task in tasks]
        if not wanted:
            return {}
        fed: Sequence[str] = self.tasks if hasattr(self, "attention") else wanted
        inputs = self._embedded(levels, fed, streams, streams_valid)
        if hasattr(self, "fusion"):
            maps = {task: self.fusion[task](inputs[task]) for task in fed}
        else:
            maps = {task: inputs[task][self.lift_level if self.decoder == "coarse" else 0] for task in fed}
        if hasattr(self, "attention"):
            maps = self._exchanged(maps, inputs, last, wanted)
        return {task: self._decode(task, maps[task], stem) for task in wanted}

    def _embedded(
        self,
        levels: Sequence[Tensor],
        tasks: Sequence[str],
        streams: Sequence[Tensor | None],
        streams_valid: Sequence[Tensor | None],
    ) -> dict[str, list[Tensor]]:
        if not hasattr(self, "dual_branch"):
            return {task: list(levels) for task in tasks}
        fused = self.dual_branch([levels[EMBEDDED_LEVEL], *streams], tasks, [None, *streams_valid]).fused
        result = {}
        for task in tasks:
            own = list(levels)
            own[EMBEDDED_LEVEL] = own[EMBEDDED_LEVEL] + fused[task]
            if not hasattr(self, "fusion"):  # nothing else brings it to the finest level
                own[0] = own[0] + functional.interpolate(fused[task], own[0].shape[-2:], mode="bilinear")
            result[task] = own
        return result

    def _exchanged(
        self, maps: Mapping[str, Tensor], inputs: Mapping[str, Sequence[Tensor]], last: Tensor, wanted: Sequence[str]
    ) -> dict[str, Tensor]:
        attended = dict(zip(self.tasks, self.attention([maps[task] for task in self.tasks]), strict=True))
        for task in wanted:
            if task in self.gate:
                unique = self.unique[task](last) if hasattr(self, "unique") else inputs[task][-1]
                attended[task] = self.gate[task](maps[task], attended[task], unique)
        return attended

    def _decode(self, task: str, features: Tensor, stem: Tensor) -> Tensor:
        head = self.heads[task]
        return head(features, stem) if self.decoder == "detail" else head(features)

    def _head(self, task: str, config: NetworkConfig, stem_width: int) -> nn.Module:
        width = config.neck.width
        outputs = {"depth": config.depth_bins.count + 1, "semantic": config.num_labels, "normals": 3, "edges": 1}[task]
        decoder: nn.Module
        if self.decoder == "detail":
            decoder = DetailDecoder(width, stem_width, config.dense.width, outputs)
        elif self.decoder == "coarse":
            decoder = nn.Sequential(conv_norm_relu(width, width), nn.Conv2d(width, outputs, 1))
        elif task in GATED_TASKS:
            decoder = RefinedHead(width, outputs, config.dense.head_widths)
        else:
            decoder = UpsamplingHead(width, outputs, config.dense.head_widths)
        if task == "depth":
            return DepthHead(decoder, config.depth_bins)
        return {"semantic": SemanticHead, "normals": NormalHead, "edges": EdgeHead}[task](decoder)
