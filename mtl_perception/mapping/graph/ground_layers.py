# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nodes of the layers that lie on the ground: places, rooms with road segments, buildings with streets.

They have Hydra's ids and names. An edge between two layers goes from the parent: a building or street has rooms or road
segments, these have places, a place has the objects that are nearest to it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spark_dsg
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.places import Places
from mtl_perception.mapping.graph.regions import Area, Region
from mtl_perception.mapping.graph.scene_graph import (
    BUILDING_LAYER,
    PLACE_LAYER,
    ROOM_LAYER,
    SceneEdge,
    SceneNode,
    are_same,
    symbol,
)

PLACE_SYMBOL, ROOM_SYMBOL, BUILDING_SYMBOL = symbol("p"), symbol("R"), symbol("B")

_NO_LABEL = -1
_GREY = (150, 150, 150)  # of places without a region
_NO_EXTENT = np.zeros(3)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class PlaceNode(SceneNode):
    """A place; `clearance` is the distance to the nearest obstacle, metres."""

    clearance: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RegionNode(SceneNode):
    """A room, road segment or junction; `area` is what was seen of it, square metres."""

    area: float


def place_nodes(places: Places, regions: NDArray[np.int64], labels: LabelSpace) -> list[SceneNode]:
    """Return the nodes of places, of which each is in a region (N,); -1 for none."""
    names = labels.names
    colours = {region: _colour(region) for region in np.unique(regions).tolist()}
    return [
        PlaceNode(
            id=PLACE_SYMBOL + number,
            layer=PLACE_LAYER,
            name=f"p({number})",
            label=label,
            label_name=names[label],
            confidence=1.0,
            position=position,
            centroid=position,
            size=_NO_EXTENT,
            colour=colours[region],
            first_seen_ns=first,
            last_seen_ns=last,
            clearance=clearance,
        )
        for number, label, position, region, first, last, clearance in zip(
            places.ids.tolist(),
            places.labels.tolist(),
            map(np.copy, places.positions),  # rows of an array would keep all of it
            regions.tolist(),
            places.first_seen_ns.tolist(),
            places.last_seen_ns.tolist(),
            places.clearance.tolist(),
            strict=True,
        )
    ]


def region_nodes(regions: Sequence[Region]) -> list[SceneNode]:
    """Return the nodes of regions."""
    return [
        RegionNode(
            id=ROOM_SYMBOL + region.id,
            layer=ROOM_LAYER,
            name=f"R({region.id})",
            label=_NO_LABEL,
            label_name=region.kind,
            confidence=1.0,
            position=(region.minimum + region.maximum) / 2,
            centroid=region.centroid,
            size=region.maximum - region.minimum,
            colour=_colour(region.id),
            first_seen_ns=region.first_seen_ns,
            last_seen_ns=region.last_seen_ns,
            area=region.area,
        )
        for region in regions
    ]


def area_nodes(areas: Sequence[Area]) -> list[SceneNode]:
    """Return the nodes of areas."""
    return [
        SceneNode(
            id=BUILDING_SYMBOL + area.id,
            layer=BUILDING_LAYER,
            name=f"B({area.id})",
            label=_NO_LABEL,
            label_name=area.kind,
            confidence=1.0,
            position=(area.minimum + area.maximum) / 2,
            centroid=area.centroid,
            size=area.maximum - area.minimum,
            colour=_colour(area.id),
            first_seen_ns=area.first_seen_ns,
            last_seen_ns=area.last_seen_ns,
        )
        for area in areas
    ]


def edges_to_regions(area: Area) -> list[SceneEdge]:
    """Return the edges from an area to its regions."""
    return [SceneEdge(BUILDING_SYMBOL + area.id, ROOM_SYMBOL + region, 1.0) for region in area.regions]


def fill_place(attributes: spark_dsg.PlaceNodeAttributes, node: PlaceNode, before: SceneNode | None) -> None:
    """Set spark-dsg's attributes of a place; those of `before` are known to be set."""
    attributes.last_update_time_ns = node.last_seen_ns
    if before is not None and are_same(before, node, but="last_seen_ns"):  # as most of those that a camera sees again
        return
    _fill(attributes, node, node.name)
    attributes.distance = node.clearance
    attributes.semantic_label = node.label


def fill_region(attributes: spark_dsg.RoomNodeAttributes, node: RegionNode) -> None:
    """Set spark-dsg's attributes of a room, road segment or junction."""
    _fill_flat(attributes, node)
    attributes.metadata.set({"kind": node.label_name, "area": node.area, **_seen(node)})


def fill_area(attributes: spark_dsg.SemanticNodeAttributes, node: SceneNode) -> None:
    """Set spark-dsg's attributes of a building or street."""
    _fill_flat(attributes, node)
    attributes.metadata.set({"kind": node.label_name, **_seen(node)})


def _fill_flat(attributes: spark_dsg.SemanticNodeAttributes, node: SceneNode) -> None:
    _fill(attributes, node, f"{node.label_name} {node.name[2:-1]}")
    attributes.semantic_label = spark_dsg.SemanticNodeAttributes.NO_SEMANTIC_LABEL
    attributes.bounding_box = spark_dsg.BoundingBox(node.size.astype(np.float32), node.position.astype(np.float32))


def _fill(attributes: spark_dsg.SemanticNodeAttributes, node: SceneNode, name: str) -> None:
    attributes.name = name
    attributes.position = node.centroid
    attributes.color = np.array(node.colour, dtype=np.uint8)
    attributes.last_update_time_ns = node.last_seen_ns
    attributes.is_active = True


def _seen(node: SceneNode) -> dict[str, int]:
    return {"first_seen_ns": node.first_seen_ns, "last_seen_ns": node.last_seen_ns}


def _colour(number: int) -> tuple[int, int, int]:
    """Return a colour for a region or area, far from those of the numbers beside it."""
    if number < 0:
        return _GREY
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.55, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
