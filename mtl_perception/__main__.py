# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception`: see `mtl_perception.cli`."""

import sys

from mtl_perception.cli import main

if __name__ == "__main__":
    sys.exit(main())
