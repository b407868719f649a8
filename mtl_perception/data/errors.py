# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a bag."""


class BagError(ValueError):
    """A bag cannot be read or written; the message names the file."""
