# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map of a recorded room, from its recorded depth, beside Open3D's own fusion of the same frames."""

import cv2
import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core import Camera, CameraPrediction, Prediction
from mtl_perception.evaluation.meshes import mesh_distance
from mtl_perception.mapping import Mapper, MapperConfig

VOXEL = 0.05
FRAMES = range(0, 60, 4)
K = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])


def recorded(folder, number):
    millimetres = cv2.imread(str(folder / f"frame-{number:06d}.depth.png"), cv2.IMREAD_UNCHANGED)
    depth = millimetres.astype(np.float32) / 1000
    depth[(millimetres == 0) | (millimetres == 65535)] = np.nan
    colour = cv2.cvtColor(cv2.imread(str(folder / f"frame-{number:06d}.color.jpg")), cv2.COLOR_BGR2RGB)
    pose = np.loadtxt(folder / f"frame-{number:06d}.pose.txt")
    look = CameraPrediction(Camera("camera", 640, 480, K, np.eye(4)), number, pose, colour, depth)
    return Prediction(number, {"camera": look}, "base_link", "odom", pose, tasks=("depth",))


def open3d_mesh(frames, max_depth):
    core = o3d.core
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), (core.float32,) * 3, ((1,), (1,), (3,)), VOXEL, 8, 2000
    )
    for frame in frames:
        look = frame.cameras["camera"]
        depth = o3d.t.geometry.Image(np.nan_to_num(look.depth)[..., None])
        colour = o3d.t.geometry.Image(look.colour).to(core.float32)
        intrinsic, extrinsic = core.Tensor(K), core.Tensor(np.linalg.inv(look.world_from_camera))
        blocks = grid.compute_unique_block_coordinates(depth, intrinsic, extrinsic, 1.0, max_depth, 4.0)
        grid.integrate(blocks, depth, colour, intrinsic, intrinsic, extrinsic, 1.0, max_depth, 4.0)
    mesh = grid.extract_triangle_mesh(3.0)
    return mesh.vertex.positions.numpy(), mesh.triangle.indices.numpy()


@pytest.mark.recordings
def test_the_mesh_is_that_of_open3d(recordings, labels):
    frames = [recorded(recordings / "rgbd_room", number) for number in FRAMES]
    mapper = Mapper(MapperConfig(voxel_size=VOXEL, min_weight=3.0, truncation_voxels=4.0), labels)
    for frame in frames:
        mapper.integrate(frame)
    mesh = mapper.mesh()
    result = mesh_distance(mesh.vertices, mesh.triangles, *open3d_mesh(frames, mapper.config.max_depth), VOXEL / 2)
    assert result.accuracy < VOXEL / 4
    assert result.completeness > 0.98
