# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a recording becomes a bag."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from mtl_perception.data.bags import BagWriter
from mtl_perception.data.recordings.recording import Recording
from mtl_perception.data.sample_messages import sample_messages, static_messages


def write_recording(recording: Recording, bag: Path, storage: str) -> None:
    """Write a recording to a bag; after an error or an interruption nothing is left behind.

    Raises:
        ValueError: the bag exists already, or a file of the recording is not what it should be.
        OSError: a file cannot be read or written.
    """
    with BagWriter(bag, storage) as writer:
        for index in tqdm(range(len(recording)), desc=recording.name, unit="frame", disable=None):
            sample = recording.sample(index)
            messages = sample_messages(sample)
            if index == 0:
                messages = static_messages(recording.rig, messages[0].stamp_ns, sample.truth.dataset) + messages
            for topic, message, stamp_ns in messages:
                writer.write(topic, message, stamp_ns)
