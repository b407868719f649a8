# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The quality of service of every topic, and the standard parameters by which users change it.

Each subscription and publisher declares `qos_overrides.<topic>.<publisher|subscription>.<policy>` parameters, e.g.
`qos_overrides./front/image.subscription.reliability: reliable`.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions


def sensor_input(depth: int = 10, *, lossless: bool = False) -> QoSProfile:
    """Return what images and poses are received with: best effort, which any publisher can serve.

    `lossless` asks for reliable delivery instead, for a bag of which no frame may be lost.
    """
    reliability = ReliabilityPolicy.RELIABLE if lossless else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)


def output(depth: int = 5) -> QoSProfile:
    """Return what results are published with: reliable, which any subscription can take."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE)


def progress() -> QoSProfile:
    """Return what `<node>/progress` is published and received with: a player waits for every one of them."""
    return output(depth=100)


def latched() -> QoSProfile:
    """Return what a message is published with that those who come late shall get, too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Return the option that lets parameters override history, depth, reliability and durability of a topic."""
    return QoSOverridingOptions(
        policy_kinds=(
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )
