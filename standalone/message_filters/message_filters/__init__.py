# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Filters that take messages in and give them out later, with the API of the ROS package message_filters."""

from message_filters.cache import Cache
from message_filters.simple_filter import SimpleFilter, Subscriber
from message_filters.synchronizers import ApproximateTimeSynchronizer, TimeSynchronizer

__all__ = ["ApproximateTimeSynchronizer", "Cache", "SimpleFilter", "Subscriber", "TimeSynchronizer"]
