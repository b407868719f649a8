# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the mapping node that are changed while it maps, over real DDS."""

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.core import Camera, CameraPrediction, Detection, LabelSpace, Prediction
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.messages.points import read_point_cloud
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.resources import config_file
from mtl_perception_msgs.msg import SceneGraphChanges

LABELS = LabelSpace.load(config_file("labels", "default"))
GREY = 100
SUCCESS = TransitionCallbackReturn.SUCCESS


def a_wall(number, depth=2.0):
    """What a camera sees of a wall before it, grey in the image, and a car beside it."""
    width, height = 64, 48
    camera = Camera("front", width, height, np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]]), BODY_FROM_OPTICAL)
    seen = CameraPrediction(
        camera=camera,
        stamp_ns=number * 10**8,
        world_from_camera=BODY_FROM_OPTICAL,
        colour=np.full((height, width, 3), GREY, np.uint8),
        depth=np.full((height, width), depth, np.float32),
        depth_std=np.full((height, width), 0.2, np.float32),
        semantic=np.full((height, width), LABELS.id_of("wall"), np.uint8),
    )
    car = Detection(LABELS.id_of("car"), 0.9, (5.0, 3.0, 0.7), (4.0, 1.8, 1.5), 0.0, (0.0, 0.0))
    tasks = ("depth", "semantic", "detections")
    return Prediction(number * 10**8, {"front": seen}, "base_link", "odom", np.eye(4), detections=(car,), tasks=tasks)


class Map:
    """A mapping node that gets frame after frame of the wall."""

    def __init__(self, graph, **values):
        self.graph, self.frames = graph, 0
        rates = {f"{name}_rate": 30.0 for name in ("mesh", "points", "scene_graph", "scene_graph_changes")}
        values = {"frame_policy": "every", "voxel_size": 0.1, **rates, **values}
        self.node = MappingNode(context=graph.context, in_process=True, parameter_overrides=graph.overrides(**values))
        assert self.node.trigger_configure() == SUCCESS
        assert self.node.trigger_activate() == SUCCESS
        graph.add(self.node)
        graph.until(lambda: self.node.count_subscribers("mapping/progress"), "a listener")

    def go_on(self, depth=2.0):
        self.frames += 1
        self.node.submit(a_wall(self.frames, depth))
        self.graph.until(lambda: len(self.graph.progress["mapping"]) == self.frames, "progress")
        return self.graph.progress["mapping"][-1]

    def change(self, **values):
        """Return why the first of them is refused, or ""."""
        parameters = [parameter.to_parameter_msg() for parameter in self.graph.overrides(**values)]
        results = self.graph.call(SetParameters, "mapping/set_parameters", parameters=parameters).results
        return next((result.reason for result in results if not result.successful), "")


def colours_of(markers):
    return {tuple(round(255 * part) for part in (c.r, c.g, c.b)) for marker in markers for c in marker.colors}


def test_surfaces_take_the_colours_of_classes_and_those_take_others(graph):
    mapped = Map(graph)
    meshes, clouds = graph.hear(MarkerArray, "mapping/mesh", 100), graph.hear(PointCloud2, "mapping/points")

    def shown():
        """The colours of what a viewer shows, and of the newest cloud."""
        markers = {}
        for array in list(meshes):
            for marker in array.markers:
                if marker.action == Marker.ADD:
                    markers[marker.id] = marker
                else:
                    markers.clear() if marker.action == Marker.DELETEALL else markers.pop(marker.id, None)
        cloud = read_point_cloud(clouds[-1]) if clouds and clouds[-1].width else None
        rgb = set() if cloud is None else {int(value) for value in np.unique(cloud["rgb"].view(np.uint32) & 0xFFFFFF)}
        return colours_of(markers.values()), rgb

    def expect(colour):
        red, green, blue = colour
        graph.until(lambda: shown() == ({colour}, {red << 16 | green << 8 | blue}), f"a map that is all {colour}")

    mapped.go_on()
    expect((GREY, GREY, GREY))
    assert mapped.change(surface_colours="labels") == ""
    expect(LABELS.labels[LABELS.id_of("wall")].colour)  # without another frame
    assert mapped.change(label_colours=["wall=#0a141e"]) == ""
    mapped.go_on()
    expect((10, 20, 30))
    assert mapped.change(surface_colours="camera") == ""
    expect((GREY, GREY, GREY))


def test_tracks_take_the_colours_of_their_classes(graph):
    mapped = Map(graph)
    heard = graph.hear(SceneGraphChanges, "mapping/scene_graph_changes", 100)

    def colour():
        found = [node.color for changes in list(heard) for node in changes.nodes if node.name.startswith("T(")]
        return tuple(round(255 * part) for part in (found[-1].r, found[-1].g, found[-1].b)) if found else None

    for _ in range(4):
        mapped.go_on()
    graph.until(lambda: colour() == LABELS.labels[LABELS.id_of("car")].colour, "a track in its class's colour")
    assert mapped.change(label_colours=["car=#0a141e"]) == ""
    mapped.go_on()
    graph.until(lambda: colour() == (10, 20, 30), "the track in the new colour")


def test_thresholds_hold_from_the_next_frame_on(graph):
    mapped = Map(graph, max_relative_std=0.05)
    assert mapped.go_on().used and mapped.node._mapper.stats.vertices == 0  # 0.2 m of 2 m is too uncertain
    assert mapped.change(max_relative_std=0.2) == ""
    assert mapped.go_on().used and mapped.node._mapper.stats.vertices > 100
    assert mapped.change(min_depth=1.0, on_pose_jump="refuse") == ""
    assert mapped.node._mapper.config.min_depth == 0.2  # until then
    mapped.go_on(depth=0.5)
    assert mapped.node._mapper.config.min_depth == 1.0 and mapped.node._mapper.config.on_pose_jump == "refuse"
    assert (
        mapped.node.trigger_deactivate() == mapped.node.trigger_cleanup() == mapped.node.trigger_configure() == SUCCESS
    )
    assert mapped.node._mapper.config.min_depth == 1.0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"label_colours": ["wal=#0a141e"]}, "there is no class 'wal' (there are: sky, road,"),
        ({"label_colours": ["wall=grey"]}, "'wall=grey' is not of the form class=#rrggbb, e.g. road=#804080"),
        ({"voxel_size": 0.2}, "it is applied when the node is configured: clean the node up first"),
        ({"max_relative_std": 11.0}, "more than 0.0, up to 10.0 is allowed (double)"),
        ({"on_pose_jump": "hop"}, "one of move, spread, refuse is allowed (string)"),
        ({"mesh_rate": -1.0}, "0.0 to 30.0 Hz is allowed (double)"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(graph, values, reason):
    mapped = Map(graph)
    before = mapped.node._settings.value
    ((name, value),) = values.items()
    assert mapped.change(**values).startswith(f"node '/mapping': parameter '{name}' = {value!r} is refused: {reason}")
    assert mapped.node._settings.value == before


def test_colours_of_unknown_classes_stop_the_configuration(graph):
    values = graph.overrides(label_colours=["wal=#0a141e"])
    node = graph.add(MappingNode(context=graph.context, in_process=True, parameter_overrides=values))
    assert node.trigger_configure() != SUCCESS
    graph.until(lambda: "mapping: lifecycle" in graph.statuses, "diagnostics")
    graph.until(lambda: "there is no class 'wal'" in graph.statuses["mapping: lifecycle"].message, "the reason")
    assert node.set_parameters(graph.overrides(label_colours=[""]))[0].successful
    assert node.trigger_configure() == SUCCESS


def test_a_rate_is_changed_and_nothing_is_sent_that_nobody_watches(graph):
    mapped = Map(graph, mesh_rate=0.0)
    sent = []
    outputs = mapped.node._outputs._outputs
    for name, output in outputs.items():
        output.publish = lambda name=name, publish=output.publish: (sent.append(name), publish())
    meshes = graph.hear(MarkerArray, "mapping/mesh", 100)
    mapped.go_on()
    mapped.go_on()
    assert sent == [] and meshes == []
    assert mapped.change(mesh_rate=30) == ""  # a whole number will do
    graph.until(lambda: any(marker.action == Marker.ADD for array in meshes for marker in array.markers), "the mesh")
    assert set(sent) == {"mesh"}
