# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The view into the cabin: a driver with joints, a behaviour and an expression."""
