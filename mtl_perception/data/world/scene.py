# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a world is made of: meshes with materials, still things, moving actors and light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.transforms import Transform

Colour = tuple[float, float, float]
"""Linear RGB reflectance, 0..1."""

MOVING_M_S = 0.1
"""Slower than this counts as standing still."""

PARAMETERS = 8
"""How many numbers a material can give to its pattern."""


@dataclass(frozen=True)
class Material:
    """How a surface looks: a pattern of textures.py, two colours, and what the pattern needs.

    Attributes:
        pattern: name in textures.PATTERNS.
        colour, second: linear RGB.
        parameters: at most `PARAMETERS` numbers, see the pattern.
        gloss: 0..1, how much the surface mirrors the sky or room.
        glow: light that the surface gives off by itself, as a share of its colour.
    """

    pattern: str
    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    parameters: tuple[float, ...] = ()
    gloss: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles that share nothing, so that every corner has its own normal and texture coordinates.

    Attributes:
        corners: float32 (T, 3, 3), metres.
        normals: float32 (T, 3, 3), unit, per corner.
        texture: float32 (T, 3, 3), per corner; the first two are metres along the surface.
        material: int32 (T,), index into the scene's materials.
        part: int32 (T,), which rigid part of an actor the triangle belongs to.
    """

    corners: NDArray[np.float32]
    normals: NDArray[np.float32]
    texture: NDArray[np.float32]
    material: NDArray[np.int32]
    part: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of triangles."""
        return len(self.corners)

    def moved(self, target_from_mesh: Transform) -> Mesh:
        """Return the mesh in another frame; scaling is allowed as long as it is the same along all axes."""
        linear = target_from_mesh[:3, :3]
        corners = self.corners @ linear.T + target_from_mesh[:3, 3]
        normals = self.normals @ (linear / np.linalg.norm(linear[:, 0])).T
        return replace(self, corners=corners.astype(np.float32), normals=normals.astype(np.float32))

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """Return the mesh turned about z by `yaw`, scaled, and put at a place."""
        return self.moved(pose(x, y, z, yaw, scale))

    def as_part(self, part: int) -> Mesh:
        """Return the mesh as one rigid part of an actor."""
        return replace(self, part=np.full(len(self), part, np.int32))


def merged(meshes: list[Mesh]) -> Mesh:
    """Return one mesh of all the triangles of several."""
    return Mesh(
        corners=np.concatenate([mesh.corners for mesh in meshes]),
        normals=np.concatenate([mesh.normals for mesh in meshes]),
        texture=np.concatenate([mesh.texture for mesh in meshes]),
        material=np.concatenate([mesh.material for mesh in meshes]),
        part=np.concatenate([mesh.part for mesh in meshes]),
    )


def posed(mesh: Mesh, poses: NDArray) -> Mesh:
    """Return an actor's mesh with its parts at their poses (P, 4, 4)."""
    if len(poses) == 1:
        rotation, translation = poses[0, :3, :3].T, poses[0, :3, 3]
    else:
        rotation, translation = poses[mesh.part, :3, :3].transpose(0, 2, 1), poses[mesh.part, None, :3, 3]
    corners, normals = mesh.corners @ rotation + translation, mesh.normals @ rotation
    return replace(mesh, corners=corners.astype(np.float32), normals=normals.astype(np.float32))


def pose(x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Transform:
    """Return the transform that turns about z, scales, then moves."""
    c, s = np.cos(yaw) * scale, np.sin(yaw) * scale
    return np.array([[c, -s, 0.0, x], [s, c, 0.0, y], [0.0, 0.0, scale, z], [0.0, 0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class Actor:
    """Something that moves.

    Attributes:
        mesh: in part frames.
        poses: from seconds to the parts' poses (P, 4, 4) in the world; part 0 is the body that tells the actor's place.
        label: label id of all its surface.
        instance: its number in the world, from 1.
    """

    mesh: Mesh
    poses: Callable[[float], NDArray[np.float64]]
    label: int
    instance: int

    def moves(self, seconds: float) -> bool:
        """Whether the actor as a whole moves faster than 0.1 m/s; its limbs and wheels count with it."""
        step = 0.02
        before, after = self.poses(seconds - step)[0], self.poses(seconds + step)[0]
        return bool(np.linalg.norm(after[:3, 3] - before[:3, 3]) > MOVING_M_S * 2 * step)


@dataclass(frozen=True, eq=False)
class Thing:
    """Something that stays where it is: ground, a house, a parked car, a chair.

    Attributes:
        mesh: in the world.
        label: label id of all its surface.
        instance: its number in the world, from 1; 0 where the label is not that of a thing.
        world_from_object: where its own axes are (x forward, z up), for the box around it.
        layer: the BEV layer that its surface belongs to where it is seen from above, "" for none.
    """

    mesh: Mesh
    label: int
    instance: int
    world_from_object: Transform
    layer: str = ""


@dataclass(frozen=True, eq=False)
class Region:
    """A named piece of the world's ground: a room, a corridor, a stretch of a street.

    Attributes:
        name: unique in the world, e.g. "room 2".
        kind: "room", "corridor", "road segment".
        outline: (N, 2), metres in the world, anticlockwise.
        floor: height of the ground, metres.
        height: from the ground to the ceiling, metres; infinite outdoors.
        neighbours: names of the regions that one can go to from here, through a door or along the street.
    """

    name: str
    kind: str
    outline: NDArray[np.float64]
    floor: float
    height: float
    neighbours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lamp:
    """A lamp: beside the sun and the light from everywhere, at night and indoors.

    Attributes:
        position: metres in the world (or in the base frame, for the robot's own).
        strength: linear RGB at one metre.
        radius: of the glowing body in metres: how soft shadows are.
        direction: where a headlight points (unit); None shines everywhere.
        cone: cosine of the half angle within which a headlight shines.
    """

    position: tuple[float, float, float]
    strength: Colour
    radius: float = 0.05
    direction: tuple[float, float, float] | None = None
    cone: float = -1.0


@dataclass(frozen=True)
class Light:
    """The light of a world.

    Attributes:
        position: of the lamp, or for the sun its direction (unit, towards it).
        is_sun: whether the light comes from infinitely far.
        strength: of the lamp or sun, linear RGB.
        ambient: from everywhere, linear RGB.
        radius: of the lamp in metres, or of the sun's blurred disc as a slope: how soft shadows are.
        sky, horizon, cloud: colours of the sky, linear RGB.
        cloudiness: 0 clear .. 1 overcast.
        visibility: metres after which haze hides 63 %.
        lamps_lit: whether the scene's lamps, the headlights and lit windows shine; false by day outdoors.
    """

    position: tuple[float, float, float]
    is_sun: bool
    strength: Colour
    ambient: Colour
    radius: float = 0.01
    sky: Colour = (0.2, 0.4, 0.9)
    horizon: Colour = (0.7, 0.8, 0.95)
    cloud: Colour = (0.95, 0.95, 0.95)
    cloudiness: float = 0.3
    visibility: float = 1000.0
    lamps_lit: bool = True


@dataclass(frozen=True)
class Sensor:
    """How a world's cameras record light: noise is a share of full scale, blur in pixels."""

    exposure: float
    white_balance: Colour
    noise: float
    blur: float
    vignetting: float
    contrast: float


@dataclass(eq=False)
class Scene:
    """All things of a world while it is put together, then what the renderer reads."""

    labels: LabelSpace
    light: Light
    sensor: Sensor
    materials: list[Material] = field(default_factory=list)
    still: list[Thing] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    robot_lamps: list[Lamp] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    instances: int = 0

    def material(
        self,
        pattern: str,
        colour: ArrayLike,
        second: ArrayLike = (0.0, 0.0, 0.0),
        parameters: tuple[float, ...] = (),
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> int:
        """Add a material and return its index. Colours are given as on a screen (sRGB 0..1) and stored linear."""
        first, other = (tuple(float(v) for v in linear_from_screen(c)) for c in (colour, second))
        self.materials.append(Material(pattern, first, other, parameters, gloss, glow))  # type: ignore[arg-type]
        return len(self.materials) - 1

    def add(
        self, mesh: Mesh, label: str, world_from_object: Transform | None = None, layer: str = ""
    ) -> None:
        """Add something that stays where it is; its mesh is in its own frame where that is given, else in the world."""
        placed = mesh if world_from_object is None else mesh.moved(world_from_object)
        axes = np.eye(4) if world_from_object is None else world_from_object
        self.still.append(Thing(placed, self.labels.id_of(label), self._next_instance(label), axes, layer))

    def add_actor(self, mesh: Mesh, label: str, poses: Callable[[float], NDArray[np.float64]]) -> None:
        """Add a moving thing."""
        self.actors.append(Actor(mesh, poses, self.labels.id_of(label), self._next_instance(label)))

    def _next_instance(self, label: str) -> int:
        if not self.labels.labels[self.labels.id_of(label)].thing:
            return 0
        self.instances += 1
        return self.instances


def linear_from_screen(colour: ArrayLike) -> NDArray[np.float64]:
    """Return linear RGB of a screen colour, both 0..1."""
    return np.clip(np.asarray(colour, dtype=np.float64), 0.0, 1.0) ** 2.2
