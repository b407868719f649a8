# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the perception node, each with its unit, bounds and meaning."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, field_validator, model_validator

from mtl_perception.core import TASKS
from mtl_perception.ros.parameters import Live
from mtl_perception.ros.poses import PoseSourceName
from mtl_perception.ros.worker import FramePolicy

ALL = "all"
ON_DEMAND = "on_demand"
_TASK_NAMES = ", ".join(TASKS)


class CameraParameters(BaseModel):
    """The parameters `<camera>.<name>` of one camera."""

    image_topic: str = Field("", description="Topic of the camera's images; empty: <camera>/image.")
    info_topic: str = Field("", description="Topic of its sensor_msgs/CameraInfo; empty: <camera>/camera_info.")
    compressed: bool = Field(False, description="Whether the images are sensor_msgs/CompressedImage.")
    rectified: bool = Field(
        False,
        description="Whether the images are undistorted already, as image_rect of image_proc: then P of the CameraInfo "
        "holds, and its distortion does not.",
    )


class CabinCameraParameters(BaseModel):
    """The parameters `cabin.<camera>.<name>` of one camera in the cabin."""

    image_topic: str = Field("", description="Topic of the camera's images; empty: cabin/<camera>/image.")
    compressed: bool = Field(False, description="Whether the images are sensor_msgs/CompressedImage.")


class PerceptionParameters(BaseModel):
    """The parameters of the perception node."""

    cameras: list[str] = Field(
        ["front"], description="Names of the cameras; the first one's stamps are the frames' stamps."
    )
    cabin_cameras: list[str] = Field(
        [""],
        description="Names of the cameras that look at the driver, for a network that was trained for driver, vehicle "
        "and traffic; empty: none.",
    )
    cabin_joints_topic: str = Field(
        "",
        description="Topic of the driver's joints (mtl_perception_msgs/CabinJoints), e.g. cabin/joints; empty: none.",
    )
    base_frame: str = Field("base_link", description="The robot's frame: rig outputs are in it.")
    world_frame: str = Field(
        "",
        description="Frame of the poses when pose_source is tf; otherwise the pose messages tell it.",
    )
    pose_source: PoseSourceName = Field(
        "odom", description="Where poses come from; none: frame by frame, without mapping."
    )
    odom_topic: str = Field("odom", description="nav_msgs/Odometry, for pose_source odom.")
    pose_topic: str = Field("pose", description="geometry_msgs/PoseStamped of base_frame, for pose_source pose.")
    pose_timeout: float = Field(
        0.3,
        ge=0.0,
        le=30.0,
        description="How long a frame waits for a pose or transform that has not arrived, seconds.",
    )
    pose_max_gap: float = Field(
        1.0, gt=0.0, le=60.0, description="Poses further apart are not interpolated between, seconds."
    )
    pose_max_extrapolation: float = Field(
        0.05, ge=0.0, le=1.0, description="How far beyond the newest pose its motion is taken to go on, seconds."
    )
    sync_slop: float = Field(
        0.05, gt=0.0, le=10.0, description="Largest distance of an image's stamp to the frame's stamp, seconds."
    )
    sync_timeout: float = Field(
        0.3, ge=0.0, le=30.0, description="How long a frame waits for a missing camera, seconds."
    )
    min_cameras: int = Field(1, ge=1, le=64, description="Frames with fewer cameras are dropped.")
    frame_policy: FramePolicy = Field(
        "newest",
        description="newest: the newest frame wins and what is dropped is counted; every: all are used, for a player "
        "that waits for perception/progress.",
    )
    checkpoint: str = Field(
        "",
        description="File of the network, its name if it is one of the package (nano, nano_world), or its id on the "
        "Hugging Face hub; empty: nano.",
    )
    rehearse: str = Field(
        "",
        description="Instead of a checkpoint, a preset of config/networks with random weights, to see what it costs: "
        "all its tasks are computed and timed, none is published.",
    )
    device: str = Field("cpu", description="Where the network runs, as torch names it, e.g. cpu or cuda:0.")
    compile: bool = Field(
        False,
        description="Compile the network (torch.compile). The first frame, and the first one with another number of "
        "cameras, then take a minute or so; whether later ones are faster depends on the machine. On a CPU this needs "
        "a C++ compiler.",
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the network; 0: as many as torch likes.")
    tasks: Annotated[list[str], Live] = Field(
        ["on_demand"],
        description=f"What is computed: all, on_demand (what somebody subscribes to), or some of {_TASK_NAMES}.",
    )

    @field_validator("cameras")
    @classmethod
    def _names_are_usable(cls, names: list[str]) -> list[str]:
        if not names or len(set(names)) != len(names):
            raise ValueError("one name a camera is needed, each of them once")
        for name in names:
            if not name.isidentifier():
                raise ValueError(f"'{name}' cannot be part of a topic: use letters, digits and underscores")
            if name in PerceptionParameters.model_fields:
                raise ValueError(f"'{name}' is the name of a parameter")
        return names

    @field_validator("cabin_cameras")
    @classmethod
    def _cabin_names_are_usable(cls, names: list[str]) -> list[str]:
        known = [name for name in names if name]
        if len(set(known)) != len(known):
            raise ValueError("each camera of the cabin is named once")
        for name in known:
            if not name.isidentifier():
                raise ValueError(f"'{name}' cannot be part of a topic: use letters, digits and underscores")
        return known

    @field_validator("tasks")
    @classmethod
    def _tasks_exist(cls, tasks: list[str]) -> list[str]:
        if tasks in ([ALL], [ON_DEMAND]):
            return tasks
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or not tasks:
            raise ValueError(f"'{unknown[0] if unknown else ''}' is none of all, on_demand, {_TASK_NAMES}")
        return tasks

    @model_validator(mode="after")
    def _tf_needs_a_world(self) -> PerceptionParameters:
        if self.pose_source == "tf" and not self.world_frame:
            raise ValueError("parameter 'world_frame' is empty, and pose_source tf needs it, e.g. odom or map")
        if self.rehearse and self.checkpoint:
            raise ValueError(f"parameters 'rehearse' = {self.rehearse} and 'checkpoint' = {self.checkpoint}: give one")
        if self.min_cameras > len(self.cameras):
            raise ValueError(f"parameter 'min_cameras' = {self.min_cameras}, but there are {len(self.cameras)} cameras")
        return self
