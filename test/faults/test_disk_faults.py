# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, may not be written, or is gone, while a map is saved."""

import shutil
import subprocess
import threading

import pytest
from fault_map import MapSystem, loaded, save, small_disk

from mtl_perception_msgs.srv import SaveMap


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """A node that saves its map all the time, to a disk of 3 MiB of its own."""
    parent = tmp_path_factory.mktemp("disks")
    with small_disk(parent / "disk", 3072) as mounted:
        if not mounted:
            pytest.skip("this machine does not let us mount a disk")
        values = {"autosave_period": 0.3, "archive_folder": str(parent / "archive")}
        (parent / "archive").mkdir()
        system = MapSystem(parent / "disk", **values)
        system.start()
        save(system, "good")
        yield system
        system.close()


def fill(system):
    """Leave no room on the disk."""
    with (system.folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def names(system):
    return sorted(path.name for path in system.folder.iterdir())


@pytest.mark.fault(
    "disk full at save", done="a save to a disk without room", expected="refused, nothing left behind, old map whole"
)
def test_disk_full_at_save(system, case):
    with system.during(case):
        before = names(system)
        fill(system)
        system.refused(case, system.call(SaveMap, "mapping/save", path="good"), "No space left")
        (system.folder / "ballast").unlink()
        assert names(system) == before
        assert loaded(system, "good").success
        save(system, "good")


@pytest.mark.fault(
    "disk full at autosave", done="no room while the map saves itself", expected="an error, saved once there is room"
)
def test_disk_full_at_autosave(system, case):
    with system.during(case, map_stays=False):
        fill(system)
        system.more()
        system.seen(case, "autosave", "No space left")
        (system.folder / "ballast").unlink()


@pytest.mark.fault("disk full for a moment", done="as before, with frames coming", expected="no frame is lost")
def test_frames_while_the_disk_is_full(system, case):
    with system.during(case, map_stays=False):
        fill(system)
        before = system.node._mapper.stats.frames
        for _ in range(3):
            system.more()
        assert system.node._mapper.stats.frames == before + 3
        system.seen(case, "autosave", "No space left")
        (system.folder / "ballast").unlink()


@pytest.mark.fault(
    "read-only disk at save", done="the disk becomes read-only for a while", expected="refused, old map whole"
)
def test_read_only_disk(system, case):
    with system.during(case, map_stays=False):
        subprocess.run(["mount", "-o", "remount,ro", str(system.folder)], check=True)
        try:
            system.refused(case, system.call(SaveMap, "mapping/save", path="good"), "Read-only file system")
            assert loaded(system, "good").success
            system.more()
            system.seen(case, "autosave", "Read-only file system")
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(system.folder)], check=True)


@pytest.mark.fault(
    "map folder removed while running", done="all that is in it removed", expected="the next save makes it anew"
)
def test_folder_removed(system, case):
    with system.during(case):
        for path in system.folder.iterdir():
            shutil.rmtree(path)
        save(system, "deep/in/it")
        assert loaded(system, "deep/in/it").success
        case.saw("saved to a folder that is made anew")


@pytest.mark.fault(
    "map folder removed during a save", done="its new folder is removed half-way", expected="refused, the node goes on"
)
def test_folder_removed_during_a_save(system, case, monkeypatch):
    from mtl_perception.mapping import storage

    removed, write = threading.Event(), storage.write_products

    def remove_before(folder, products):
        shutil.rmtree(folder)
        removed.set()
        write(folder, products)

    with system.during(case), monkeypatch.context() as patch:
        patch.setattr(storage, "write_products", remove_before)
        system.refused(case, system.call(SaveMap, "mapping/save", path="gone"), "No such file or directory")
        assert removed.is_set()


@pytest.mark.fault(
    "archive folder removed while running", done="archive_folder removed", expected="it is made anew where it is needed"
)
def test_archive_removed(system, case):
    archive = system.folder.parent / "archive"
    with system.during(case, map_stays=False):
        shutil.rmtree(archive)
        answer = system.call(SaveMap, "mapping/save", path="good")
        case.saw(f"answer: {answer.message}"[:200])
        system.more()
        archive.mkdir(exist_ok=True)
        save(system, "good")
        assert loaded(system, "good").success
