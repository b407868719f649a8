# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
from setuptools import setup

NAME = "message_filters"

setup(
    name=NAME,
    version="0.1.0",
    description="Cache and time synchronisers for subscriptions, where no ROS 2 distribution is installed",
    license="Apache-2.0",
    packages=[NAME],
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    zip_safe=False,
)
