# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the perception node that are changed while it works, and what is computed for whom, over real DDS."""

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from mtl_perception.core.prediction import MAPPED_TASKS
from mtl_perception.messages.images import mono_to_array
from mtl_perception.messages.points import read_point_cloud
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.network.driving.driving_tasks import DRIVER_TASKS
from mtl_perception.nodes.perception_and_mapping import make_nodes
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.ros import perception_outputs
from mtl_perception.ros.perception_outputs import CAMERA_TOPICS, RIG_TOPICS, TASKS_OF_TOPIC
from mtl_perception_msgs.msg import RigPrediction

SUCCESS = TransitionCallbackReturn.SUCCESS


class Robot:
    """A perception node with all that it needs, fed frame by frame, and a record of what its network has computed."""

    def __init__(self, graph, robot, node):
        self.graph, self.robot, self.node = graph, robot, node
        self.computed, self.looked_at, self.at = [], [], 1.0
        node._perceiver.network.register_forward_pre_hook(self._note, with_kwargs=True)
        graph.until(lambda: node.count_subscribers("perception/progress") > 0, "a subscription to the progress")
        robot.broadcast()
        robot.wait_for_listeners()

    def _note(self, _network, arguments, options):
        self.computed.append(set(arguments[1]))
        self.looked_at.append(set(options["next_tasks"]))

    def send(self):
        """Send a frame 0.1 s after the last; return its stamp and its progress."""
        progress = self.graph.progress["perception"]
        count, self.at = len(progress), round(self.at + 0.1, 3)
        stamp_ns = self.robot.send(self.at)
        self.graph.until(lambda: len(progress) > count, "progress")
        return stamp_ns, progress[-1]

    def change(self, **values):
        """Return why the first of them is refused, or ""."""
        parameters = [parameter.to_parameter_msg() for parameter in self.graph.overrides(**values)]
        results = self.graph.call(SetParameters, "perception/set_parameters", parameters=parameters).results
        return next((result.reason for result in results if not result.successful), "")

    def after(self, heard):
        """Return the messages of a topic that come with the next frame."""
        count = len(heard)
        stamp_ns, progress = self.send()
        assert progress.used, progress.reason
        self.graph.until(lambda: len(heard) > count and _stamp(heard[-1]) >= stamp_ns - 10**8, "the frame's message")
        return heard[-1]


def _stamp(message):
    return stamp_ns_from((message.markers[0] if isinstance(message, MarkerArray) else message).header.stamp)


@pytest.fixture
def start(graph, robot, all_knowing):
    def start(**values):
        values = {"cameras": robot.names, "checkpoint": str(all_knowing), **values}
        node = PerceptionNode(context=graph.context, parameter_overrides=graph.overrides(**values))
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        graph.add(node)
        return Robot(graph, robot, node)

    return start


def test_label_colours_hold_for_images_clouds_and_markers_from_the_next_frame_on(graph, robot, start):
    running = start(tasks=["all"])
    labels = running.node._perceiver.labels
    names = {
        topic: f"perception/{topic}" for topic in ("front/semantic_color", "occupancy_points", "detection_markers")
    }
    kinds = dict(zip(names, (Image, PointCloud2, MarkerArray), strict=True))
    ids, heard = graph.hear(Image, "perception/front/semantic"), {}
    for topic, name in names.items():
        heard[topic] = graph.hear(kinds[topic], name)

    def shown():
        """The colours that there are, each with its class where the message tells it."""
        stamp_ns, progress = running.send()
        assert progress.used
        front_ns = robot.frame(running.at).image_stamps_ns["front"]
        graph.until(lambda: ids and _stamp(ids[-1]) == front_ns, "the labels")
        for topic, stamp in zip(names, (front_ns, stamp_ns, stamp_ns), strict=True):
            graph.until(lambda t=topic, s=stamp: heard[t] and _stamp(heard[t][-1]) == s, topic)
        image = np.array(heard["front/semantic_color"][-1].data).reshape(-1, 3)
        classes = mono_to_array(ids[-1]).ravel()
        colours = {int(label): {tuple(c) for c in image[classes == label].tolist()} for label in np.unique(classes)}
        points = read_point_cloud(heard["occupancy_points"][-1])
        rgb = points["rgb"].view(np.uint32)
        for label in np.unique(points["label"]).tolist():
            for value in np.unique(rgb[points["label"] == label]).tolist():
                colours.setdefault(label, set()).add((value >> 16 & 255, value >> 8 & 255, value & 255))
        for marker in heard["detection_markers"][-1].markers[1:]:
            if marker.ns == "classes":
                box = next(m for m in heard["detection_markers"][-1].markers if m.ns == "boxes" and m.id == marker.id)
                colour = tuple(round(255 * part) for part in (box.color.r, box.color.g, box.color.b))
                colours.setdefault(labels.id_of(marker.text.split()[0]), set()).add(colour)
        return colours

    before = shown()
    assert before == {label: {labels.labels[label].colour} for label in before}
    entries = [f"{labels.names[label]}=#{label:02x}fe{label + 100:02x}" for label in before]
    assert running.change(label_colours=entries) == ""
    after = shown()
    assert set(before) & set(after)
    for label, colours in after.items():
        expected = (label, 254, label + 100) if label in before else labels.labels[label].colour
        assert colours == {expected}
    assert running.change(label_colours=[""]) == ""
    assert all(colours == {labels.labels[label].colour} for label, colours in shown().items())


def test_thresholds_hold_from_the_next_frame_on(graph, start):
    running = start(tasks=["all"], detection_min_score=0.0, marker_min_score=0.0)
    boxes = graph.hear(Detection3DArray, "perception/detections")
    markers = graph.hear(MarkerArray, "perception/detection_markers")
    labels, edges = (graph.hear(Image, f"perception/front/{topic}") for topic in ("semantic", "edges"))
    infos = graph.hear(LabelInfo, "perception/label_info", "latched")
    count = len(running.after(boxes).detections)
    graph.until(lambda: markers and labels and edges and infos, "every topic")
    assert count > 0 and len(markers[-1].markers) == 1 + 2 * count
    assert mono_to_array(labels[-1]).max() < 255 and infos[-1].threshold == 0.0
    assert running.change(marker_min_score=1.0) == ""
    assert len(running.after(markers).markers) == 1 and len(boxes[-1].detections) > 0
    assert running.change(detection_min_score=1.0) == ""
    assert len(running.after(boxes).detections) == 0
    assert running.change(semantic_min_confidence=1, edge_min_probability=0) == ""
    assert (mono_to_array(running.after(labels)) == 255).all()
    graph.until(lambda: len(infos) == 2, "the classes anew")
    assert infos[-1].threshold == 1.0 and len(infos[-1].class_map) == len(infos[0].class_map)
    assert (mono_to_array(running.after(edges)) == 255).all()
    assert running.change(edge_min_probability=1.0) == ""
    assert not mono_to_array(running.after(edges)).any()
    assert len(infos) == 2


def test_each_task_is_computed_while_somebody_subscribes_to_it_and_no_longer(graph, start):
    running = start()
    network = set(running.node._perceiver.tasks) - set(DRIVER_TASKS)  # there is no camera in the cabin
    kinds = dict.fromkeys(CAMERA_TOPICS, Image) | {topic: kind for topic, (kind, _) in RIG_TOPICS.items()}
    for topic, kind in (kinds | {"frame": RigPrediction}).items():
        name = f"perception/left/{topic}" if topic in CAMERA_TOPICS else f"perception/{topic}"
        graph.hear(kind, name)
        graph.until(lambda topic=topic: running.node._outputs.watched() == {topic}, f"a listener of {topic}")
        running.send()
        wanted = set(TASKS_OF_TOPIC[topic]) & network
        made_from = {"normals": {"depth"}, "panoptic": {"semantic"}}.get(topic, set())
        assert wanted and running.computed == [wanted | made_from], topic
        graph.forget(name)
        graph.until(lambda: not running.node._outputs.watched(), "no listener")
        _, progress = running.send()
        assert (progress.used, progress.reason) == (False, "nobody subscribes to a result"), topic
        assert len(running.computed) == 1
        running.computed.clear()


def test_tasks_are_changed_for_the_next_frame(graph, start):
    running = start(tasks=["depth"])
    running.send()
    assert running.change(tasks=["semantic", "edges"]) == ""
    running.send()
    assert running.change(tasks=["on_demand"]) == ""
    _, progress = running.send()
    assert progress.reason == "nobody subscribes to a result"
    assert running.computed == [{"depth"}, {"semantic", "edges"}]


def test_a_greatest_rate_holds_for_topic_and_task_and_is_changed_at_once(graph, start):
    running = start(**{"max_rate.depth": 5.0})
    depth = graph.hear(Image, "perception/front/depth", 100)
    stamps = [running.send()[0] for _ in range(6)]
    progress = graph.progress["perception"]
    assert [each.used for each in progress] == [True, False] * 3
    assert {each.reason for each in progress if not each.used} == {"no result is due (max_rate)"}
    assert running.computed == [{"depth"}] * 3
    graph.until(lambda: len(depth) == 3, "depth")
    labels = graph.hear(Image, "perception/front/semantic", 100)
    assert [running.send()[1].used for _ in range(4)] == [True] * 4
    assert running.computed[3:] == [{"depth", "semantic"}, {"semantic"}] * 2
    graph.until(lambda: len(labels) == 4 and len(depth) == 5, "both")
    assert [_stamp(each) // 10**8 for each in depth[:3]] == [stamp // 10**8 for stamp in stamps[::2]]
    assert running.change(**{"max_rate.depth": 0.0, "max_rate.semantic": 0.5}) == ""
    for _ in range(2):
        running.send()
    assert running.computed[7:] == [{"depth"}] * 2
    refused = running.change(**{"max_rate.depth": -1.0})
    assert refused == (
        "node '/perception': parameter 'max_rate.depth' = -1.0 is refused: 0.0 to 1000.0 Hz is allowed (double)"
    )


def test_with_a_rate_a_mask_comes_with_the_frame_after_one_that_was_looked_at(graph, start):
    running = start(**{"max_rate.motion_mask": 3.0})
    masks = graph.hear(Image, "perception/front/motion_mask", 100)
    for _ in range(8):
        running.send()
    graph.until(lambda: len(masks) >= 2, "masks")
    # The first frame of all has no mask, so the topic stays due; from then on pairs of frames.
    assert running.computed == [{"motion_mask"}, {"motion_mask"}, set(), {"motion_mask"}]
    assert running.looked_at == [set(), set(), {"motion_mask"}, set()]
    assert [each.used for each in graph.progress["perception"]] == [True, True, False, False, False, True, True, False]
    assert len(masks) == 2


def test_motions_go_on_adding_up_between_those_that_are_published(graph, start):
    running = start(**{"max_rate.odometry": 2.5})
    odometry = graph.hear(Odometry, "perception/odometry", 100)
    stamps = [running.send()[0] for _ in range(9)]
    graph.until(lambda: len(odometry) == 3, "odometry")
    assert [_stamp(each) for each in odometry] == stamps[::4]
    assert running.computed == [{"ego_motion"}] * 9
    assert all(each.twist.covariance[0] >= 0.0 for each in odometry[1:])
    travelled = odometry[-1].pose.pose.position
    assert (travelled.x, travelled.y) != (odometry[1].pose.pose.position.x, odometry[1].pose.pose.position.y)


def test_whoever_waits_for_every_frame_gets_every_frame(graph, start):
    running = start(frame_policy="every", **{"max_rate.depth": 1.0})
    depth = graph.hear(Image, "perception/front/depth", 100)
    for _ in range(3):
        assert running.send()[1].used
    graph.until(lambda: len(depth) == 3, "every image")


def test_colour_images_are_made_only_for_those_who_watch(graph, start, monkeypatch):
    made = []

    def note(array, encoding, *where):
        made.append(encoding)
        return original(array, encoding, *where)

    original = perception_outputs.array_to_image
    monkeypatch.setattr(perception_outputs, "array_to_image", note)
    infos_made = []
    original_info = perception_outputs.to_camera_info
    monkeypatch.setattr(
        perception_outputs, "to_camera_info", lambda *about: infos_made.append(about) or original_info(*about)
    )
    running = start(tasks=["all"])
    running.send()
    assert made == [] and infos_made == []
    labels = graph.hear(Image, "perception/front/semantic")
    infos = graph.hear(CameraInfo, "perception/left/camera_info")
    running.after(labels)
    graph.until(lambda: infos, "the calibration")
    assert made == ["mono8"] and len(infos_made) == 1
    colours = graph.hear(Image, "perception/left/semantic_color")
    running.after(colours)
    assert sorted(made[1:]) == ["mono8", "rgb8"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("label_colours", ["raod=#000000"], "there is no class 'raod' (there are: sky, road,"),
        ("label_colours", ["road"], "'road' is not of the form class=#rrggbb, e.g. road=#804080"),
        ("tasks", ["smell"], "'smell' is none of all, on_demand, depth,"),
        ("tasks", ["steering"], "task 'steering': "),
        ("edge_min_probability", 1.5, "0.0 to 1.0 is allowed (double)"),
        ("sync_slop", 0.1, "it is applied when the node is configured: clean the node up first"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(graph, robot, knows_no_driving, name, value, reason):
    without_driving = graph.overrides(cameras=robot.names, checkpoint=str(knows_no_driving))
    node = PerceptionNode(context=graph.context, parameter_overrides=without_driving)
    graph.add(node)
    assert node.trigger_configure() == SUCCESS
    assert "steering" in node._perceiver.tasks_left_out
    message = graph.overrides(**{name: value})[0].to_parameter_msg()
    (result,) = graph.call(SetParameters, "perception/set_parameters", parameters=[message]).results
    expected = f"node '/perception': parameter '{name}' = {value!r} is refused: {reason}"
    assert not result.successful and result.reason.startswith(expected)


def test_in_one_process_tasks_are_computed_for_mapping_only_while_it_maps(graph, robot, all_knowing):
    values = {"cameras": robot.names, "checkpoint": str(all_knowing), "voxel_size": 0.2, "max_depth": 25.0}
    values |= {"tasks": ["on_demand"], "max_rate.frame": 5.0}
    perception, mapping = make_nodes(context=graph.context, parameter_overrides=graph.overrides(**values))
    for node in (perception, mapping):
        assert node.trigger_configure() == SUCCESS
        graph.add(node)
    assert perception.trigger_activate() == SUCCESS
    running = Robot(graph, robot, perception)
    assert running.send()[1].reason == "nobody subscribes to a result"
    assert graph.make_transition(mapping, Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: mapping.count_subscribers("mapping/progress") > 0, "a subscription to mapping's progress")
    stamps = [running.send()[0] for _ in range(6)]
    graph.until(lambda: len(graph.progress["mapping"]) >= 5, "mapping's progress")
    known = set(MAPPED_TASKS) & set(perception._perceiver.tasks)
    # What goes to mapping is as rare as what perception/frame would have; the third frame is only looked at.
    assert running.computed == [known, set(), known, known] and running.looked_at[1] == {"motion_mask"}
    given = [
        stamp_ns_from(each.header.stamp) for each in graph.progress["mapping"] if "perception" not in each.category
    ]
    assert given == [stamps[0], stamps[3], stamps[4]]
    frames = graph.hear(RigPrediction, "perception/frame")
    assert graph.make_transition(mapping, Transition.TRANSITION_DEACTIVATE)
    computed = len(running.computed)
    for _ in range(4):
        running.send()
    graph.until(lambda: frames, "frames for whoever else listens")
    graph.forget("perception/frame")
    assert running.send()[1].reason == "nobody subscribes to a result"
    assert len(running.computed) > computed
