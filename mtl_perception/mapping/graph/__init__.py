# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 3D scene graph: objects with ids that last, and the layers that Hydra's tools read."""
