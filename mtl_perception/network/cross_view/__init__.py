# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CvM: what other views of the same scene say, by a plane-sweep cost volume."""
