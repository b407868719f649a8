# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starting the whole graph, watching it, and reporting what it did."""
