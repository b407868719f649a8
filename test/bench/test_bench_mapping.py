# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The mapping suite: its street, what it measures, the command. No time is ever asserted."""

import json

import numpy as np
import pytest

from mtl_perception import cli
from mtl_perception.bench.mapping import Canyon
from mtl_perception.core import pixel_rays
from mtl_perception.core.transforms import transform_points


@pytest.mark.parametrize("x", [0.0, 3.0, 1234.5])
def test_depth_is_that_of_a_street_between_buildings_with_niches(x):
    canyon = Canyon((64, 48))
    frame = canyon.look(x)
    look = frame.cameras["front"]
    seen = np.isfinite(look.depth)
    points = transform_points(look.world_from_camera, pixel_rays(look.camera)[seen] * look.depth[seen][:, None])
    road, pavement, sign = (look.semantic[seen] == canyon.labels.id_of(name) for name in ("road", "pavement", "sign"))
    ground = road | pavement
    assert np.abs(points[road, 1]).max() < 3.501 and np.abs(points[pavement, 1]).min() > 3.499
    assert np.allclose(np.abs(points[sign, 1]), 9, atol=1e-3) and road.any() and pavement.any() and sign.any()
    np.testing.assert_allclose(points[ground, 2], 0, atol=1e-4)
    walls = points[~ground]
    assert (np.isclose(np.abs(walls[:, 1]), 8, atol=1e-3) | np.isclose(np.abs(walls[:, 1]), 9, atol=1e-3)).all()
    assert walls[:, 2].min() > -1e-3 and walls[:, 2].max() < 10.001
    assert points[:, 0].min() > x and not seen.all() and ground.any() and len(walls)
    assert frame.world_from_base[0, 3] == x


def test_the_command_measures_a_small_and_a_large_map(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mtl_perception.bench.mapping._TIMED", 3)
    out = tmp_path / "bench.json"
    small = ["--small-map", "100", "--large-map", "900", "--size", "48x36"]
    assert cli.main(["bench", "--suite", "mapping", *small, "--out", str(out)]) == 0
    results = {result["name"]: result for result in json.loads(out.read_text())["results"]}
    names = {"step", "scene_graph_changes", "open3d_extraction", "memory", "whole_occupancy_grids"}
    names |= {f"{topic}_message" for topic in ("mesh", "points", "occupancy_grid")}
    names |= {f"scene_graph_{what}_message" for what in ("changes", "markers")}
    assert set(results) == {f"{name}_at_900_blocks" for name in names}
    assert results["step_at_900_blocks"]["reference"] == "at 100 blocks"
    assert all(result["value"] > 0 and result["reference_value"] > 0 for result in results.values())
    # Far less than the whole grid, which has all cells of 0.1 m: the street is 18 m wide.
    assert results["occupancy_grid_message_at_900_blocks"]["value"] < 0.5 * 18 * 30 / 0.1**2 / 1000
    assert "memory_at_900_blocks" in capsys.readouterr().out
