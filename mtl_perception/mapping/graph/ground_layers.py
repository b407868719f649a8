# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of the scene graph that lie on the ground: places, rooms with road segments, buildings with streets.

They have Hydra's ids and names. An edge between two layers goes from the parent: a building or street has rooms or road
segments, these have places, a place has the objects that are nearest to it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
import spark_dsg
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.ground_graph import GroundView
from mtl_perception.mapping.graph.objects import MapObject
from mtl_perception.mapping.graph.regions import Area, Region
from mtl_perception.mapping.graph.scene_graph import SceneEdge, SceneGraphView, SceneLayer, SceneNode

PLACE_LAYER, ROOM_LAYER, BUILDING_LAYER = (
    spark_dsg.DsgLayers.PLACES,
    spark_dsg.DsgLayers.ROOMS,
    spark_dsg.DsgLayers.BUILDINGS,
)
_LAYER_IDS = {PLACE_LAYER: 3, ROOM_LAYER: 4, BUILDING_LAYER: 5}
_NO_LABEL = -1
_GREY = (150, 150, 150)  # of places without a region
_NEAR_PLACES = 16  # that an object looks at for one in its own region
_REACH = 5.0  # metres from an object to its place


def with_ground(
    view: SceneGraphView,
    ground: GroundView,
    objects: Sequence[MapObject],
    object_regions: NDArray[np.int64],
    labels: LabelSpace,
) -> SceneGraphView:
    """Return a view of the graph with the layers of the ground; `object_regions` (N,) as `GroundGraph.regions_at`."""
    nodes = (*_place_nodes(ground, labels), *region_nodes(ground.regions), *area_nodes(ground.areas))
    counts = {PLACE_LAYER: len(ground.places), ROOM_LAYER: len(ground.regions), BUILDING_LAYER: len(ground.areas)}
    layers = tuple(SceneLayer(name, number, counts[name]) for name, number in _LAYER_IDS.items())
    return SceneGraphView(
        view.layers + layers, view.nodes + nodes, view.edges + _edges(ground, objects, object_regions)
    )


def add_ground(
    graph: spark_dsg.DynamicSceneGraph,
    ground: GroundView,
    objects: Sequence[MapObject],
    object_regions: NDArray[np.int64],
    labels: LabelSpace,
) -> None:
    """Add the layers of the ground to spark-dsg's graph, which has these objects."""
    names = {label.id: label.name for label in labels.labels}
    graph.set_labelspace(spark_dsg.Labelspace(names), _LAYER_IDS[PLACE_LAYER], 0)
    places = ground.places
    for index, node in enumerate(_place_nodes(ground, labels)):
        place = spark_dsg.PlaceNodeAttributes()
        _fill(place, node)
        place.distance = float(places.clearance[index])
        place.semantic_label = node.label
        graph.add_node(PLACE_LAYER, node.id, place)
    for region, node in zip(ground.regions, region_nodes(ground.regions), strict=True):
        room = spark_dsg.RoomNodeAttributes()
        _fill(room, node)
        room.metadata.set({"kind": region.kind, "area": region.area, **_seen(node)})
        graph.add_node(ROOM_LAYER, node.id, room)
    for area, node in zip(ground.areas, area_nodes(ground.areas), strict=True):
        building = spark_dsg.SemanticNodeAttributes()
        _fill(building, node)
        building.metadata.set({"kind": area.kind, **_seen(node)})
        graph.add_node(BUILDING_LAYER, node.id, building)
    for edge in _edges(ground, objects, object_regions):
        attributes = spark_dsg.EdgeAttributes()
        attributes.weighted, attributes.weight = True, edge.weight
        graph.insert_edge(edge.source, edge.target, attributes)


def _fill(attributes: spark_dsg.SemanticNodeAttributes, node: SceneNode) -> None:
    attributes.name = node.name if node.layer == PLACE_LAYER else f"{node.label_name} {node.name[2:-1]}"
    attributes.position = node.centroid
    attributes.color = np.array(node.colour, dtype=np.uint8)
    attributes.last_update_time_ns = node.last_seen_ns
    attributes.is_active = True
    attributes.semantic_label = spark_dsg.SemanticNodeAttributes.NO_SEMANTIC_LABEL
    if node.size.any():
        attributes.bounding_box = spark_dsg.BoundingBox(node.size.astype(np.float32), node.position.astype(np.float32))


def _seen(node: SceneNode) -> dict[str, int]:
    return {"first_seen_ns": node.first_seen_ns, "last_seen_ns": node.last_seen_ns}


def _place_nodes(ground: GroundView, labels: LabelSpace) -> tuple[SceneNode, ...]:
    places, names = ground.places, labels.names
    colours = {region: _colour(region) for region in np.unique(ground.place_region).tolist()}
    return tuple(
        SceneNode(
            id=_place(number),
            layer=PLACE_LAYER,
            name=f"p({number})",
            label=label,
            label_name=names[label],
            confidence=1.0,
            position=position,
            centroid=position,
            size=np.zeros(3),
            colour=colours[region],
            first_seen_ns=first,
            last_seen_ns=last,
        )
        for number, label, position, region, first, last in zip(
            places.ids.tolist(),
            places.labels.tolist(),
            places.positions,
            ground.place_region.tolist(),
            places.first_seen_ns.tolist(),
            places.last_seen_ns.tolist(),
            strict=True,
        )
    )


def region_nodes(regions: Sequence[Region]) -> tuple[SceneNode, ...]:
    """Return the nodes of regions."""
    return tuple(_flat_node(region, ROOM_LAYER, _region, "R") for region in regions)


def area_nodes(areas: Sequence[Area]) -> tuple[SceneNode, ...]:
    """Return the nodes of areas."""
    return tuple(_flat_node(area, BUILDING_LAYER, _area, "B") for area in areas)


def _flat_node(item: Region | Area, layer: str, symbol: Callable[[int], int], letter: str) -> SceneNode:
    return SceneNode(
        id=symbol(item.id),
        layer=layer,
        name=f"{letter}({item.id})",
        label=_NO_LABEL,
        label_name=item.kind,
        confidence=1.0,
        position=(item.minimum + item.maximum) / 2,
        centroid=item.centroid,
        size=item.maximum - item.minimum,
        colour=_colour(item.id),
        first_seen_ns=item.first_seen_ns,
        last_seen_ns=item.last_seen_ns,
    )


def _edges(
    ground: GroundView, objects: Sequence[MapObject], object_regions: NDArray[np.int64]
) -> tuple[SceneEdge, ...]:
    """Return all edges, within layers and from parents to children; they are as long as it is between centroids."""
    places = {
        _place(number): at for number, at in zip(ground.places.ids.tolist(), ground.places.positions, strict=True)
    }
    ids = list(places)
    pairs = [(ids[one], ids[other]) for one, other in ground.places.edges.tolist()]
    for region in ground.regions:
        pairs += [(_region(region.id), _region(other)) for other in region.neighbours if other > region.id]
        pairs += [(_region(region.id), _place(place)) for place in region.places.tolist()]
    pairs += [(_area(area.id), _region(region)) for area in ground.areas for region in area.regions]
    nearest = _nearest_places(ground, np.array([item.centroid for item in objects]).reshape(-1, 3), object_regions)
    pairs += [
        (ids[place], _object(item.id)) for item, place in zip(objects, nearest.tolist(), strict=True) if place >= 0
    ]
    at = places | {_object(item.id): item.centroid for item in objects}
    at |= {_region(region.id): region.centroid for region in ground.regions}
    at |= {_area(area.id): area.centroid for area in ground.areas}
    if not pairs:
        return ()
    start, end = (np.array([at[pair[side]] for pair in pairs]) for side in (0, 1))
    lengths = np.linalg.norm(start - end, axis=1).tolist()
    return tuple(SceneEdge(one, other, length) for (one, other), length in zip(pairs, lengths, strict=True))


def _nearest_places(
    ground: GroundView, positions: NDArray[np.float64], regions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the index (N,) of the nearest place for each position (N, 3); -1 where there is none near.

    One in the position's own region comes before all others: the nearest one may be behind a wall.
    """
    if not len(positions) or not len(ground.places):
        return np.full(len(positions), -1, dtype=np.int64)
    count = min(_NEAR_PLACES, len(ground.places))
    tree = cKDTree(ground.places.positions[:, :2])
    apart, place = tree.query(positions[:, :2], k=np.arange(1, count + 1), distance_upper_bound=_REACH)
    near = np.isfinite(apart)
    own = near & (ground.place_region[np.where(near, place, 0)] == regions[:, None]) & (regions[:, None] >= 0)
    best = np.where(own.any(axis=1), own.argmax(axis=1), 0)
    result = place[np.arange(len(place)), best]
    return np.where(near[:, 0], result, -1)


def _colour(number: int) -> tuple[int, int, int]:
    """Return a colour for a region or area, far from those of the numbers beside it."""
    if number < 0:
        return _GREY
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.55, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _symbol(letter: str) -> Callable[[int], int]:
    first = int(spark_dsg.NodeSymbol(letter, 0).value)
    return lambda number: first + number


_object, _place, _region, _area = (_symbol(letter) for letter in "OpRB")
