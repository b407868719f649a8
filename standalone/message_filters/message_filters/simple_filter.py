# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The base of all filters, and the one that begins a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node


class SimpleFilter:
    """Something that gives out messages to the callbacks registered with it."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., object], *args: Any) -> int:
        """Have `cb(*messages, *args)` called for each output; returns the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Give an output to every callback, in the order in which they registered."""
        for callback, args in self.callbacks.values():
            callback(*msg, *args)


class Subscriber(SimpleFilter):
    """Passes on the messages of a subscription; takes create_subscription's arguments except the callback.

    Attributes that it lacks are those of the subscription.
    """

    def __init__(
        self, node: Node, msg_type: type, topic: str, /, *, qos_profile: Any = 10, **subscription_arguments: Any
    ) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(
            msg_type, topic, self.callback, qos_profile=qos_profile, **subscription_arguments
        )

    def callback(self, msg: Any) -> None:
        """Take a message from the subscription."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Return the topic's name as it was given."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        if key == "sub":  # not made yet: asking it would ask here again
            raise AttributeError(key)
        return getattr(self.sub, key)
