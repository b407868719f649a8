# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic lights at the stop lines of junctions, which are red for the robot while it waits at them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.scene import Scene, pose, posed
from mtl_perception.data.world.street.driving import Wait
from mtl_perception.data.world.street.markings import stop_distance
from mtl_perception.data.world.street.roads import KERB_M, Junction, StreetPlan
from mtl_perception.data.world.street.site import Site
from mtl_perception.data.world.things.street_furniture import AMBER, GREEN, RED, lit_parts, traffic_light

VISIBLE_M = 120.0
RED_BEFORE_S, AMBER_S, GREEN_BEFORE_S = 4.0, 2.0, 0.5
"""The light turns red so long before the robot stands, after amber, and green so long before it starts again."""

CLEARING_S = 1.0
"""Between the red of one road and the green of the other."""

POST_TO_STOP_M = 0.4


def add_traffic_lights(
    scene: Scene, plan: StreetPlan, site: Site, waits: Sequence[Wait], generator: np.random.Generator
) -> None:
    """Add lights to all junctions of a plan that have them; road 0 has green but for the robot's waits there."""
    for junction in plan.junctions:
        if not junction.has_traffic_lights:
            continue
        stops = [(w.since, w.until) for w in waits if w.cause == "junction" and abs(w.s - junction.s) < junction.half]
        for world_from_light, is_main in _places(plan, site, junction):
            _add_light(scene, world_from_light, is_main, stops, generator)


def signal_at(seconds: float, stops: Sequence[tuple[float, float]], is_main: bool) -> int:
    """Return GREEN, AMBER or RED of road 0 (`is_main`) or of the other road; road 0's users wait during `stops`."""
    for since, until in stops:
        red, green = since - RED_BEFORE_S, until - GREEN_BEFORE_S
        if is_main and red - AMBER_S <= seconds < green:
            return RED if seconds >= red else AMBER
        if not is_main and red + CLEARING_S <= seconds < green - CLEARING_S:
            return GREEN if seconds < green - CLEARING_S - AMBER_S else AMBER
    return GREEN if is_main else RED


def _places(plan: StreetPlan, site: Site, junction: Junction) -> list[tuple[Transform, bool]]:
    """Return the frames of a junction's lights, which face along +x, and whether they are for road 0."""
    approaches = [(0, junction.s, side, junction.half) for side in (1, -1)]
    approaches += [(junction.other, junction.other_s, arm, junction.other_half) for arm in junction.arms]
    result = []
    for index, centre, side, reach in approaches:
        road = plan.roads[index]
        s = centre + side * (stop_distance(plan, index, centre, side, reach) - POST_TO_STOP_M)
        for kerb in (1, -1) if road.lanes > 1 else (1,):
            x, y, _ = (float(v) for v in road.line.points(s, kerb * side * plan.side * (road.half + 0.45)))
            if site.way_to_drive(np.array([[x, y]]))[0] < VISIBLE_M and site.stand(x, y, 0.2):
                facing = float(road.line.heading(s)) + (0.0 if side > 0 else np.pi)
                result.append((pose(x, y, KERB_M, facing), index == 0))
    return result


def _add_light(
    scene: Scene,
    world_from_light: Transform,
    is_main: bool,
    stops: Sequence[tuple[float, float]],
    generator: np.random.Generator,
) -> None:
    """Add a light: as a still thing if it never changes."""
    post, head = traffic_light(scene, generator)
    scene.add(post, "pole", world_from_light)
    if not stops:
        scene.add(posed(head, lit_parts(signal_at(0.0, stops, is_main))), "sign", world_from_light)
        return
    by_signal = {signal: world_from_light @ lit_parts(signal) for signal in (GREEN, AMBER, RED)}
    scene.add_actor(head, "sign", lambda seconds: by_signal[signal_at(seconds, stops, is_main)])
