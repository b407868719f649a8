# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The mapping node: by topic and by reference, its outputs and its services."""

import threading
import weakref

import numpy as np
import pytest
from geometry_msgs.msg import Point, PointStamped, Pose, PoseStamped, Quaternion
from nav_msgs.msg import OccupancyGrid, Path
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.core import CameraPrediction, LabelSpace, Prediction
from mtl_perception.data.world import World
from mtl_perception.messages.points import read_point_cloud
from mtl_perception.messages.poses import to_pose
from mtl_perception.messages.predictions import to_rig_prediction
from mtl_perception.messages.stamps import to_time
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.resources import config_file
from mtl_perception.ros import qos
from mtl_perception_msgs.msg import Progress, RigPrediction, SceneGraph, SceneGraphChanges
from mtl_perception_msgs.srv import FindObjects, FindRegion, FindWay, LoadMap, MergeMap, SaveMap

KINDS = {
    "mesh": MarkerArray,
    "points": PointCloud2,
    "occupancy_grid": OccupancyGrid,
    "scene_graph": SceneGraph,
    "scene_graph_changes": SceneGraphChanges,
    "occupancy_band": OccupancyGrid,
    "esdf_slice": PointCloud2,
}
SUCCESS = TransitionCallbackReturn.SUCCESS


@pytest.fixture(scope="module")
def predictions():
    """What a perfect perception would say about a rendered room."""
    labels = LabelSpace.load(config_file("labels", "default"))
    world = World.generate("indoor", 5, labels, cameras="mono", image_size=(96, 72), duration_s=2.0)
    return [perfect(world, 0.2 * index) for index in range(4)]


def perfect(world, seconds):
    rendered = world.render(seconds)
    frame = rendered.frame
    cameras = {}
    for name, truth in rendered.truth.cameras.items():
        cameras[name] = CameraPrediction(
            camera=world.rig[name],
            stamp_ns=frame.image_stamps_ns[name],
            world_from_camera=frame.world_from_camera[name],
            colour=frame.images[name],
            depth=np.where(np.isfinite(truth.depth), truth.depth, np.float32(np.nan)),
            depth_std=np.full_like(truth.depth, 0.01),
            semantic=truth.semantic,
            semantic_confidence=np.full_like(truth.depth, 0.5),
            motion_mask=truth.motion_mask,
        )
    return Prediction(
        stamp_ns=frame.stamp_ns,
        cameras=cameras,
        base_frame="base_link",
        world_frame="odom",
        world_from_base=frame.world_from_base,
        tasks=("depth", "semantic", "motion_mask"),
    )


@pytest.fixture
def start(graph, tmp_path):
    def start(namespace="", in_process=False, **values):
        values = {"frame_policy": "every", "voxel_size": 0.1, "map_folder": str(tmp_path), **values}
        rates = {f"{name}_rate": 30.0 for name in KINDS}
        node = MappingNode(
            context=graph.context,
            namespace=namespace,
            in_process=in_process,
            parameter_overrides=graph.overrides(**rates, **values),
        )
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        graph.add(node)
        graph.until(lambda: node.count_subscribers(f"{namespace}/mapping/progress") or namespace, "a listener")
        return node

    return start


def vertices(node):
    found = node._mapper.mesh().vertices
    return found[np.lexsort(found.T)]


def test_by_topic_and_by_reference_give_the_same_map(graph, start, predictions):
    by_topic, by_reference = start(), start(namespace="/reference", in_process=True)
    publisher = graph.watcher.create_publisher(RigPrediction, "perception/frame", qos.output())
    graph.until(lambda: publisher.get_subscription_count() == 1, "the subscription")
    mapped = graph.hear(Progress, "/reference/mapping/progress", 100)
    for index, prediction in enumerate(predictions):
        publisher.publish(to_rig_prediction(prediction))
        by_reference.submit(prediction)
        graph.until(lambda count=index + 1: len(graph.progress["mapping"]) == count == len(mapped), "progress of both")
    assert all(progress.used for progress in (*graph.progress["mapping"], *mapped))
    assert len(vertices(by_topic)) > 500
    np.testing.assert_allclose(vertices(by_topic), vertices(by_reference), atol=1e-6)


def test_every_output_of_a_map(graph, start, predictions):
    node = start(in_process=True)
    heard = {topic: graph.hear(kind, f"mapping/{topic}") for topic, kind in KINDS.items()}
    markers = graph.hear(MarkerArray, "mapping/scene_graph_markers")
    node.submit(predictions[0])
    graph.until(lambda: all(heard.values()) and markers, "every topic")
    graph.until(lambda: heard["points"][-1].header.stamp.sec, "a map that is not empty any more")
    assert heard["points"][-1].header.frame_id == "odom"
    assert heard["points"][-1].width > 100
    assert heard["occupancy_grid"][-1].info.width > 0
    assert bytes(heard["scene_graph"][-1].spark_dsg)
    graph.until(lambda: any(m.action == Marker.ADD for a in heard["mesh"] for m in a.markers), "a block of the mesh")
    late = graph.hear(MarkerArray, "mapping/mesh", 11)  # who comes late gets the whole mesh
    graph.until(lambda: sum(m.action == Marker.ADD for a in late for m in a.markers) > 1, "all blocks")


def test_the_band_and_the_distance_field_around_the_robot(graph, start, predictions):
    node = start(in_process=True, band_radius=3.0, esdf_max_distance=1.0)
    bands, fields = graph.hear(OccupancyGrid, "mapping/occupancy_band"), graph.hear(PointCloud2, "mapping/esdf_slice")
    for prediction in predictions:
        node.submit(prediction)
    graph.until(lambda: len(graph.progress["mapping"]) == len(predictions), "progress")
    stamp = to_time(predictions[-1].stamp_ns)
    graph.until(lambda: all(heard and heard[-1].header.stamp == stamp for heard in (bands, fields)), "the newest")
    x, y, _ = predictions[-1].world_from_base[:3, 3].tolist()
    bounds = (x - 3, y - 3, x + 3, y + 3)
    expected, field = node._mapper.occupancy_band(0.2, 1.8, bounds), node._mapper.esdf_slice(0.2, 1.8, bounds, 1.0)
    band, points = bands[-1], read_point_cloud(fields[-1])
    assert np.array_equal(np.array(band.data).reshape(expected.data.shape), expected.data)
    assert (band.info.origin.position.x, band.info.origin.position.y) == pytest.approx(expected.origin)
    assert band.info.width == pytest.approx(6 / band.info.resolution, abs=2) and {0, 100} < set(band.data)
    assert np.array_equal(points["intensity"], field.data[~np.isnan(field.data)])
    assert (np.hypot(points["x"] - x, points["y"] - y) < 4.5).all() and np.ptp(points["z"]) == 0
    count = len(bands)
    node.set_parameters_atomically(graph.overrides(band_min_height=50.0, band_max_height=51.0))
    graph.until(lambda: len(bands) > count, "another band without another frame")
    assert set(bands[-1].data) == {-1}


def followed(messages):
    """The ids of nodes and the ends of edges of a graph that was followed, and its number."""
    nodes, edges, sequence = set(), set(), -1
    for message in messages:
        if message.starts_anew:
            nodes, edges, sequence = set(), set(), message.previous
        if message.previous == sequence:
            edges -= {(edge.source, edge.target) for edge in message.removed_edges}
            nodes -= set(message.removed_nodes)
            nodes |= {node.id for node in message.nodes}
            edges |= {(edge.source, edge.target) for edge in message.edges}
            sequence = message.sequence
    return nodes, edges, sequence


def test_the_scene_graph_can_be_followed_step_by_step(graph, start, predictions):
    node = start(in_process=True)
    heard = graph.hear(SceneGraphChanges, "mapping/scene_graph_changes", 100)
    wholes = graph.hear(SceneGraph, "mapping/scene_graph")
    for count, prediction in enumerate(predictions, 1):
        node.submit(prediction)
        stamp = to_time(prediction.stamp_ns)
        graph.until(lambda stamp=stamp: heard and heard[-1].header.stamp == stamp, "changes of the frame")
        assert len(graph.progress["mapping"]) <= count
    assert heard[0].starts_anew and not any(message.starts_anew for message in heard[1:])
    view = node._mapper.scene_graph()
    expected = {each.id for each in view.nodes}, {edge.ends for edge in view.edges}, view.sequence
    assert followed(heard) == expected and len(view.nodes) > 10
    late = graph.hear(SceneGraphChanges, "mapping/scene_graph_changes", 11)  # who comes late gets all of it first
    graph.until(lambda: late, "the graph from nothing")
    assert followed(late) == followed(heard) == expected
    graph.until(lambda: wholes and wholes[-1].sequence == view.sequence, "the whole graph")
    assert {each.id for each in wholes[-1].nodes} == expected[0]
    assert {(edge.source, edge.target) for edge in wholes[-1].edges} == expected[1]
    assert graph.call(Trigger, "mapping/reset").success
    graph.until(lambda: followed(heard)[0] == set(), "an empty graph")
    assert heard[-1].starts_anew and heard[-1].sequence > view.sequence


def test_points_are_those_around_the_robot(graph, start, predictions):
    node = start(in_process=True, points_radius=4.0)
    clouds = graph.hear(PointCloud2, "mapping/points")
    node.submit(predictions[0])
    graph.until(lambda: clouds and clouds[-1].width, "points")
    robot = predictions[0].world_from_base[:3, 3]
    every = node._mapper.points()[0]
    near = every[np.linalg.norm(every - robot, axis=1) <= 4.0]
    points = read_point_cloud(clouds[-1])
    assert 0 < len(near) < len(every) and len(points) == len(near)
    count = len(clouds)
    node.set_parameters_atomically(graph.overrides(points_radius=0.0))
    graph.until(lambda: len(clouds) > count, "a cloud without another frame")
    assert clouds[-1].width == len(every)


def test_a_band_upside_down_is_refused(graph, start):
    node = start(in_process=True)
    (result,) = node.set_parameters(graph.overrides(band_max_height=0.1))
    assert not result.successful and "band_min_height 0.2 is above band_max_height 0.1" in result.reason


def test_saving_loses_no_frame(graph, start, predictions):
    node = start(in_process=True, frame_policy="newest")
    copy, copying, go_on = node._mapper.copy, threading.Event(), threading.Event()

    def slow_copy():
        copying.set()
        assert go_on.wait(10.0)
        return copy()

    node._mapper.copy = slow_copy
    saved = []
    caller = threading.Thread(target=lambda: saved.append(graph.call(SaveMap, "mapping/save", path="room")))
    caller.start()
    assert copying.wait(10.0)
    for prediction in predictions:
        node.submit(prediction)
    go_on.set()
    caller.join()
    graph.until(lambda: len(graph.progress["mapping"]) == len(predictions), "progress")
    assert saved[0].success and all(progress.used for progress in graph.progress["mapping"])


def test_the_map_is_saved_by_itself_and_continued(graph, start, predictions, tmp_path):
    node = start(in_process=True, autosave_period=0.1, autosave_path="home", autosave_resume="always")
    node.submit(predictions[0])
    graph.until(lambda: (tmp_path / "home" / "manifest.json").is_file(), "a saved map")
    graph.until(lambda: "mapping: autosave" in graph.statuses, "diagnostics")
    node.submit(predictions[1])
    graph.until(lambda: len(graph.progress["mapping"]) == 2, "progress")
    assert node.trigger_deactivate() == SUCCESS  # saves what has changed since
    before = vertices(node)
    mapper = weakref.ref(node._mapper)
    assert node.trigger_cleanup() == SUCCESS
    graph.until(lambda: mapper() is None, "the map's end")
    assert node.trigger_configure() == SUCCESS
    np.testing.assert_array_equal(vertices(node), before)
    assert node._mapper.stats.frames == 2
    assert node.trigger_cleanup() == SUCCESS
    content = (tmp_path / "home" / "manifest.json").read_bytes()
    (tmp_path / "home" / "manifest.json").write_text("{")
    assert node.trigger_configure() != SUCCESS  # a map that cannot be continued is not replaced by another
    (tmp_path / "home" / "manifest.json").write_bytes(content)
    assert node.trigger_configure() == SUCCESS


def test_an_empty_map_does_not_replace_a_saved_one(graph, start, predictions, tmp_path):
    node = start(in_process=True, autosave_period=0.1)
    node.submit(predictions[0])
    graph.until(lambda: (tmp_path / "autosave").is_dir(), "a saved map")
    assert graph.call(Trigger, "mapping/reset").success
    assert node.trigger_deactivate() == SUCCESS
    assert '"frames": 1' in (tmp_path / "autosave" / "manifest.json").read_text()


def test_save_reset_load(graph, start, predictions, tmp_path):
    node = start(in_process=True)
    node.submit(predictions[0])
    graph.until(lambda: graph.progress["mapping"], "progress")
    before = vertices(node)
    saved = graph.call(SaveMap, "mapping/save", path="room")
    assert saved.success, saved.message
    assert saved.path == str(tmp_path / "room")
    products = {"mesh.ply", "mesh.glb", "scene_graph.sparkdsg", "scene_graph.json", "grid.yaml", "grid.pgm", "esdf.npz"}
    assert products < {path.name for path in (tmp_path / "room").iterdir()}
    assert graph.call(Trigger, "mapping/reset").success
    assert len(vertices(node)) == 0
    assert graph.call(LoadMap, "mapping/load", path="room").success
    np.testing.assert_allclose(vertices(node), before, atol=1e-6)


def test_another_robots_map_is_merged(graph, start, predictions, tmp_path):
    node = start(in_process=True)
    node.submit(predictions[0])
    graph.until(lambda: graph.progress["mapping"], "progress")
    assert graph.call(SaveMap, "mapping/save", path="other").success
    before, objects = len(vertices(node)), len(node._mapper.objects())
    meshes = graph.hear(MarkerArray, "mapping/mesh", 1000)
    graph.until(lambda: meshes, "the mesh")
    meshes.clear()
    beside = Pose(position=Point(x=40.0), orientation=Quaternion(z=0.6, w=0.8))
    merged = graph.call(MergeMap, "mapping/merge", path="other", pose=beside)
    assert merged.success and merged.message == "merged" and merged.pose.position.x == 40.0
    assert len(vertices(node)) == pytest.approx(2 * before, rel=0.1)
    nodes = {item.id for item in node._mapper.scene_graph().nodes}
    assert {*merged.objects} <= nodes and len(merged.other_objects) == len(merged.objects) <= objects
    assert not any(merged.were_known)
    wiped = (Marker.DELETEALL,)
    graph.until(lambda: any(marker.action in wiped for each in meshes for marker in each.markers), "the whole mesh")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ({"path": "../outside"}, "map_folder"),
        ({"path": "nothing"}, "is no readable map"),
        ({"path": "other", "estimate": True}, "the maps do not overlap enough"),
        ({"path": "other", "pose": Pose()}, "quaternion"),
    ],
)
def test_a_merge_that_fails_leaves_the_map(graph, start, predictions, call, text):
    node = start(in_process=True, object_min_vertices=100000)  # no objects: nothing to recognise
    node.submit(predictions[0])
    graph.until(lambda: graph.progress["mapping"], "progress")
    assert graph.call(SaveMap, "mapping/save", path="other").success
    before = vertices(node)
    call = {**call, "pose": Pose(orientation=Quaternion(w=0.0))} if "pose" in call else call
    refused = graph.call(MergeMap, "mapping/merge", **call)
    assert not refused.success and text in refused.message
    np.testing.assert_array_equal(vertices(node), before)


@pytest.mark.parametrize("path", ["../outside", "/etc/map", "."])
def test_paths_stay_inside_of_the_map_folder(graph, start, path):
    start(in_process=True)
    refused = graph.call(SaveMap, "mapping/save", path=path)
    assert not refused.success
    assert "map_folder" in refused.message


def test_failed_load_leaves_the_map(graph, start, predictions, tmp_path):
    node = start(in_process=True)
    node.submit(predictions[0])
    graph.until(lambda: graph.progress["mapping"], "progress")
    before = vertices(node)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    refused = graph.call(LoadMap, "mapping/load", path="broken")
    assert not refused.success
    assert "broken" in refused.message
    np.testing.assert_array_equal(vertices(node), before)


def test_frame_without_a_pose_is_refused_and_mapping_says_so(graph, start, predictions):
    import dataclasses

    node = start(in_process=True)
    cameras = {n: dataclasses.replace(c, world_from_camera=None) for n, c in predictions[0].cameras.items()}
    node.submit(dataclasses.replace(predictions[0], cameras=cameras, world_from_base=None))
    graph.until(lambda: graph.progress["mapping"], "progress")
    assert not graph.progress["mapping"][0].used
    assert "no pose" in graph.progress["mapping"][0].reason
    graph.until(lambda: "mapping: map" in graph.statuses, "diagnostics")
    graph.until(lambda: "mapping is off" in graph.statuses["mapping: map"].message, "the reason in diagnostics")


def test_frame_that_perception_dropped_is_reported_by_mapping_too(graph, start):
    start()
    publisher = graph.watcher.create_publisher(Progress, "perception/progress", qos.progress())
    graph.until(lambda: publisher.get_subscription_count() == 2, "the subscriptions")
    publisher.publish(Progress(node="perception", used=False, reason="bad image"))
    graph.until(lambda: graph.progress["mapping"], "progress")
    assert graph.progress["mapping"][0].reason == "perception: bad image"


def path_of(predictions, shift, frame_id="odom"):
    """A nav_msgs/Path with the poses of predictions, moved by `shift` metres."""
    path = Path()
    path.header.frame_id = frame_id
    for prediction in predictions:
        pose = PoseStamped()
        pose.header.stamp = to_time(prediction.stamp_ns)
        moved = prediction.world_from_base.copy()
        moved[:3, 3] += shift
        pose.pose = to_pose(moved)
        path.poses.append(pose)
    return path


def test_the_map_moves_with_a_corrected_trajectory_and_bad_ones_are_refused(graph, start, predictions):
    node = start()
    publisher = graph.watcher.create_publisher(RigPrediction, "perception/frame", qos.output())
    paths = graph.watcher.create_publisher(Path, "mapping/corrected_trajectory", qos.output())
    graph.until(lambda: publisher.get_subscription_count() and paths.get_subscription_count(), "subscriptions")
    for index, prediction in enumerate(predictions):
        publisher.publish(to_rig_prediction(prediction))
        graph.until(lambda count=index + 1: len(graph.progress["mapping"]) == count, "progress")
    before = vertices(node)
    name = "mapping: trajectory corrections"

    paths.publish(path_of(predictions, (5.0, 0.0, 0.0)))
    graph.until(lambda: name in graph.statuses, "the correction in diagnostics")
    after = vertices(node)
    assert np.median(after[:, 0]) == pytest.approx(np.median(before[:, 0]) + 5.0, abs=0.1)
    for bad, text in (
        (path_of(predictions, (0.0, 0.0, 0.0), "map"), "header.frame_id is 'map', expected 'odom'"),
        (path_of(predictions, (np.nan, 0.0, 0.0)), "poses[0].pose"),
        (path_of([], (0.0, 0.0, 0.0)), "within the trajectory"),
    ):
        paths.publish(bad)
        graph.until(lambda text=text: text in graph.statuses[name].message, text)
    counts = {entry.key: entry.value for entry in graph.statuses[name].values}
    assert counts == {"applied": "1", "refused": "3"}
    np.testing.assert_array_equal(vertices(node), after)


def at(position, frame_id=""):
    point = PointStamped()
    point.header.frame_id = frame_id
    point.point.x, point.point.y, point.point.z = (float(value) for value in position)
    return point


def test_the_map_answers_questions(graph, start, predictions):
    node = start(in_process=True)
    for index, prediction in enumerate(predictions):
        node.submit(prediction)
        graph.until(lambda count=index + 1: len(graph.progress["mapping"]) == count, "progress")
    here = at(predictions[-1].world_from_base[:3, 3])

    answer = graph.call(FindObjects, "mapping/find_objects", near=here, radius=50.0)
    assert answer.success and len(answer.objects) == len(node._mapper.objects()) > 0
    assert list(answer.distances) == sorted(answer.distances)
    first = answer.objects[0]
    again = graph.call(FindObjects, "mapping/find_objects", near=here, radius=50.0, label=first.label_name)
    assert again.success and again.objects[0].name == first.name
    refused = graph.call(FindObjects, "mapping/find_objects", radius=1.0, near_label="sofa")
    assert not refused.success and "no class 'sofa'" in refused.message

    places = node._mapper.ground().places
    one, other = places.positions[places.edges[0]]
    way = graph.call(FindWay, "mapping/find_way", start=at(one), goal=at(other, "odom"))
    assert way.success and len(way.path.poses) >= 3 and way.path.header.frame_id == "odom" and way.length > 0
    refused = graph.call(FindWay, "mapping/find_way", start=at(one), goal=at(other, "map"))
    assert not refused.success and refused.message == "goal.header.frame_id is 'map', expected 'odom'"

    nowhere = graph.call(FindRegion, "mapping/find_region", position=at((1000.0, 0.0, 0.0)))
    assert not nowhere.success and "no room or road segment is at [1000.0" in nowhere.message
    refused = graph.call(FindRegion, "mapping/find_region", position=at((np.nan, 0.0, 0.0)))
    assert not refused.success and "not finite" in refused.message
