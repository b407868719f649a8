# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `up` was asked to run, and the parameter files that say so to the nodes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.resources import config_folder
from mtl_perception.scenes import SCENES

_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # Fast DDS 3 and 2
_ROOMY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class UpSettings:
    """What to run.

    Attributes:
        bag: the recording to play; None: live topics, until SIGINT.
        cameras: names, the reference first; empty: as the configuration says.
        cabin_cameras: names of the cameras that look at the driver; empty: as the configuration says.
        cabin_joints: whether the recording has the driver's joints.
        checkpoint: of the network: a file, a name or a hub id; "" as the configuration says.
        config: a parameter file laid over everything else.
        scene: which of SCENES the map is set for; "" as the configuration says.
        realtime: play at the recorded pace and use the newest frame, instead of every frame.
        rate: bag seconds per second, when realtime.
        processes: one process a node instead of one for all.
        namespace: of all nodes, with leading slash; "" for none.
        out: folder for the results.
        evaluate: score the predictions as they come, and write a report below `out`.
        log_level: of the nodes.
    """

    bag: Path | None = None
    cameras: tuple[str, ...] = ()
    cabin_cameras: tuple[str, ...] = ()
    cabin_joints: bool = False
    checkpoint: str = ""
    config: Path | None = None
    scene: str = ""
    realtime: bool = False
    rate: float = 1.0
    processes: bool = False
    namespace: str = ""
    out: Path | None = None
    evaluate: bool = False
    log_level: str = "info"

    @property
    def managed(self) -> tuple[str, ...]:
        """The names of the managed nodes, in the order in which they are activated."""
        return ("perception", "mapping", "evaluation") if self.evaluate else ("perception", "mapping")

    @property
    def every_frame(self) -> bool:
        """Whether the player waits for each frame, so that none is lost."""
        return self.bag is not None and not self.realtime

    def full_name(self, node: str) -> str:
        """Return a node's or a topic's name with the namespace."""
        return f"{self.namespace}/{node}"


def configured_cameras(config: Path) -> tuple[str, ...]:
    """Return the cameras that a parameter file names, or () when it names none.

    Raises:
        ValueError: the file is not a ROS 2 parameter file.
        OSError: it cannot be read.
    """
    content = read_yaml(config) or {}
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ValueError(f"{config} is not a parameter file: expected '<node>: ros__parameters: ...'")
    for entry in content.values():
        parameters = entry.get("ros__parameters") or {}
        if not isinstance(parameters, dict):
            raise ValueError(f"{config}: ros__parameters is {parameters!r:.80}, expected names with values")
        cameras = parameters.get("cameras") or []
        if not isinstance(cameras, list) or not all(isinstance(name, str) for name in cameras):
            raise ValueError(f"{config}: cameras is {cameras!r:.80}, expected a list of names")
        if cameras:
            return tuple(cameras)
    return ()


def write_parameters(settings: UpSettings, path: Path) -> Path:
    """Write the parameters that follow from the settings, in the one section of perception.yaml; return the path."""
    values: dict[str, Any] = {
        "use_sim_time": settings.bag is not None,
        "frame_policy": "every" if settings.every_frame else "newest",
        "tasks": ["all"],
        **SCENES.get(settings.scene, {}),
    }
    if settings.cameras:
        values["cameras"] = list(settings.cameras)
    if settings.checkpoint:
        file = Path(settings.checkpoint)
        values["checkpoint"] = str(file.resolve()) if file.is_file() else settings.checkpoint
    if settings.cabin_cameras:
        values["cabin_cameras"] = list(settings.cabin_cameras)
    if settings.cabin_joints:
        values["cabin_joints_topic"] = "cabin/joints"
    if settings.out is not None:
        values["map_folder"] = str(settings.out.resolve())
    if settings.evaluate:
        values["node_names"] = list(settings.managed)
        if settings.out is not None:
            values["report_folder"] = str((settings.out / "evaluation").resolve())
    if settings.bag is not None:
        values["bag"] = str(settings.bag.resolve())
        values["mode"] = "realtime" if settings.realtime else "every"
        values["rate"] = float(settings.rate)
        values["wait_for"] = [f"{name}/progress" for name in settings.managed]
        values["report_name"] = settings.bag.resolve().stem
        values["listeners"] = [settings.full_name("monitor")]  # which is to count every message
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}, sort_keys=False))
    return path


def ros_arguments(settings: UpSettings, parameters: Path) -> list[str]:
    """Return the `--ros-args` of every node: shared defaults, what the settings say, what the user's file says."""
    files: Sequence[Path | None] = (config_folder() / "perception.yaml", parameters, settings.config)
    arguments = ["--ros-args"]
    for file in files:
        if file is not None:
            arguments += ["--params-file", str(file)]
    if settings.namespace:
        # TF goes below the namespace, too, as the launch file has it.
        for rule in (f"__ns:={settings.namespace}", "/tf:=tf", "/tf_static:=tf_static"):
            arguments += ["--remap", rule]
    return [*arguments, "--log-level", settings.log_level]


def give_images_room() -> None:
    """Let Fast DDS use the profile with large shared memory, unless the user chose one or the machine has no room.

    Its default segment is smaller than one VGA image. For this process, before it makes a node, and its children.
    """
    if any(os.environ.get(name) for name in _PROFILE_VARIABLES):
        return
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return  # no shared memory here: the default transport it is
    if free >= _ROOMY_BYTES:
        for name in _PROFILE_VARIABLES:
            os.environ[name] = str(config_folder() / "fastdds.xml")
