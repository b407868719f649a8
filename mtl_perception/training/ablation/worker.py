# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a process that makes runs for another one does before the first: it imports nothing of what runs need."""

from __future__ import annotations

import os
import signal
import threading
import time

_LOOK_S, _SAVING_S = 1.0, 60.0
"""How often a worker looks whether its parent is there, and how long its run may take to save."""


def prepare_worker() -> None:
    """Give this process one thread for its sums, and let it end with its parent, however that ends."""
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, however that was: nobody would take its results any more."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)  # a run saves its state
    time.sleep(_SAVING_S)
    os._exit(1)
