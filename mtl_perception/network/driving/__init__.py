# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene-level tasks: driver, vehicle and traffic from several streams (UV-M3TL), and steering."""
