# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Point clouds in Python, with the API of the ROS package sensor_msgs_py (module `point_cloud2`)."""
