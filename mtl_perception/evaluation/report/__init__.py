# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says to people: as a page, as Markdown, on the console."""
