# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: each compares our way with another way of doing the same, both in one run on one machine."""
