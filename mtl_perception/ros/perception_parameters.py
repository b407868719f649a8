# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the perception node, each with its unit, bounds and meaning."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, create_model, field_validator, model_validator

from mtl_perception.core import TASKS
from mtl_perception.core.settings import Hertz, Live, Plain, ReadOnly, Seconds, Unit
from mtl_perception.postprocessing import Thresholds
from mtl_perception.ros.frames import FRAME_PREFIX_TEXT, prefixed
from mtl_perception.ros.label_colours import LABEL_COLOURS_TEXT, checked_colours
from mtl_perception.ros.perception_outputs import CAMERA_TOPICS, FRAME, TASKS_OF_TOPIC
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

    def topics(self, camera: str) -> tuple[str, str]:
        """Return the topics of images and calibration of the camera of that name."""
        return self.image_topic or f"{camera}/image", self.info_topic or f"{camera}/camera_info"


class CabinCameraParameters(BaseModel):
    """The parameters `cabin.<camera>.<name>` of one camera in the cabin."""

    image_topic: str = Field("", description="Topic of the camera's images; empty: cabin/<camera>/image.")
    compressed: bool = Field(False, description="Whether the images are sensor_msgs/CompressedImage.")

    def topic(self, camera: str) -> str:
        """Return the topic of images of the camera of that name."""
        return self.image_topic or f"cabin/{camera}/image"


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
    frame_prefix: Annotated[str, ReadOnly] = Field("", description=FRAME_PREFIX_TEXT)
    pose_source: PoseSourceName = Field(
        "odom", description="Where poses come from; none: frame by frame, without mapping."
    )
    odom_topic: str = Field("odom", description="nav_msgs/Odometry, for pose_source odom.")
    pose_topic: str = Field("pose", description="geometry_msgs/PoseStamped of base_frame, for pose_source pose.")
    pose_timeout: Seconds = Field(
        0.3, ge=0.0, le=30.0, description="How long a frame waits for a pose or transform that has not arrived."
    )
    pose_max_gap: Seconds = Field(1.0, gt=0.0, le=60.0, description="Poses further apart are not interpolated between.")
    pose_max_extrapolation: Seconds = Field(
        0.05, ge=0.0, le=1.0, description="How far beyond the newest pose its motion is taken to go on."
    )
    sync_slop: Seconds = Field(
        0.05, gt=0.0, le=10.0, description="Largest distance of an image's stamp to the frame's stamp."
    )
    sync_timeout: Seconds = Field(0.3, ge=0.0, le=30.0, description="How long a frame waits for a missing camera.")
    min_cameras: Annotated[int, Unit("cameras")] = Field(
        1, ge=1, le=64, description="Frames with fewer cameras are dropped."
    )
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
    threads: Annotated[int, Unit("threads")] = Field(
        0, ge=0, le=256, description="CPU threads of the network; 0: as many as torch likes."
    )
    tasks: Annotated[list[str], Live] = Field(
        ["on_demand"],
        description=f"What is computed: all, on_demand (what somebody subscribes to), or some of {_TASK_NAMES}.",
    )
    detection_min_score: Annotated[Plain, Live] = Field(
        Thresholds.detection, ge=0.0, le=1.0, description="Boxes of a lower score are left out."
    )
    marker_min_score: Annotated[Plain, Live] = Field(
        0.3, ge=0.0, le=1.0, description="Boxes of a lower score have no marker in perception/detection_markers."
    )
    surface_min_probability: Annotated[Plain, Live] = Field(
        Thresholds.surface,
        ge=0.0,
        le=1.0,
        description="Where a surface is less likely, there is none: depth, normals and scene flow are NaN.",
    )
    semantic_min_confidence: Annotated[Plain, Live] = Field(
        Thresholds.semantic,
        ge=0.0,
        le=1.0,
        description="Labels less certain than this are 255, unknown; 0: all are given. perception/label_info tells it.",
    )
    edge_min_probability: Annotated[Plain, Live] = Field(
        Thresholds.edge, ge=0.0, le=1.0, description="perception/<camera>/edges has what is more likely an edge."
    )
    motion_min_probability: Annotated[Plain, Live] = Field(
        Thresholds.motion,
        ge=0.0,
        le=1.0,
        description="The motion mask has what is more likely to move by itself; the map leaves it out.",
    )
    occupancy_min_probability: Annotated[Plain, Live] = Field(
        Thresholds.occupancy, ge=0.0, le=1.0, description="Voxels that are less likely occupied are free or unobserved."
    )
    label_colours: Annotated[list[str], Live] = Field([""], description=LABEL_COLOURS_TEXT)

    def thresholds(self) -> Thresholds:
        """Return how likely something has to be to be in a prediction."""
        return Thresholds(
            detection=self.detection_min_score,
            surface=self.surface_min_probability,
            semantic=self.semantic_min_confidence,
            edge=self.edge_min_probability,
            motion=self.motion_min_probability,
            occupancy=self.occupancy_min_probability,
        )

    @field_validator("cameras")
    @classmethod
    def _names_are_usable(cls, names: list[str]) -> list[str]:
        if not names or len(set(names)) != len(names):
            raise ValueError("one name a camera is needed, each of them once")
        for name in names:
            if not name.isidentifier():
                raise ValueError(f"'{name}' cannot be part of a topic: use letters, digits and underscores")
            if name in (*PerceptionParameters.model_fields, "cabin", "max_rate", "qos_overrides"):
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

    @field_validator("label_colours")
    @classmethod
    def _colours_are_colours(cls, entries: list[str]) -> list[str]:
        return checked_colours(entries)

    @field_validator("tasks")
    @classmethod
    def _tasks_exist(cls, tasks: list[str]) -> list[str]:
        if tasks in ([ALL], [ON_DEMAND]):
            return tasks
        unknown = [task for task in tasks if task not in TASKS]
        if unknown or not tasks:
            raise ValueError(f"'{unknown[0] if unknown else ''}' is none of all, on_demand, {_TASK_NAMES}")
        return tasks

    @property
    def prefixed_base_frame(self) -> str:
        """`base_frame` as it is called in TF and messages."""
        return prefixed(self.frame_prefix, self.base_frame)

    @property
    def prefixed_world_frame(self) -> str:
        """`world_frame` as it is called in TF and messages; "" where poses tell it."""
        return prefixed(self.frame_prefix, self.world_frame)

    @model_validator(mode="after")
    def _tf_needs_a_world(self) -> PerceptionParameters:
        if self.pose_source == "tf" and not self.world_frame:
            raise ValueError("parameter 'world_frame' is empty, and pose_source tf needs it, e.g. odom or map")
        if self.rehearse and self.checkpoint:
            raise ValueError(f"parameters 'rehearse' = {self.rehearse} and 'checkpoint' = {self.checkpoint}: give one")
        if self.min_cameras > len(self.cameras):
            raise ValueError(f"parameter 'min_cameras' = {self.min_cameras}, but there are {len(self.cameras)} cameras")
        return self


def _of_topic(topic: str) -> str:
    if topic == FRAME:
        return f"perception/{FRAME}, and of what mapping gets in the same process"
    return f"perception/<camera>/{topic}" if topic in CAMERA_TOPICS else f"perception/{topic}"


_RATES: dict[str, Any] = {
    topic: (
        Annotated[Hertz, Live],
        Field(0.0, ge=0.0, le=1000.0, description=f"Greatest rate of {_of_topic(topic)}; 0: every frame."),
    )
    for topic in TASKS_OF_TOPIC
}
OutputRates = create_model(
    "OutputRates",
    __doc__="The parameters `max_rate.<topic>`, by the frames' stamps; with frame_policy every they do not hold.",
    **_RATES,
)
