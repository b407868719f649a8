# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Why a transform cannot be had."""


class TransformException(Exception):
    """Base of all of them."""


class ConnectivityException(TransformException):
    """The frames are in trees that no transform connects."""


class LookupException(TransformException):
    """A frame is unknown, or the tree has a loop."""


class ExtrapolationException(TransformException):
    """The time is outside of what is known."""


class InvalidArgumentException(TransformException):
    """A frame's name is empty or begins with a slash."""


class TimeoutException(TransformException):
    """A remote buffer did not answer in time."""
