# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The typed configuration of a network: what `config/networks/*.yaml` may hold. A module that is left out is off."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mtl_perception.core import VoxelGrid
from mtl_perception.core.outside_files import read_yaml
from mtl_perception.core.prediction import Task
from mtl_perception.core.validation_text import validation_text

Branches = Literal["both", "shared", "specific"]
"""Of UV-M3TL's dual-branch embedding."""
DENSE_TASKS: tuple[Task, ...] = ("depth", "semantic", "normals", "edges")
"""Per-pixel tasks of single images; cross-task attention and the dual branch work among these."""
VOLUME_TASKS: tuple[Task, ...] = ("occupancy", "bev_map", "detections")
"""Tasks of the rig's 3D half."""
TEMPORAL_TASKS: tuple[Task, ...] = ("motion_mask", "scene_flow", "ego_motion")
"""Tasks that compare a camera's image with its previous one."""
SCENE_TASKS: tuple[Task, ...] = ("driver_behaviour", "driver_emotion", "vehicle_behaviour", "traffic_context")
"""Scene-level classifications (UV-M3TL)."""

_MOST_VOXELS = 2**25
_DECIDING_CODE = ("attn_implementation", "auto_map", "quantization_config", "trust_remote_code")
"""Entries of transformers' configurations that are no sizes: some let it fetch code."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class BackboneConfig(_Section):
    """The shared encoder's backbone."""

    kind: str = Field(
        "residual", description="`residual` (our own, small) or a transformers model type: swin, dinov2, resnet, ..."
    )
    options: dict[str, Any] = Field(
        description="`residual`: `widths` and `blocks` at strides 4, 8, 16, 32; else overrides of transformers' config"
    )
    pretrained: str | None = Field(None, description="folder or hub id for from_pretrained; none: random weights")
    stem_width: int = Field(32, ge=8, description="channels of the map at stride 2 (`residual`: half its first width)")

    @field_validator("options")
    @classmethod
    def _are_sizes(cls, options: dict[str, Any]) -> dict[str, Any]:
        inner = [name for name in options if name.startswith("_") or name in _DECIDING_CODE]
        if inner:
            raise ValueError(f"'{inner[0]}' is no option of a backbone: it decides which code is run")
        return options


class NeckConfig(_Section):
    """From the backbone's maps to four maps of one width."""

    kind: Literal["pyramid", "reassembly"] = Field("pyramid", description="`reassembly` for plain vision transformers")
    width: int = Field(ge=8)


class DepthBins(_Section):
    """Depth bins, uniform in log depth. They hold for the canonical focal length and scale with a camera's own."""

    nearest: float = Field(gt=0, description="first bin's depth, metres")
    farthest: float = Field(gt=0, description="last bin's depth, metres")
    count: int = Field(ge=8, le=256)
    canonical_focal: float = Field(
        gt=0, description="focal length in pixels of the network's input for which they hold"
    )


class DenseConfig(_Section):
    """Decoders of depth, semantics, normals and edges."""

    decoder: Literal["detail", "refined", "coarse"] = Field(
        "detail",
        description="`detail`: light, at stride 2. `refined`: M2H's heads. `coarse`: on the lifted level (depth only)",
    )
    width: int = Field(32, ge=8, description="`detail`: channels at stride 2")
    head_widths: tuple[int, int] = Field((128, 64), description="`refined`: channels behind the two up-blocks")
    multi_scale_fusion: bool = Field(False, description="M2H's fusion of all levels, one per task, before the decoder")
    semantic_from: Literal["head", "queries"] = Field(
        "head", description="`queries`: semantics are derived from the panoptic queries, there is no head of their own"
    )


class CrossViewConfig(_Section):
    """CvM: correlations with adjacent cameras and with the previous frame."""

    features: Literal["own", "reused", "shared"] = Field(
        "own",
        description="what is correlated: `own`: CvM's spatial encoder and transformer; `reused`: the transformer on a "
        "shared level instead (CvM's ablation); `shared`: that level alone, which costs next to nothing",
    )
    width: int = Field(128, ge=8)
    planes: int = Field(128, ge=2, le=1024, description="planes of the sweep, uniform in inverse depth")
    nearest: float | None = Field(None, gt=0, description="the first plane's depth, metres; none: that of the bins")
    neighbours: int = Field(3, ge=1, le=3, description="most other views of an image, the previous frame first")
    parts: tuple[Literal["features", "cost"], ...] = Field(
        ("features", "cost"), min_length=1, description="what of it enters the levels: the ablation's F and CV"
    )
    layers: int = Field(6, ge=1, description="`own`, `reused`: of the transformer")
    stage_widths: tuple[int, int, int] = Field(
        (64, 96, 128), description="`own`: channels of the spatial encoder at the strides 2, 4 and 8"
    )


class CrossTaskConfig(_Section):
    """M2H: windowed cross-task attention and global gated fusion; needs `dense.multi_scale_fusion`."""

    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    window: int = Field(7, ge=2)
    reduction: int = Field(1, ge=1, description="divides the channels; above 1 it also works at half the resolution")
    gate: bool = Field(True, description="whether depth and semantics have the global gated fusion")
    unique_stream: bool = Field(
        False, description="the gate's third stream is of the encoder's last map (M2H), not of the coarsest level"
    )


class ReprojectionMotionConfig(_Section):
    """Motion masks by reprojection with known poses."""

    embedding: int = Field(16, ge=4, description="channels of the embedding that is compared over time")
    radius: int = Field(3, ge=1, le=6, description="search radius of that comparison, pixels at stride 4")
    matches: bool = Field(False, description="the matches of `alignment` are evidence, too")
    detail: int = Field(0, ge=0, description="channels of a refinement at stride 2; 0: masks stay at stride 4")


class AlignmentConfig(_Section):
    """Ego motion by matching and weighted alignment of the whole rig."""

    width: int = Field(48, ge=8, description="channels of the embedding that is matched over the whole image, stride 8")
    fine_width: int = Field(16, ge=4, description="channels of the one that refines the matches, stride 4")
    triangulation: bool = Field(False, description="what the matches say of depth joins the finest shared level")


class PoseConfig(_Section):
    """The unified encoder's pose decoder, and what its ablation puts in its place."""

    levels: Literal["all", "coarsest"] = Field(default="all", description="`coarsest`: no multi-scale decoding")
    encoder: Literal["shared", "separate"] = Field(
        default="shared", description="`separate`: both images go through an encoder of its own, on one scale"
    )


class PanopticConfig(_Section):
    """Panoptic segmentation."""

    kind: Literal["light", "queries"] = Field("light", description="`queries`: OneFormer's decoders")
    width: int = Field(32, ge=8, description="`light`: channels at stride 2; `queries`: hidden size")
    queries: int = Field(100, ge=1)
    encoder_layers: int = Field(6, ge=1)
    decoder_layers: int = Field(6, ge=2)


class GridConfig(_Section):
    """The occupancy grid, in the base frame."""

    origin: tuple[float, float, float] = Field(description="outer corner of voxel (0, 0, 0), metres")
    voxel_size: float = Field(gt=0, description="edge of a voxel, metres")
    shape: tuple[int, int, int] = Field(description="voxels in x, y, z")

    @field_validator("shape")
    @classmethod
    def _fits_in_memory(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(shape) < 1 or prod(shape) > _MOST_VOXELS:
            raise ValueError(f"there must be 1 to {_MOST_VOXELS} voxels")
        return shape

    def to_grid(self) -> VoxelGrid:
        """Return the grid as a core type."""
        return VoxelGrid(self.origin, self.voxel_size, self.shape)


class PrototypeParts(_Section):
    """What there is of MAESTRO's prototypes; what its ablations leave out."""

    class_prototypes: bool = Field(default=True, description="off: the occupancy decoder's queries are only learned")
    enhanced: tuple[Literal["occupancy", "bev_map", "detections"], ...] = Field(
        default=("occupancy", "bev_map", "detections"), description="the tasks that have features of their own"
    )
    stages: tuple[Literal["wise", "aware", "suppression"], ...] = Field(
        default=("wise", "aware", "suppression"), description="of those features"
    )
    aggregated: tuple[Literal["detections", "bev_map"], ...] = Field(
        default=("detections", "bev_map"), description="the tasks whose findings add to the occupancy decoder's queries"
    )

    @model_validator(mode="after")
    def _have_prototypes(self) -> PrototypeParts:
        if not self.class_prototypes and (self.enhanced or self.aggregated):
            raise ValueError("prototype_parts: without class_prototypes nothing can be enhanced or aggregated")
        return self


class VolumeConfig(_Section):
    """The 3D half: lifting into voxels, boxes, BEV map, occupancy."""

    lift_width: int = Field(ge=4, description="channels lifted into a voxel")
    lift_level: int = Field(0, ge=0, le=3, description="the level that is lifted, 0 the finest")
    lift_pooling: int = Field(2, ge=1, description="how much that level is averaged down first")
    plane_width: int = Field(ge=8, description="channels on the ground plane")
    ground_width: int = Field(
        0, ge=0, description="channels that the map reads from the images at the height of the ground; 0: none"
    )
    box_grid: GridConfig | None = Field(None, description="plane of the boxes; left out: the occupancy grid")
    box_width: int | None = Field(None, ge=8, description="channels on that plane; left out: `plane_width`")
    prototypes: bool = Field(False, description="MAESTRO's prototypes, task-specific features and query decoder")
    prototype_parts: PrototypeParts = PrototypeParts()
    detection_labels: tuple[int, ...] = Field((), description="label ids of the boxes' classes")
    map_layers: dict[str, tuple[int, ...]] = Field(
        default_factory=dict, description="per BEV layer, the label ids that it stands for (none: a class of its own)"
    )
    boxes: int = Field(64, ge=1, le=10_000, description="most boxes of a frame")


class SteeringConfig(_Section):
    """Steering from the last frames by attentive pooling."""

    width: int = Field(64, ge=8)
    frames: int = Field(16, ge=1, le=1000)
    motion: bool = Field(
        False, description="also from the network's own estimate of how the rig moved between the frames"
    )


class DrivingConfig(_Section):
    """Scene-level classifications from outside cameras, cabin cameras and posture."""

    width: int = Field(64, ge=8)
    dual_branch: bool = Field(True, description="UV-M3TL's embedding; off: pooled streams and a linear layer per task")
    motion: bool = Field(False, description="a stream more: the network's own estimate of how the rig moved of late")


class NetworkConfig(_Section):
    """Everything that shapes a `MultiTaskNetwork`.

    Raises:
        pydantic.ValidationError: a value is out of bounds, a key is unknown, or a task lacks the section it needs.
    """

    preset: str
    tasks: tuple[Task, ...] = Field(min_length=1, description="what the network can be asked for")
    num_labels: int = Field(ge=2, le=250)
    input_pixels: int = Field(
        ge=64 * 64, le=2**25, description="pixels of a network input; its shape follows the camera's"
    )
    input_multiple: int = Field(16, ge=1, le=1024, description="width and height of an input are multiples of this")
    backbone: BackboneConfig
    neck: NeckConfig
    depth_bins: DepthBins
    dense: DenseConfig
    cross_view: CrossViewConfig | None = None
    dense_dual_branch: bool = Field(False, description="UV-M3TL's embedding before the dense decoders")
    dual_branch_parts: Branches = Field("both", description="of that embedding: the ablation's single branches")
    cross_task: CrossTaskConfig | None = None
    pose: PoseConfig = PoseConfig()
    reprojection_motion: ReprojectionMotionConfig | None = Field(
        None, description="motion masks by known poses; left out: the unified encoder's decoder, which needs none"
    )
    alignment: AlignmentConfig | None = Field(
        None, description="ego motion by matching and alignment; left out: the unified encoder's pose decoder"
    )
    scene_flow: Literal["pyramid", "matches"] = Field(
        "pyramid", description="`matches`: from those of `alignment`; `pyramid`: the unified encoder's decoder"
    )
    panoptic: PanopticConfig | None = None
    volume: VolumeConfig | None = None
    grid: GridConfig = Field(description="used by the 3D half, and the shape in which occupancy is published")
    steering: SteeringConfig | None = None
    driving: DrivingConfig | None = None

    @model_validator(mode="after")
    def _requirements(self) -> NetworkConfig:
        for section, tasks in (
            ("panoptic", ("panoptic",)),
            ("volume", VOLUME_TASKS),
            ("steering", ("steering",)),
            ("driving", SCENE_TASKS),
        ):
            for task in self.tasks:
                if task in tasks and getattr(self, section) is None:
                    raise ValueError(f"task '{task}' needs the section '{section}'")
        volume = self.volume
        if "detections" in self.tasks and volume is not None and not volume.detection_labels:
            raise ValueError("task 'detections' needs volume.detection_labels")
        if "bev_map" in self.tasks and volume is not None and not volume.map_layers:
            raise ValueError("task 'bev_map' needs volume.map_layers")
        if volume is not None:
            named = [*volume.detection_labels, *(label for ids in volume.map_layers.values() for label in ids)]
            wrong = [label for label in named if not 0 <= label < self.num_labels]
            if wrong:
                raise ValueError(f"volume names label {wrong[0]}, there are {self.num_labels}")
            if volume.prototypes and (volume.box_grid is not None or volume.ground_width):
                raise ValueError("volume.prototypes has no use for volume.box_grid and volume.ground_width")
            if volume.box_width is not None and volume.box_grid is None:
                raise ValueError("volume.box_width needs volume.box_grid")
        for name in self.sections_with_motion(self.tasks):
            if "ego_motion" not in self.tasks:
                raise ValueError(f"{name}.motion needs the task 'ego_motion'")
        by_matches = self.scene_flow == "matches"
        if by_matches and (self.alignment is None or self.reprojection_motion is None):
            raise ValueError("scene_flow 'matches' needs the sections 'alignment' and 'reprojection_motion'")
        if self.reprojection_motion is not None and self.reprojection_motion.matches and self.alignment is None:
            raise ValueError("reprojection_motion.matches needs the section 'alignment'")
        if not self.dense.multi_scale_fusion:
            if self.cross_task is not None:
                raise ValueError("cross_task needs dense.multi_scale_fusion")
            if self.neck.kind == "reassembly":
                raise ValueError("neck.kind 'reassembly' needs dense.multi_scale_fusion: its levels are not fused")
        if self.dense.semantic_from == "queries" and (self.panoptic is None or self.panoptic.kind != "queries"):
            raise ValueError("dense.semantic_from 'queries' needs panoptic.kind 'queries'")
        beyond = sorted(set(self.tasks) & {"semantic", "normals", "edges"})
        if self.dense.decoder == "coarse" and beyond and self.dense.semantic_from == "head":
            raise ValueError(f"dense.decoder 'coarse' decodes depth only, not '{beyond[0]}'")
        return self

    def sections_with_motion(self, tasks: Collection[str]) -> tuple[str, ...]:
        """Return the sections that take, for these tasks, what the network tells of the rig's motion for an input."""
        steers = self.steering is not None and self.steering.motion and "steering" in tasks
        classifies = self.driving is not None and self.driving.motion and not set(tasks).isdisjoint(SCENE_TASKS)
        return ("steering",) * steers + ("driving",) * classifies

    @property
    def box_grid(self) -> GridConfig:
        """The grid on whose plane boxes are found."""
        own = None if self.volume is None else self.volume.box_grid
        return self.grid if own is None else own

    @classmethod
    def load(cls, path: str | Path) -> NetworkConfig:
        """Read a preset from YAML.

        Raises:
            ValueError: a key or value is wrong; the message names the file.
        """
        try:
            return cls.model_validate(read_yaml(Path(path)))
        except ValidationError as error:
            raise ValueError(f"network configuration {path}: {validation_text(error)}") from error

    def restricted(self, tasks: Collection[str]) -> NetworkConfig:
        """Return the same network for some of its tasks only.

        Raises:
            ValueError: a task is not one of this network's.
        """
        absent = sorted(set(tasks) - set(self.tasks))
        if absent:
            raise ValueError(f"network '{self.preset}' has no task {', '.join(absent)}")
        return self.model_validate(self.model_dump() | {"tasks": tuple(t for t in self.tasks if t in tasks)})

    def plain(self, tasks: Collection[str]) -> NetworkConfig:
        """Return the naive multi-task (or, with one task, single-task) network of the same encoder.

        Each task keeps its plain head; what lets tasks and views exchange is off: cross-view correlations, dual
        branches, cross-task attention, triangulation, prototypes. This is what latency ratios are measured against.
        """
        content = self.model_dump() | {"cross_view": None, "dense_dual_branch": False}
        if self.alignment is not None:
            content["alignment"] = content["alignment"] | {"triangulation": False}
        content["cross_task"] = None
        if self.neck.kind == "pyramid":  # without a pyramid, multi-scale fusion is what makes a head's input
            content["dense"] = content["dense"] | {"multi_scale_fusion": False}
        if self.volume is not None:
            content["volume"] = content["volume"] | {"prototypes": False}
        if self.driving is not None:
            content["driving"] = content["driving"] | {"dual_branch": False}
        content["tasks"] = tuple(task for task in self.tasks if task in tasks)
        return self.model_validate(content)

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the network's input (width, height) for an image: near `input_pixels`, in multiples."""
        scale, step = (self.input_pixels / (width * height)) ** 0.5, self.input_multiple
        return max(2 * step, round(width * scale / step) * step), max(2 * step, round(height * scale / step) * step)
