# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The soak suite: its robot's way, its windows, what it complains of. What runs for minutes is not run here."""

import mmap
import os
import threading
from itertools import islice

import pytest
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from mtl_perception.bench.soak import (
    Record,
    compared,
    problems,
    processor_times,
    proportional_set_mb,
    slope_mb_per_hour,
    table,
)
from mtl_perception.bench.soak_robot import Robot, to_and_fro
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros.process import Spinning, close


def record(memory_growth=1.0, age_growth=1.0) -> Record:
    """A minute of 10 Hz in which memory and ages grow by a factor, in a straight line, from window 2 to window 7."""
    seen = Record(60.0)
    times = [0.1 * tick for tick in range(600)]

    def grown(at, by):
        return 1.0 + (by - 1.0) * max(0.0, at - 21.0) / 30.0  # their middles

    for node in ("perception", "mapping"):
        seen.memory_mb[node] = [(at, 500.0 * grown(at, memory_growth)) for at in times[::5]]
        seen.ages_ms[node] = [(at, 200.0 * grown(at, age_growth)) for at in times[::2]]
        seen.dropped[node, "too slow"] = times[1::2]
    seen.sent = times
    seen.processors = [(at, (round(3 * at), round(200 * at))) for at in times[::5]]
    return seen


def test_the_first_windows_after_the_warm_up_are_compared_with_the_last():
    results = {result.name: result for result in compared(record(memory_growth=1.2))}
    memory = results["memory_of_mapping"]
    assert memory.reference_value == pytest.approx(500, rel=0.01) and memory.ratio == pytest.approx(1.2, rel=0.02)
    assert results["stamp_age_p99_of_perception"].value == pytest.approx(200)
    frames = results["frames_of_mapping"]
    assert (frames.value, frames.reference_value) == (240, 480)


def test_only_what_grows_is_complained_of():
    assert problems(compared(record(memory_growth=1.03, age_growth=1.1))) == []
    found = problems(compared(record(memory_growth=1.1)))
    assert len(found) == 2 and all("memory_of" in problem and "more than 5%" in problem for problem in found)
    found = problems(compared(record(age_growth=1.6)))
    assert [problem.split(":")[0] for problem in found] == [
        f"stamp_age_{which}_of_{node}" for node in ("perception", "mapping") for which in ("p50", "p99")
    ]


def test_a_row_a_window_and_the_slope():
    seen = record(memory_growth=1.1)
    rows = table(seen)
    assert [row[0] for row in rows] == [f"{end} s" for end in range(18, 61, 6)]
    assert rows[3][3] == "30 + 30" and rows[0][2] == "200 / 200 ms" and rows[0][1].endswith(" MB")
    assert {row[-1] for row in rows} == {"1.5%"}
    assert slope_mb_per_hour(seen.memory_mb["mapping"], 21.0) == pytest.approx(50 / 30 * 3600, rel=0.05)


def test_one_window_in_which_the_machine_was_slow_is_no_growth_and_two_are():
    def slow_from(begin):
        seen = record()
        seen.ages_ms = {
            node: [(at, age * (2.0 if at >= begin else 1.0)) for at, age in ages] for node, ages in seen.ages_ms.items()
        }
        return problems(compared(seen))

    assert slow_from(54.0) == [] and len(slow_from(48.0)) == 4


def test_what_others_have_of_the_processors_is_less_than_all_and_both_only_grow():
    others, all_ = processor_times()
    assert 0 <= others < all_
    others_then, all_then = processor_times()
    assert others <= others_then and all_ <= all_then


def test_the_memory_of_a_process_is_that_of_the_kernel():
    before = proportional_set_mb(os.getpid())
    with mmap.mmap(-1, 50_000_000) as much:  # of the kernel, and not memory that this process has had and given up
        for start in range(0, len(much), 1_000_000):  # what is copied from may stay with the process
            much[start : start + 1_000_000] = b"x" * 1_000_000
        assert proportional_set_mb(os.getpid()) - before == pytest.approx(len(much) / 1e6, rel=0.1)
    with pytest.raises(OSError, match="No such"):
        proportional_set_mb(2**22 + 1)


def test_the_robot_goes_to_and_fro_with_a_pose_for_each_image(ros_context):
    assert list(islice(to_and_fro(4), 9)) == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    robot, watcher = Robot(ros_context, 2, 10.0, (16, 12)), Node("watcher", context=ros_context)
    images, infos, poses, ended = [], [], [], threading.Event()
    watcher.create_subscription(CameraInfo, "back/camera_info", infos.append, 10)
    watcher.create_subscription(Odometry, "odom", poses.append, 100)
    three_came = threading.Event()

    def take(image):
        images.append(image)
        if len(images) == 3:
            three_came.set()

    watcher.create_subscription(Image, "back/image", take, 10)
    spinning = Spinning(ros_context, [watcher])
    driving = threading.Thread(target=robot.drive, args=(ended,))
    driving.start()
    try:
        assert three_came.wait(30.0)
    finally:
        ended.set()
        driving.join()
        spinning.stop()
        close([robot, watcher])
    stamps = [stamp_ns_from(image.header.stamp) for image in images]
    assert stamps == sorted(set(stamps))
    assert (images[0].width, images[0].height) == (infos[0].width, infos[0].height) == (16, 12)
    assert set(stamps) <= {stamp_ns_from(pose.header.stamp) for pose in poses}
    assert bytes(images[0].data) == bytes(images[2].data) != bytes(images[1].data)
