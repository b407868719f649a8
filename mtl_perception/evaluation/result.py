# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the evaluation of one bag gives, and its folder on disk."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.statistics import TaskStatistics

_FACTS = "result.json"
_ARRAYS = "statistics.npz"
_RUNTIME = "runtime.json"
_PICTURES = "pictures"
_MAP = "map.ply"


@dataclass(frozen=True)
class Picture:
    """One picture of the report.

    Attributes:
        task: what it shows.
        kind: `best`, `worst` (frames by the task's key metric) or `map`.
        camera: whose image it is; "" for pictures of the whole rig.
        stamp_ns: of the frame.
        value: the key metric of that frame.
        png: the file's bytes: what was seen, predicted and true, side by side.
    """

    task: str
    kind: str
    camera: str
    stamp_ns: int
    value: float
    png: bytes = field(repr=False)

    @property
    def file_name(self) -> str:
        """A name that no other picture of the bag has."""
        camera = f"_{self.camera.replace('/', '_')}" if self.camera else ""
        return f"{self.task}_{self.kind}{camera}_{self.stamp_ns}.png"


@dataclass(frozen=True, eq=False)
class BagResult:
    """What the evaluation of one bag gives. Can be pickled.

    Attributes:
        name: of the bag; no other bag of a run has it.
        stamps_ns: (F,) of the frames that were used.
        dropped: how many frames were not used, by reason.
        statistics: per task that could be scored.
        left_out: per other task why it could not be.
        truth: per scored task where its truth came from.
        network: preset, checkpoint and tasks of the network.
        runtime: what differs from run to run: seconds, frames per second, memory, energy.
        pictures: for the report.
        map_ply: the map's labelled mesh as the content of a PLY file; empty where there is no map.
    """

    name: str
    stamps_ns: NDArray[np.int64]
    dropped: Mapping[str, int]
    statistics: Mapping[str, TaskStatistics]
    left_out: Mapping[str, str]
    truth: Mapping[str, str]
    network: Mapping[str, Any]
    runtime: Mapping[str, Any]
    pictures: tuple[Picture, ...] = ()
    map_ply: bytes = field(default=b"", repr=False)

    def save(self, folder: Path) -> Path:
        """Write all of it to a folder, which replaces one that is there; return the folder.

        Raises:
            OSError: the files cannot be written.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            facts = {
                "name": self.name,
                "dropped": dict(self.dropped),
                "left_out": dict(self.left_out),
                "truth": dict(self.truth),
                "network": dict(self.network),
                "tasks": list(self.statistics),
                "pictures": [{**asdict(picture), "png": picture.file_name} for picture in self.pictures],
            }
            (temporary / _FACTS).write_text(json.dumps(facts, indent=2) + "\n")
            (temporary / _RUNTIME).write_text(json.dumps(dict(self.runtime), indent=2) + "\n")
            np.savez_compressed(temporary / _ARRAYS, **_arrays(self))
            (temporary / _PICTURES).mkdir()
            for picture in self.pictures:
                (temporary / _PICTURES / picture.file_name).write_bytes(picture.png)
            if self.map_ply:
                (temporary / _MAP).write_bytes(self.map_ply)
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: Path) -> BagResult:
        """Read what `save` has written.

        Raises:
            ValueError: the folder is not such a result, or a file of it is damaged.
            OSError: a file is missing or cannot be read.
        """
        try:
            facts = json.loads((folder / _FACTS).read_text())
            runtime = json.loads((folder / _RUNTIME).read_text())
            with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in arrays.files}
            pictures = tuple(
                Picture(**{**entry, "png": (folder / _PICTURES / Path(entry["png"]).name).read_bytes()})
                for entry in facts["pictures"]
            )
            statistics = {task: _task(columns, task) for task in facts["tasks"]}
            return cls(
                name=facts["name"],
                stamps_ns=columns["stamps_ns"],
                dropped=facts["dropped"],
                statistics=statistics,
                left_out=facts["left_out"],
                truth=facts["truth"],
                network=facts["network"],
                runtime=runtime,
                pictures=pictures,
                map_ply=(folder / _MAP).read_bytes() if (folder / _MAP).exists() else b"",
            )
        except _DAMAGES as error:
            raise ValueError(f"{folder} is not the result of an evaluation: {error!r}") from error


_DAMAGES = (ValueError, LookupError, TypeError, AttributeError, EOFError, RecursionError, BadZipFile, zlib.error)


def _arrays(result: BagResult) -> dict[str, Any]:
    arrays: dict[str, Any] = {"stamps_ns": result.stamps_ns}
    for task, statistics in result.statistics.items():
        arrays[f"{task}/frames"] = statistics.frames
        arrays[f"{task}/ranked_row"] = statistics.ranked_row
        arrays |= {f"{task}/sums/{name}": column for name, column in statistics.sums.items()}
        arrays |= {f"{task}/ranked/{name}": column for name, column in statistics.ranked.items()}
    return arrays


def _task(columns: Mapping[str, NDArray], task: str) -> TaskStatistics:
    def below(kind: str) -> dict[str, NDArray]:
        start = f"{task}/{kind}/"
        return {name.removeprefix(start): column for name, column in columns.items() if name.startswith(start)}

    return TaskStatistics(columns[f"{task}/frames"], below("sums"), below("ranked"), columns[f"{task}/ranked_row"])
