# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""BEV maps, steering, driving context, joints and ego motion as messages, through their serialised form."""

from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message, serialize_message

from mtl_perception.core.prediction import BevMap, EgoMotion, Steering
from mtl_perception.core.transforms import transform_from
from mtl_perception.messages.bev import from_bev_map, to_bev_map, to_drivable_grid
from mtl_perception.messages.driving import (
    from_cabin_joints,
    from_driving_context,
    from_steering,
    to_cabin_joints,
    to_driving_context,
    to_steering,
)
from mtl_perception.messages.poses import StampedTransform, read_ego_motion, to_ego_motion
from mtl_perception.messages.stamps import stamp_ns_from


def sent(message: Any) -> Any:
    """Return what arrives at a subscription."""
    return deserialize_message(serialize_message(message), type(message))


def test_a_bev_map_there_and_back() -> None:
    road = np.zeros((3, 2), np.float32)
    road[2, 0], road[0, 1] = 1.0, np.nan
    guessed = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2)
    message = sent(to_bev_map(BevMap((-1.5, 2.0), 0.4, {"road": road, "floor": guessed}), 7, "base_link"))
    assert (message.size_x, message.size_y, list(message.layers)) == (3, 2, ["road", "floor"])
    # As documented: layer by layer, x fastest.
    assert list(message.values[:6]) == [0, 0, message.CERTAIN, message.UNKNOWN, 0, 0]
    read = from_bev_map(message)
    assert (read.origin, read.cell_size) == ((-1.5, 2.0), 0.4)
    np.testing.assert_array_equal(read.layers["road"], road)
    np.testing.assert_allclose(read.layers["floor"], guessed, atol=0.5 / 254)
    assert stamp_ns_from(message.header.stamp) == 7
    assert from_bev_map(sent(to_bev_map(BevMap((0.0, 0.0), 0.4, {}), 7, "base_link"))).layers == {}


def test_steering_and_context_there_and_back() -> None:
    assert from_steering(sent(to_steering(Steering(-0.3, 0.05), 7, "base_link"))) == Steering(-0.3, 0.05)
    context = {"traffic_context": {"traffic jam": 0.25, "waiting": 0.75}, "driver_emotion": {"peace": 1.0}}
    assert from_driving_context(sent(to_driving_context(context, 7, "base_link"))) == context


def test_joints_there_and_back() -> None:
    posture = np.arange(78.0).reshape(26, 3)
    posture[4] = np.nan
    message = sent(to_cabin_joints(posture, None, 7, "cabin_optical_frame"))
    read, gestures = from_cabin_joints(message)
    np.testing.assert_array_equal(read, posture)
    assert gestures is None
    assert message.header.frame_id == "cabin_optical_frame"


def test_what_does_not_fit_together_is_refused_by_name() -> None:
    message = to_bev_map(BevMap((0.0, 0.0), 0.4, {"road": np.zeros((3, 2), np.float32)}), 7, "base_link")
    message.size_x = 4
    with pytest.raises(ValueError, match="bev_map: values has 6 entries, 1 layers of 4 x 2 expected"):
        from_bev_map(message, "bev_map")
    with pytest.raises(ValueError, match=r"different sizes: \(2, 3\), \(3, 2\)"):
        to_bev_map(BevMap((0.0, 0.0), 0.4, {"a": np.zeros((3, 2)), "b": np.zeros((2, 3))}), 7, "base_link")
    context = to_driving_context({"driver_emotion": {"peace": 1.0}}, 7, "base_link")
    context.tasks[0].classes = ["peace", "anger"]
    with pytest.raises(ValueError, match="context: task 'driver_emotion' has 2 classes but 1 probabilities"):
        from_driving_context(context, "context")
    joints = to_cabin_joints(np.zeros((25, 3)), None, 7, "f")
    with pytest.raises(ValueError, match="joints: posture has 25 joints, 26 or none are expected"):
        from_cabin_joints(joints, "joints")


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 0.3, 3.0])
def test_ego_motion_is_the_twist_that_makes_it(angle: float) -> None:
    axis = np.array([0.6, 0.0, 0.8])
    moved = transform_from([1.0, -0.4, 0.1], [*(np.sin(angle / 2) * axis), np.cos(angle / 2)])
    covariance = np.diag(np.arange(1.0, 7.0))
    pose = StampedTransform(1_500_000_000, "odom", "base_link", transform_from([7.0, 8.0, 9.0], [0.0, 0.0, 0.0, 1.0]))
    message: Odometry = sent(to_ego_motion(EgoMotion(1_000_000_000, moved, covariance), pose))
    assert (message.header.frame_id, message.child_frame_id, message.pose.pose.position.x) == ("odom", "base_link", 7.0)
    twist, small = message.twist.twist, 1000
    turn = np.array([twist.angular.x, twist.angular.y, twist.angular.z])
    np.testing.assert_allclose(turn, axis * angle / 0.5, atol=1e-12)
    # Many small steps of that velocity add up to the motion.
    step = transform_from(
        np.array([twist.linear.x, twist.linear.y, twist.linear.z]) * 0.5 / small,
        [*(np.sin(angle / 2 / small) * axis), np.cos(angle / 2 / small)],
    )
    np.testing.assert_allclose(np.linalg.matrix_power(step, small), moved, atol=3e-3)
    read = read_ego_motion(message, 1_000_000_000)
    assert read.previous_stamp_ns == 1_000_000_000
    np.testing.assert_allclose(read.previous_base_from_base, moved, atol=1e-12)
    np.testing.assert_allclose(read.covariance, covariance, rtol=1e-12)


def test_ego_motion_needs_an_earlier_frame() -> None:
    pose = StampedTransform(1_000_000_000, "odom", "base_link", np.eye(4))
    with pytest.raises(ValueError, match="frame 1000000000 ns is not later than 1000000000 ns"):
        to_ego_motion(EgoMotion(1_000_000_000, np.eye(4), np.zeros((6, 6))), pose)
    message = to_ego_motion(EgoMotion(0, np.eye(4), np.zeros((6, 6))), pose)
    with pytest.raises(ValueError, match="odometry: a twist of"):
        read_ego_motion(message, 2_000_000_000)


def test_a_drivable_grid_has_the_most_likely_ground_that_one_may_be_on() -> None:
    road = np.array([[1.0, 0.2], [np.nan, 0.0], [0.5, 1.0]], np.float32)
    crossing = np.array([[0.0, 0.6], [np.nan, 0.0], [0.0, 0.0]], np.float32)
    pavement = np.ones((3, 2), np.float32)
    layers = {"road": road, "pavement": pavement, "crossing": crossing}
    grid = sent(to_drivable_grid(BevMap((-1.5, 2.0), 0.4, layers), 7, "base_link"))
    assert (grid.info.width, grid.info.height, grid.header.frame_id) == (3, 2, "base_link")
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (-1.5, 2.0)
    assert grid.info.resolution == pytest.approx(0.4)
    assert list(grid.data) == [0, -1, 50, 40, 100, 0]  # x fastest
    nothing = to_drivable_grid(BevMap((0.0, 0.0), 0.4, {"pavement": pavement}), 7, "base_link")
    assert list(nothing.data) == [-1] * 6


def test_rounding_never_moves_a_probability_across_one_half() -> None:
    values = np.array([[0.4999, 0.5, 0.5001, np.nextafter(np.float32(0.5), np.float32(0))]], np.float32)
    read = from_bev_map(to_bev_map(BevMap((0.0, 0.0), 0.4, {"road": values}), 7, "base_link")).layers["road"]
    np.testing.assert_array_equal(read >= 0.5, values >= 0.5)
