# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which of these tests apply: all describe the real packages too, but for those of what the stand-ins do better."""

from importlib import import_module


def stands_in(package: str) -> bool:
    """Whether the package that is imported is that of the folder standalone/, by its docstring."""
    return f"with the API of the ROS package {package}" in (import_module(package).__doc__ or "")


collect_ignore = [
    f"test_{package}_better.py"
    for package in ("cv_bridge", "message_filters", "sensor_msgs_py")
    if not stands_in(package)
]
