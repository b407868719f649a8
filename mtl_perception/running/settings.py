# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `up` was asked to run, and the parameter files that say so to the nodes."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.core.outside_files import read_yaml
from mtl_perception.resources import config_folder
from mtl_perception.scenes import SCENES

_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # Fast DDS 3 and 2
_REACH_VARIABLES = (
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_STATIC_PEERS",
    "ROS_LOCALHOST_ONLY",
    "ROS_DISCOVERY_SERVER",
)
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
        respawn: start nodes again that die; only with `processes`.
        namespace: of all nodes, with leading slash; "" for none.
        frame_prefix: put before the frames that parameters name; "" as the configuration says.
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
    respawn: bool = False
    namespace: str = ""
    frame_prefix: str = ""
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
    if settings.respawn:
        values["run_id"] = uuid.uuid4().hex  # the same for each life of a node
    if settings.frame_prefix:
        values["frame_prefix"] = settings.frame_prefix
    if settings.evaluate:
        values["node_names"] = list(settings.managed)
        if settings.out is not None:
            values["report_folder"] = str((settings.out / "evaluation").resolve())
    if settings.bag is not None:
        values["bag"] = str(settings.bag.resolve())
        values["mode"] = "realtime" if settings.realtime else "every"
        values["rate"] = float(settings.rate)
        values["wait_for"] = [f"{name}/progress" for name in settings.managed]
        values["clock_listeners"] = list(settings.managed)
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
    rules = [f"__ns:={settings.namespace}"] if settings.namespace else []
    if settings.namespace and not settings.frame_prefix:
        # TF goes below the namespace, too, as the launch file has it, unless robots share it.
        rules += ["/tf:=tf", "/tf_static:=tf_static"]
    for rule in rules:
        arguments += ["--remap", rule]
    return [*arguments, "--log-level", settings.log_level]


def set_up_middleware() -> None:
    """Keep ROS on this machine unless the environment says how far it reaches, and give Fast DDS room for images.

    Fast DDS's default segment of shared memory is smaller than one VGA image, and it listens on all interfaces even
    where ROS is told to stay on this machine. A profile that the user chose is left alone. For this process, before it
    makes a node, and its children.
    """
    stays = not any(os.environ.get(name) for name in _REACH_VARIABLES)
    if stays:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if any(_is_users(os.environ.get(name, "")) for name in _PROFILE_VARIABLES):
        return
    profile = _profile(stays)
    if profile:
        for name in _PROFILE_VARIABLES:
            os.environ.pop(name, None)
        is_old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
        os.environ[_PROFILE_VARIABLES[is_old]] = str(config_folder() / profile)


def _is_users(profile: str) -> bool:
    """Whether a profile is none of this suite, which tools/env.sh and the launch file set."""
    ours = config_folder() / "fastdds.xml"
    try:
        return bool(profile) and Path(profile).read_bytes() != ours.read_bytes()
    except OSError:
        return True


def _profile(loopback: bool) -> str:
    try:
        roomy = shutil.disk_usage("/dev/shm").free >= _ROOMY_BYTES
    except OSError:
        return ""  # no shared memory here: the default transport it is
    if loopback:
        return "fastdds_loopback.xml" if roomy else "fastdds_loopback_small.xml"
    return "fastdds.xml" if roomy else ""
