# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything of a street world that stands still, and its regions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.scene import Region, Scene
from mtl_perception.data.world.street.driving import Wait
from mtl_perception.data.world.street.furnishing import Furnishing
from mtl_perception.data.world.street.ground import Ground, samples
from mtl_perception.data.world.street.layouts import STYLES
from mtl_perception.data.world.street.markings import paint_roads
from mtl_perception.data.world.street.planting import Planting
from mtl_perception.data.world.street.plots import Plots
from mtl_perception.data.world.street.roads import Road, StreetPlan
from mtl_perception.data.world.street.signals import add_traffic_lights
from mtl_perception.data.world.street.site import Site


class Way(Protocol):
    """What has to stay free for the robot."""

    @property
    def taken_bays(self) -> Collection[int]:
        """Indices of plan.bays that the robot needs."""

    @property
    def path_points(self) -> NDArray[np.float64]:
        """Points (N, 2) of its way in the world."""

    @property
    def waits(self) -> Sequence[Wait]:
        """When it stands for others; lights are red then."""


def build_street(scene: Scene, plan: StreetPlan, drive: Way, generator: np.random.Generator) -> None:
    """Put a street into a scene: ground, paint, houses, plants, street furniture, vehicles, lights, lamps, regions.

    Nothing comes nearer than `site.CLEARANCE_M` to the robot's way.
    """
    style = STYLES[plan.layout].surroundings
    site = Site(plan, drive.path_points)
    ground = Ground(scene, plan, generator, green=bool(generator.random() < style.green or plan.layout == "park"))
    ground.build()
    paint_roads(scene, plan, generator, ground.asphalt_colour)
    planting = Planting(scene, site, generator)
    add_traffic_lights(scene, plan, site, drive.waits, generator)
    Furnishing(scene, plan, site, planting, style, generator).build(drive.taken_bays)
    Plots(scene, plan, site, ground, planting, style, generator).build()
    planting.build()
    scene.regions.extend(regions_of(plan))


def regions_of(plan: StreetPlan) -> list[Region]:
    """Return junctions, and the stretches of road between them, each with what it leads to."""
    regions, names = [], [f"junction {number + 1}" for number in range(len(plan.junctions))]
    main, arms = plan.roads[0], dict[str, list[str]]()
    spans = plan.junction_spans(0)
    edges = [main.start, *(edge for span in spans for edge in span), main.end]
    stretches = list(zip(edges[::2], edges[1::2], strict=True))
    for number, (low, high) in enumerate(stretches):
        near = [*names[max(0, number - 1) : number], *names[number : number + 1]]
        regions.append(_region(f"{main.name}, part {number + 1}", "road segment", main, (low, high), tuple(near)))
    for name, junction in zip(names, plan.junctions, strict=True):
        other = plan.roads[junction.other]
        arms[name] = []
        for arm in junction.arms:
            low, high = sorted((arm * junction.other_half, other.end if arm > 0 else other.start))
            title = f"{other.name}, {'left' if arm > 0 else 'right'}"
            arms[name].append(title)
            regions.append(_region(title, "road segment", other, (low, high), (name,)))
    for number, (name, junction) in enumerate(zip(names, plan.junctions, strict=True)):
        parts = (f"{main.name}, part {number + 1}", f"{main.name}, part {number + 2}")
        left, right = (junction.other_half if arm in junction.arms else main.reach for arm in (1, -1))
        s = np.array([junction.s - junction.half, junction.s + junction.half])
        outline = np.concatenate([main.line.points(s, -right)[:, :2], main.line.points(s[::-1], left)[:, :2]])
        regions.append(Region(name, "junction", outline, 0.0, np.inf, (*parts, *arms[name])))
    return regions


def _region(name: str, kind: str, road: Road, span: tuple[float, float], neighbours: tuple[str, ...]) -> Region:
    s = samples(road, *span)
    outline = np.concatenate([road.line.points(s, -road.reach)[:, :2], road.line.points(s[::-1], road.reach)[:, :2]])
    return Region(name, kind, outline, 0.0, np.inf, neighbours)
