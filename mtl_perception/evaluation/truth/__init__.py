# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is true of a bag's frames: from its truth topics, LiDAR, depth cameras, and topics named by hand."""

from mtl_perception.evaluation.truth.bag import EvaluationBag, TruthSample
from mtl_perception.evaluation.truth.mapping import TopicMapping, read_mappings

__all__ = ["EvaluationBag", "TopicMapping", "TruthSample", "read_mappings"]
