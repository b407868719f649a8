# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The executables: one thin file a node. A node declares, subscribes, hands over and publishes; it holds no maths."""
