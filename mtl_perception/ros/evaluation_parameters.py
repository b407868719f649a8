# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the evaluation node."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from mtl_perception.core.settings import Hertz, Live, Metres, Seconds, Unit
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.ros.worker import FramePolicy


class EvaluationParameters(BaseModel):
    """The parameters of the evaluation node; those of cameras, odometry and labels are the other nodes', too."""

    cameras: list[str] = Field(["front"], description="Names of the cameras, as perception has them.")
    labels: str = Field("default", description="The classes: a name in config/labels, or a YAML file.")
    odom_topic: str = Field("odom", description="nav_msgs/Odometry with the true poses.")
    frame_policy: FramePolicy = Field(
        "newest",
        description="every: the player waits for evaluation/progress, so nothing may be lost; newest: what comes too "
        "fast is dropped and counted.",
    )
    truth_timeout: Annotated[Seconds, Live] = Field(
        5.0,
        ge=0.1,
        le=600.0,
        description="How long a predicted frame waits for its truth, and for the rest of the prediction.",
    )
    metrics_rate: Annotated[Hertz, Live] = Field(
        1.0, ge=0.0, le=30.0, description="Rate of evaluation/metrics; 0: never."
    )
    max_frames: Annotated[int, Unit("frames")] = Field(
        20000, ge=1, le=10_000_000, description="Frames that are kept for the report; further ones are not scored."
    )
    report_folder: str = Field(
        "", description="Where evaluation/save, and deactivating the node, write the report; empty: nowhere."
    )
    report_name: str = Field("live", description="What the recording is called in the report.")
    score_min_depth: Metres = Field(
        ScoreOptions.min_depth, gt=0.0, le=1000.0, description="Nearer true depth is not scored."
    )
    score_max_depth: Metres = Field(
        ScoreOptions.max_depth, gt=0.0, le=100_000.0, description="Farther true depth is not scored."
    )
    score_median_scaling: bool = Field(
        False, description="Scale each depth image by the ratio of the medians before it is scored."
    )

    def score_options(self) -> ScoreOptions:
        """Return what the scores are to be made with."""
        return ScoreOptions(self.score_min_depth, self.score_max_depth, self.score_median_scaling)
