# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Serialised messages of several topics by their stamps, until they are needed or there are too many."""

from __future__ import annotations

from collections import deque


class MessageStore:
    """Messages by topic and stamp, of at most so many bytes in total: the first to come are the first to go.

    Attributes:
        lost: how many messages had to go.
    """

    def __init__(self, max_bytes: int) -> None:
        """Keep at most `max_bytes`."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._messages: dict[str, dict[int, bytes]] = {}
        self._newest_ns: dict[str, int] = {}
        self._arrived: deque[tuple[str, int]] = deque()
        self.lost = 0

    def add(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Keep a message; one of the same topic and stamp is replaced."""
        messages = self._messages.setdefault(topic, {})
        if stamp_ns not in messages:
            self._arrived.append((topic, stamp_ns))
        self._bytes += len(data) - len(messages.get(stamp_ns, b""))
        messages[stamp_ns] = data
        self._newest_ns[topic] = max(stamp_ns, self._newest_ns.get(topic, stamp_ns))
        while self._bytes > self._max_bytes and self._arrived:
            self._remove(*self._arrived.popleft())
            self.lost += 1

    def get(self, topic: str, stamp_ns: int) -> bytes | None:
        """Return the message of exactly that stamp, or None."""
        return self._messages.get(topic, {}).get(stamp_ns)

    def stamps_ns(self, topic: str) -> list[int]:
        """Return the stamps of a topic's messages."""
        return list(self._messages.get(topic, ()))

    def has_reached(self, topic: str, stamp_ns: int) -> bool:
        """Whether a message of that stamp or a later one has come: of earlier stamps there will be no more."""
        return self._newest_ns.get(topic, -1) >= stamp_ns

    def forget_before(self, stamp_ns: int) -> None:
        """Let all messages go that are older."""
        kept: deque[tuple[str, int]] = deque()
        for topic, own_ns in self._arrived:
            if own_ns < stamp_ns:
                self._remove(topic, own_ns)
            else:
                kept.append((topic, own_ns))
        self._arrived = kept

    def clear(self) -> None:
        """Let everything go."""
        self._messages.clear()
        self._newest_ns.clear()
        self._arrived.clear()
        self._bytes = 0

    def _remove(self, topic: str, stamp_ns: int) -> None:
        self._bytes -= len(self._messages[topic].pop(stamp_ns))
