# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classes of the driver, the vehicle and the traffic, from one vector a task."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mtl_perception.core.scene_classes import SCENE_CLASSES


class SceneHeads(nn.Module):
    """By task, the fused vector (B, C) of the dual-branch embedding -> logits (B, K) (UV-M3TL, arXiv 2602.01594)."""

    def __init__(self, width: int, classes: Mapping[str, int] | None = None) -> None:
        """Build one linear layer a task.

        Args:
            width: C.
            classes: number of classes by task; AIDE's four tasks where it is not given.
        """
        super().__init__()
        sizes = {task: len(names) for task, names in SCENE_CLASSES.items()} if classes is None else classes
        self.logits = nn.ModuleDict({task: nn.Linear(width, size) for task, size in sizes.items()})

    def forward(self, fused: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of the tasks that are in `fused`.

        Raises:
            KeyError: one of them has no head.
        """
        return {task: self.logits[task](vector) for task, vector in fused.items()}
