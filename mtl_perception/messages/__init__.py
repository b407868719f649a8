# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages to core types and back.

Reading is duck-typed: objects of rclpy and of rosbags are read alike. Writing builds rclpy's message classes.
There is no node and no executor in here.
"""
