# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in mapping, for callers that catch it."""

from __future__ import annotations


class MappingError(ValueError):
    """A frame cannot go into the map; the map is as it was. The text names what is missing or wrong."""


class MapFormatError(ValueError):
    """A saved map cannot be read, or may not be written there; the map in memory is as it was."""
