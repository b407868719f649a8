# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-task camera perception and 3D mapping for ROS 2.

`Perceiver` (mtl_perception.pipeline) turns calibrated images into depth, semantics, motion, occupancy and more;
`Mapper` (mtl_perception.mapping) fuses those into a map. Neither needs ROS. The nodes are in mtl_perception.nodes.
"""

__version__ = "0.1.0"
