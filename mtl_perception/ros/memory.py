# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Memory that is free inside of the process, given back to the machine."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_memory_back() -> None:
    """Return what nobody uses any more to the operating system and to the accelerator.

    Objects that refer to each other in a circle are found, PyTorch empties its cache of device memory, and the C
    library returns the pages that it keeps for later (glibc; others do so by themselves). Takes tenths of a second.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
