# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings and rendered worlds: bags, converters from public data sets, and the synthetic world."""
