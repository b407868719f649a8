# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic, instance and panoptic segmentation by queries that a prompt conditions (OneFormer) on the shared maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtl_perception.network.panoptic.query_loss import QueryLoss
from mtl_perception.network.panoptic.targets import QueryTargets

TASKS = ("panoptic", "semantic", "instance")

_GROUPS = 32  # of the pixel decoder's group norm


@dataclass(frozen=True)
class QueryOutput:
    """What Q queries say about N images.

    Attributes:
        class_logits: (N, Q, K + 1); the last class is "no segment".
        mask_logits: (N, Q, h, w) at the finest level's size.
    """

    class_logits: Tensor
    mask_logits: Tensor


class QuerySegmentation(nn.Module):
    """OneFormer's two decoders on four given maps (the unified encoder, section III-A; Jain et al. 2023).

    The pixel decoder runs once a call; the transformer decoder is conditioned on the task. "panoptic" answers all three
    questions (see `post_processing`), which is our reading; the other prompts are trained alike and can be asked for.
    The prompt is a one-hot code of the task; the text of a segment is its class's (of the others: the task's) learned
    vector. There is no tokenizer and no text encoder: the sentences of the paper hold nothing but that one word, and
    whatever an encoder makes of one word out of a short list, a table can hold.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int],
        classes: int,
        *,
        queries: int = 100,
        hidden: int = 128,
        heads: int = 8,
        encoder_layers: int = 2,
        decoder_layers: int = 3,
        points: int = 3136,
    ) -> None:
        """Build the decoders with OneFormer's initialisation.

        Args:
            widths: channels of the four maps, finest first.
            classes: K, without "no segment".
            queries: Q, the task's own token included.
            hidden: channels of both decoders, a multiple of 32 and of `heads`.
            heads: of all attention.
            encoder_layers: of deformable attention over the three coarser maps.
            decoder_layers: of masked attention.
            points: at which the mask losses compare; OneFormer's 12544 are for images with sides of 512 and more.

        Raises:
            ValueError: if `widths` are not four, `hidden` does not divide, or there is no decoder layer.
        """
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths: four maps are needed, got {len(widths)}")
        if hidden % _GROUPS or hidden % heads:
            raise ValueError(f"hidden: must be a multiple of {_GROUPS} and of heads ({heads}), got {hidden}")
        if decoder_layers < 1:
            raise ValueError(f"decoder_layers: at least 1, got {decoder_layers}")
        from transformers import OneFormerConfig  # takes seconds: only who builds the module pays

        from mtl_perception.network.panoptic.one_former import OneFormerDecoders

        self.classes, self.queries = classes, queries
        context = queries // 8  # learned texts beside the segments' own; 16 of 150 in OneFormer
        self.segment_texts = queries - context
        config = OneFormerConfig(
            num_queries=queries,
            conv_dim=hidden,
            mask_dim=hidden,
            hidden_dim=hidden,
            encoder_feedforward_dim=4 * hidden,
            dim_feedforward=4 * hidden,
            num_attention_heads=heads,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers + 1,  # OneFormer counts the prediction before the first layer
            dropout=0.0,  # OneFormer's switch is not train() and eval()
            task_seq_len=len(TASKS),
        )
        config.num_labels = classes
        self.decoders = OneFormerDecoders(config, widths)
        self.texts = nn.Embedding(classes + len(TASKS) + context, hidden)
        self.query_loss = QueryLoss(points)

    def forward(self, levels: Sequence[Tensor], task: str = "panoptic") -> QueryOutput:
        """Segment.

        Args:
            levels: four maps (N, widths[l], h_l, w_l), finest first.
            task: "panoptic", "semantic" or "instance".

        Raises:
            ValueError: if the task is none of these.
        """
        decoded = self.decoders(list(levels), _prompt(levels[0], task))
        return QueryOutput(decoded.prediction_class, decoded.prediction_masks)

    def loss(self, levels: Sequence[Tensor], targets: QueryTargets, task: str = "panoptic") -> dict[str, Tensor]:
        """Segment and compare with the truth; the losses carry the paper's weights, so their sum is what to minimise.

        "classification", "mask" and "dice" are summed over the decoder's layers. "contrast" sets the queries of an
        image against the texts of all images, so it is 0 for a single image. Compared in float32, at random points.

        Args:
            levels, task: as for `forward`.
            targets: of the same task, see `query_targets`.

        Raises:
            ValueError: if an image has more segments than there are texts (seven eighths of the queries).
        """
        if max(len(labels) for labels in targets.class_labels) > self.segment_texts:
            raise ValueError(f"targets: at most {self.segment_texts} segments an image fit the queries")
        decoded = self.decoders(list(levels), _prompt(levels[0], task))
        earlier = decoded.auxiliary_predictions
        layers = [(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in earlier]
        layers.append((decoded.prediction_class, decoded.prediction_masks))
        texts = self.texts(self._text_ids(targets.class_labels, task, levels[0].device))
        return {
            **self.query_loss(layers, targets),
            "contrast": self.query_loss.contrast(decoded.contrastive_logits, texts),
        }

    def _text_ids(self, class_labels: Sequence[Tensor], task: str, device: torch.device) -> Tensor:
        """Return ids (N, Q): the segments' classes, the task's to fill up, and the learned texts of every image."""
        ids = torch.arange(self.queries, device=device) + (self.texts.num_embeddings - self.queries)
        ids[: self.segment_texts] = self.classes + TASKS.index(task)
        ids = ids.repeat(len(class_labels), 1)
        for row, labels in enumerate(class_labels):
            ids[row, : len(labels)] = labels
        return ids


def _prompt(like: Tensor, task: str) -> Tensor:
    """Return the task's code (N, 3) for each image, in the maps' type."""
    if task not in TASKS:
        raise ValueError(f"task: one of {', '.join(TASKS)}, got {task!r}")
    prompt = torch.zeros(len(like), len(TASKS), dtype=like.dtype, device=like.device)
    prompt[:, TASKS.index(task)] = 1.0
    return prompt
