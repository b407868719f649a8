# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts of streets as numbers: what roads are drawn from, and what stands along them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Limits = tuple[float, float]
"""Lowest and highest value of a uniform draw."""


@dataclass(frozen=True)
class RoadStyle:
    """What a layout's roads are drawn from; tuples without limits hold the values to choose from.

    Attributes:
        lanes: each way; `lane`, `parking` and `pavement` are widths, `median` half a width, in metres.
        bend: the greatest curvature, 1/m.
        spacing: metres from one junction to the next.
        crossroads, lights: shares of junctions where the other road goes on beyond road 0, and that have lights.
        zebras: how likely crossings are.
        other_lanes, other_parking: of the roads that meet road 0.
        corner: radius of kerbs at junctions.
        marked: how likely lines are painted.
        speed: limit, m/s.
    """

    lanes: tuple[int, ...]
    lane: Limits
    parking: tuple[float, ...]
    pavement: Limits
    median: tuple[float, ...]
    bend: float
    spacing: Limits
    crossroads: float
    lights: float
    zebras: float
    other_lanes: tuple[int, ...]
    other_parking: tuple[float, ...]
    corner: Limits
    marked: float
    speed: Limits


@dataclass(frozen=True)
class Surroundings:
    """What stands along a layout's roads.

    Attributes:
        houses: kind of building (street/plots.py) to its share.
        width, height, depth: of buildings, metres.
        setback: from pavement to front, the values to choose from for a whole world.
        gap: between neighbouring buildings, metres.
        empty: share of plots without a building.
        fenced: share of plots with a fence, wall or hedge to the street.
        green: share of ground that is lawn, else it is paved.
        trees: distances between the trees of a pavement to choose from, 0 for none.
        lamps, signs: distances between lamp posts, between signs.
        garden_trees: trees on a plot, at most.
        parked: share of bays that are taken.
        lorries: share of parked vehicles that are lorries.
        people: standing people per 100 m of pavement.
        bicycles: parked bicycles per 100 m of pavement.
        clutter: benches, bins, cabinets and bollards per 100 m of pavement.
    """

    houses: Mapping[str, float]
    width: Limits
    height: Limits
    depth: Limits
    setback: tuple[float, ...]
    gap: tuple[float, ...]
    empty: float
    fenced: float
    green: float
    trees: tuple[float, ...]
    lamps: Limits
    signs: Limits
    garden_trees: int
    parked: Limits
    lorries: float
    people: Limits
    bicycles: Limits
    clutter: Limits


@dataclass(frozen=True)
class Layout:
    """A kind of street."""

    roads: RoadStyle
    surroundings: Surroundings


_ROADS = {
    "town": RoadStyle(
        lanes=(1,),
        lane=(2.9, 3.4),
        parking=(2.1, 2.2, 2.4),
        pavement=(2.0, 3.6),
        median=(0.0,),
        bend=0.006,
        spacing=(50, 95),
        crossroads=0.5,
        lights=0.15,
        zebras=0.5,
        other_lanes=(1,),
        other_parking=(0.0, 2.1),
        corner=(4.5, 6.0),
        marked=0.9,
        speed=(7.0, 9.5),
    ),
    "suburb": RoadStyle(
        lanes=(1,),
        lane=(2.9, 3.3),
        parking=(0.0, 0.0, 2.1),
        pavement=(1.5, 2.2),
        median=(0.0,),
        bend=0.013,
        spacing=(60, 110),
        crossroads=0.3,
        lights=0.0,
        zebras=0.1,
        other_lanes=(1,),
        other_parking=(0.0,),
        corner=(5.0, 7.0),
        marked=0.4,
        speed=(6.5, 9.0),
    ),
    "avenue": RoadStyle(
        lanes=(2,),
        lane=(3.1, 3.5),
        parking=(2.2, 2.4),
        pavement=(3.5, 5.5),
        median=(1.2, 1.8, 2.6),
        bend=0.003,
        spacing=(80, 130),
        crossroads=0.6,
        lights=0.5,
        zebras=0.6,
        other_lanes=(1,),
        other_parking=(2.1,),
        corner=(6.0, 8.0),
        marked=1.0,
        speed=(10.0, 13.0),
    ),
    "crossroads": RoadStyle(
        lanes=(2,),
        lane=(3.0, 3.4),
        parking=(0.0, 2.2),
        pavement=(2.4, 4.0),
        median=(0.0,),
        bend=0.002,
        spacing=(70, 110),
        crossroads=0.9,
        lights=0.85,
        zebras=0.8,
        other_lanes=(1, 2),
        other_parking=(0.0, 2.1),
        corner=(5.5, 8.0),
        marked=1.0,
        speed=(8.0, 11.5),
    ),
    "industrial": RoadStyle(
        lanes=(1, 1, 2),
        lane=(3.5, 3.9),
        parking=(0.0, 2.7),
        pavement=(1.5, 2.2),
        median=(0.0,),
        bend=0.004,
        spacing=(75, 130),
        crossroads=0.25,
        lights=0.1,
        zebras=0.05,
        other_lanes=(1,),
        other_parking=(0.0,),
        corner=(8.0, 11.0),
        marked=0.7,
        speed=(8.0, 12.5),
    ),
    "park": RoadStyle(
        lanes=(1,),
        lane=(3.0, 3.4),
        parking=(0.0, 2.2),
        pavement=(2.6, 4.2),
        median=(0.0, 0.0, 1.5),
        bend=0.01,
        spacing=(70, 120),
        crossroads=0.15,
        lights=0.1,
        zebras=0.6,
        other_lanes=(1,),
        other_parking=(0.0, 2.1),
        corner=(5.0, 7.0),
        marked=0.8,
        speed=(7.0, 9.5),
    ),
}
_SURROUNDINGS = {
    "town": Surroundings(
        houses={"terrace": 0.85, "office": 0.1, "chapel": 0.05},
        width=(7.0, 18.0),
        height=(7.0, 17.0),
        depth=(9.0, 13.0),
        setback=(0.0, 0.0, 0.0, 1.5),
        gap=(0.0, 0.0, 0.0, 0.05, 2.5),
        empty=0.07,
        fenced=0.5,
        green=0.15,
        trees=(0.0, 10.0, 16.0, 24.0),
        lamps=(20.0, 32.0),
        signs=(18.0, 50.0),
        garden_trees=2,
        parked=(0.45, 0.9),
        lorries=0.05,
        people=(3.0, 9.0),
        bicycles=(1.0, 6.0),
        clutter=(3.0, 10.0),
    ),
    "suburb": Surroundings(
        houses={"detached": 0.9, "terrace": 0.1},
        width=(9.0, 14.0),
        height=(4.0, 8.0),
        depth=(8.0, 11.0),
        setback=(4.0, 5.5, 7.0),
        gap=(3.0, 4.5, 7.0),
        empty=0.08,
        fenced=0.85,
        green=1.0,
        trees=(0.0, 0.0, 18.0, 26.0),
        lamps=(28.0, 45.0),
        signs=(35.0, 80.0),
        garden_trees=4,
        parked=(0.15, 0.45),
        lorries=0.02,
        people=(0.5, 3.0),
        bicycles=(0.0, 1.0),
        clutter=(0.5, 2.0),
    ),
    "avenue": Surroundings(
        houses={"terrace": 0.5, "office": 0.5},
        width=(14.0, 26.0),
        height=(15.0, 34.0),
        depth=(12.0, 16.0),
        setback=(0.0, 0.0, 3.0),
        gap=(0.0, 0.0, 0.05, 4.0),
        empty=0.06,
        fenced=0.3,
        green=0.1,
        trees=(8.0, 10.0, 13.0),
        lamps=(22.0, 32.0),
        signs=(20.0, 45.0),
        garden_trees=2,
        parked=(0.5, 0.9),
        lorries=0.06,
        people=(4.0, 11.0),
        bicycles=(1.0, 7.0),
        clutter=(4.0, 11.0),
    ),
    "crossroads": Surroundings(
        houses={"office": 0.5, "terrace": 0.35, "hall": 0.1, "chapel": 0.05},
        width=(12.0, 24.0),
        height=(9.0, 28.0),
        depth=(11.0, 16.0),
        setback=(0.0, 2.0, 4.0),
        gap=(0.0, 0.05, 3.0, 8.0),
        empty=0.14,
        fenced=0.4,
        green=0.35,
        trees=(0.0, 12.0, 20.0),
        lamps=(20.0, 30.0),
        signs=(15.0, 35.0),
        garden_trees=3,
        parked=(0.3, 0.8),
        lorries=0.08,
        people=(2.0, 8.0),
        bicycles=(0.0, 4.0),
        clutter=(3.0, 9.0),
    ),
    "industrial": Surroundings(
        houses={"hall": 0.6, "tanks": 0.13, "containers": 0.17, "office": 0.1},
        width=(20.0, 42.0),
        height=(6.0, 12.0),
        depth=(16.0, 24.0),
        setback=(5.0, 8.0, 11.0),
        gap=(4.0, 8.0, 12.0),
        empty=0.12,
        fenced=0.9,
        green=0.3,
        trees=(0.0, 0.0, 28.0),
        lamps=(30.0, 45.0),
        signs=(30.0, 70.0),
        garden_trees=1,
        parked=(0.2, 0.6),
        lorries=0.5,
        people=(0.2, 1.5),
        bicycles=(0.0, 0.5),
        clutter=(0.5, 3.0),
    ),
    "park": Surroundings(
        houses={"terrace": 0.6, "detached": 0.25, "office": 0.15},
        width=(9.0, 18.0),
        height=(8.0, 18.0),
        depth=(9.0, 13.0),
        setback=(0.0, 3.0, 5.0),
        gap=(0.0, 0.05, 3.0),
        empty=0.1,
        fenced=0.7,
        green=0.8,
        trees=(8.0, 11.0),
        lamps=(22.0, 34.0),
        signs=(25.0, 60.0),
        garden_trees=4,
        parked=(0.2, 0.7),
        lorries=0.03,
        people=(2.0, 7.0),
        bicycles=(1.0, 5.0),
        clutter=(4.0, 10.0),
    ),
}
STYLES = {name: Layout(_ROADS[name], _SURROUNDINGS[name]) for name in _ROADS}
