# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What needs a running node: synchroniser, poses, parameters, QoS, diagnostics, lifecycle."""
