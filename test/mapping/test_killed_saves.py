# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps that are saved by processes which are killed, or by processes which may not write any more."""

import io
import os
import random
import resource
import signal
import tempfile
import time
from pathlib import Path

import pytest

from mtl_perception.mapping import Mapper, MapperConfig, storage
from mtl_perception.mapping.reading import products_of, state_of
from mtl_perception.mapping.window import region_file
from mtl_perception.mapping.window.set_aside import SetAside

MOMENTS = 200


class Map:
    """All that a process needs that only writes: it may be forked from one in which Open3D has threads."""

    def __init__(self, mapper, folder):
        self._mapper, self._folder = mapper, folder
        self.frames = mapper.stats.frames
        volume, scene, mesh = mapper._volume, mapper._scene, mapper._volume.mesh_of_things()
        self._regions = list(volume.blocks.contents())
        self._products = products_of(volume, scene, mapper.config, mesh, mapper._spark_graph(mesh))
        self._state = state_of(volume, scene, self.frames, mapper.stamp_ns)

    def save(self):
        """Save it as `Mapper.save` does."""
        config, labels = self._mapper.config, self._mapper.labels
        storage.save(self._state, self._regions, SetAside(), self._products, self._folder, config, labels)

    def start_saving(self, before=lambda: None):
        """Save it in another process."""
        child = os.fork()
        if child == 0:
            try:
                before()
                self.save()
                os._exit(0)
            except OSError:
                os._exit(28)
            except BaseException:
                os._exit(1)
        return child


@pytest.fixture
def folder():
    """A folder for a map, in memory where that is possible: a kill is the same there, and quicker."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as parent:
        yield Path(parent) / "map"


@pytest.fixture
def maps(walk, labels, folder):
    """Two maps for one folder."""
    mapper = Mapper(MapperConfig(voxel_size=0.4), labels)
    maps = []
    for frame in walk[:2]:
        mapper.integrate(frame)
        maps.append(Map(mapper, folder))
    maps[0].save()
    return maps


def frames_of_the_whole_map(folder, labels):
    """The number of frames of the map that is loaded, every file of which has been checked."""

    def blocks(content, name):
        return len(region_file.read(io.BytesIO(content), name).keys)

    return storage.load(folder, MapperConfig(voxel_size=0.4), labels, blocks, SetAside()).frames


def test_a_map_is_loadable_whenever_saving_another_over_it_is_killed(maps, folder, labels):
    durations = []
    for _ in range(4):
        start = time.perf_counter()
        assert os.waitpid(maps[0].start_saving(), 0)[1] == 0
        durations.append(time.perf_counter() - start)
    moments, changed = random.Random(0), 0
    before = frames_of_the_whole_map(folder, labels)
    for _ in range(MOMENTS):
        new = maps[before == maps[0].frames]
        child = new.start_saving()
        time.sleep(moments.uniform(0.0, 1.2 * min(durations)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = frames_of_the_whole_map(folder, labels)
        assert after in (before, new.frames)
        changed += after != before
        before = after
    assert 0 < changed < MOMENTS  # kills before and after the new map had taken its place
    maps[1].save()
    other = Mapper(MapperConfig(voxel_size=0.4), labels)
    other.load(folder)
    assert other.stats.frames == maps[1].frames
    assert [path.name for path in folder.parent.iterdir()] == ["map"]


def test_a_map_that_cannot_be_written_leaves_the_old_one(maps, folder, labels):
    sizes = sorted({path.stat().st_size for path in folder.iterdir()})
    for most in [size - 1 for size in sizes]:  # each of the files is the first that is too large at one of these limits

        def limited(most=most):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

        _, status = os.waitpid(maps[1].start_saving(limited), 0)
        assert os.WEXITSTATUS(status) == 28, f"{most} bytes a file"
        assert frames_of_the_whole_map(folder, labels) == maps[0].frames
        assert [path.name for path in folder.parent.iterdir()] == ["map"]
