# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run makes of a network and a batch: which rows are decoded for what, and the losses of what comes out."""
