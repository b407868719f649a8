# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The program in the README that reads a saved map does."""

import re
from pathlib import Path

import numpy as np

from mtl_perception.mapping import Mapper, MapperConfig

README = Path(__file__).parents[2] / "README.md"


def test_the_reader_in_the_readme_reads_a_saved_map(walk, labels, tmp_path, capsys):
    mapper = Mapper(MapperConfig(), labels)
    for frame in walk:
        mapper.integrate(frame)
    folder = mapper.save(tmp_path / "map")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "manifest" in block]
    assert block.count('folder = "results/map"') == 1
    found: dict = {}
    exec(block.replace('"results/map"', repr(str(folder))), found)

    mesh, (item,) = mapper.mesh(), mapper.objects()
    assert np.array_equal(found["mesh"].vertex.positions.numpy(), mesh.vertices)
    assert np.array_equal(found["mesh"].triangle.indices.numpy(), mesh.triangles)
    assert np.array_equal(found["vertices"].label.numpy()[:, 0], mesh.labels)
    assert np.array_equal(found["vertices"].instance.numpy()[:, 0], mesh.instances)
    assert f"{labels.names[item.label]} {item.id} {labels.names[item.label]} [" in capsys.readouterr().out
    greys = {100: 0, 0: 254, -1: 205}
    grid = mapper.occupancy_grid()
    assert found["grid"].tolist() == [[greys[cell] for cell in row] for row in grid.data.tolist()]
    esdf = mapper.esdf_slice(mapper.config.obstacle_min_height, mapper.config.obstacle_max_height)
    assert np.array_equal(found["esdf"]["distance"], esdf.data, equal_nan=True)
    assert tuple(found["esdf"]["origin"]) == esdf.origin and found["esdf"]["resolution"] == esdf.resolution
    assert found["esdf"]["band"].tolist() == [0.2, 1.8]
