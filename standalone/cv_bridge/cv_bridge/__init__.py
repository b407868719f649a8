# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ROS images to OpenCV arrays and back, with the API of the ROS package cv_bridge."""

from cv_bridge.core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
