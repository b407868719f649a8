# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Installs the ROS 2 package mtl_perception (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "mtl_perception"
NODES = (
    "perception_node",
    "mapping_node",
    "evaluation_node",
    "player_node",
    "world_node",
    "lifecycle_manager",
    "perception_and_mapping",
)


def share_files(*folders: str) -> list[tuple[str, list[str]]]:
    """Return data_files entries that install the folders, with all below them, under share/mtl_perception."""
    files = sorted(path for folder in folders for path in Path(folder).rglob("*") if path.is_file())
    files = [path for path in files if "__pycache__" not in path.parts]
    parents = sorted({path.parent for path in files})
    return [(f"share/{NAME}/{parent}", [str(path) for path in files if path.parent == parent]) for parent in parents]


setup(
    name=NAME,
    version="0.1.0",
    description="Multi-task camera perception and 3D mapping for ROS 2",
    author="The mtl_perception authors",
    maintainer="The mtl_perception authors",
    maintainer_email="maintainers@mtl-perception.example",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "checkpoints/*.safetensors", "evaluation/report/templates/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *share_files("launch", "config"),
    ],
    python_requires=">=3.10",
    install_requires=[
        "accelerate",
        "backports.zstd",
        "jinja2",
        "matplotlib",
        "numba",
        "numpy",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "open3d",
        "opencv-python-headless<5",
        "pydantic>=2",
        "pyyaml",
        "ray",
        "rich",
        "rosbags",
        "safetensors",
        "scipy",
        "setuptools",
        "spark-dsg",
        "tensorboard",
        "torch",
        "tqdm",
        "transformers",
    ],
    extras_require={
        "test": [
            "evo",
            "hypothesis",
            "pycocotools",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "scikit-image",
            "torchmetrics",
        ],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            *(f"{node} = {NAME}.nodes.start:{node}" for node in NODES),
            f"{NAME} = {NAME}.cli:main",
            f"evaluate = {NAME}.evaluation.command:main",
        ],
    },
)
