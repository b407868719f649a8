# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings and rendered worlds: bags, readers of public data sets, torch data sets, and the synthetic world."""
