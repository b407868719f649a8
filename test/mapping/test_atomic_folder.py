# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that are replaced as one: at every call to the system there is a whole one, whatever a kill leaves."""

import ctypes
import errno
import fcntl
import itertools
import os
import random
import signal
from pathlib import Path

import pytest

from mtl_perception.mapping import atomic_folder
from mtl_perception.mapping.atomic_folder import current, replacing

FILES = ("first", "second", "mark")
TRACEME, SYSCALL, SETOPTIONS, EXITKILL = 0, 24, 0x4200, 0x100000  # of ptrace(2)
NEW_MOUNTS, PRIVATE = 0x20000, 0x44000  # CLONE_NEWNS of unshare(2), MS_REC | MS_PRIVATE of mount(2)


def write(folder: Path, content: str) -> None:
    with replacing(folder, "mark") as new:
        for name in FILES:
            (new / name).write_text(content)


def read(folder: Path) -> set[str]:
    found = current(folder, "mark")
    assert {path.name for path in found.iterdir()} == set(FILES)
    return {path.read_text() for path in found.iterdir()}


def ptrace(request: int, pid: int, data: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, pid, None, data) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def stops(action):
    """Do something in a process that stops wherever a call to the system begins or ends; yield at each stop.

    At a stop, the files are what a kill there would leave. A process of which no more stops are wanted is killed.
    """
    child = os.fork()
    if child == 0:
        try:
            ptrace(TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        pytest.skip("this system lets no process trace another")
    ptrace(SETOPTIONS, child, EXITKILL)
    try:
        while not os.WIFEXITED(status):
            yield
            ptrace(SYSCALL, child)
            _, status = os.waitpid(child, 0)
        assert os.WEXITSTATUS(status) == 0
    finally:
        if not os.WIFEXITED(status):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.fixture(params=["exchanged", "renamed", "copied"])
def way(request, monkeypatch):
    """The ways in which a folder gets out of the way: by the system, or where that can do less."""
    if request.param != "exchanged":
        monkeypatch.setattr(atomic_folder, "_exchanged", lambda one, other: False)
    if request.param == "copied":
        rename = Path.rename

        def rename_new_ones(path, target):
            if not path.name.endswith(".tmp"):
                raise OSError(errno.EXDEV, "as a folder of a lower layer")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", rename_new_ones)
    return request.param


def test_whenever_a_process_is_killed_there_is_a_whole_folder(tmp_path, way):
    folder = tmp_path / "folder"
    write(folder, "old")
    found = [read(folder) for _ in stops(lambda: write(folder, "new"))]
    change = found.index({"new"})
    assert all(content == {"old"} for content in found[:change])
    assert all(content == {"new"} for content in found[change:])
    assert change > 100 and len(found) - change > 10  # calls to the system on both sides


def test_what_killed_processes_leave_is_removed_by_the_next(tmp_path, way):
    folder = tmp_path / "folder"
    write(folder, "0")
    count = sum(1 for _ in stops(lambda: write(folder, "0")))
    before = "0"
    for number, last in enumerate(random.Random(0).sample(range(count), 12)):
        for _ in itertools.islice(stops(lambda content=str(number): write(folder, content)), last):
            pass  # then it is killed
        (after,) = read(folder)
        assert after in (before, str(number))  # never one from before
        assert len(list(tmp_path.iterdir())) <= 3  # at most one that is new, and one that was put aside
        before = after
    write(folder, "whole")
    assert read(folder) == {"whole"} and [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_an_error_leaves_the_old_folder(tmp_path, way):
    write(tmp_path / "folder", "old")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "folder", "mark") as new:
        (new / "first").write_text("new")
        raise OSError("full")
    assert read(tmp_path / "folder") == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_another_process_writes_is_left_alone(tmp_path):
    (tmp_path / ".folder.killed.tmp").mkdir()
    (tmp_path / ".folder.killed.tmp" / "first").write_text("x")
    (tmp_path / ".other.killed.tmp").mkdir()
    with replacing(tmp_path / "folder", "mark") as slow:
        write(tmp_path / "folder", "fast")
        assert slow.is_dir()
        for name in FILES:
            (slow / name).write_text("slow")
    assert read(tmp_path / "folder") == {"slow"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.killed.tmp", "folder"]


def test_processes_that_write_at_once_each_leave_whole_folders(tmp_path, way):
    write(tmp_path / "folder", "0")
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            for _ in range(10):
                write(tmp_path / "folder", str(number))
            os._exit(0)
        children.append(child)
    while children:
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            children.remove(done)
            assert status == 0
    assert len(read(tmp_path / "folder")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk" / "folder", "old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "folder")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and read(tmp_path / "disk" / "folder") == {"new"}
    (tmp_path / "disk" / "folder").rename(tmp_path / "disk" / ".folder.previous")  # as a killed process may leave it
    assert read(tmp_path / "link") == {"new"}


def in_overlay(layers: Path, action) -> None:
    """Do something in a process that sees the folders `lower` and `upper` of `layers` as one, `merged`."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    child = os.fork()
    if child == 0:
        try:
            private = libc.unshare(NEW_MOUNTS) == 0 and libc.mount(None, b"/", None, PRIVATE, None) == 0
            merged = os.fsencode(layers / "merged")
            if not private or libc.mount(b"overlay", merged, b"overlay", 0, os.fsencode(options)) != 0:
                os._exit(2)
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WEXITSTATUS(status) == 2:
        pytest.skip("this user may not mount")
    assert status == 0


def test_a_folder_of_a_lower_layer_is_replaced(tmp_path):
    """As in a container whose image has the folder: the kernel refuses to rename it there."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    write(tmp_path / "lower" / "folder", "old")
    folder = tmp_path / "merged" / "folder"

    def replace():
        with pytest.raises(OSError, match="cross-device"):
            folder.rename(folder.with_name("renamed"))
        for content in ("new", "newer"):
            write(folder, content)
            assert read(folder) == {content}
        assert [path.name for path in folder.parent.iterdir()] == ["folder"]

    in_overlay(tmp_path, replace)
    assert read(tmp_path / "lower" / "folder") == {"old"}
    assert read(tmp_path / "upper" / "folder") == {"newer"}


def test_a_lock_that_is_held_says_that_a_folder_is_in_use(tmp_path):
    used = tmp_path / ".folder.used.tmp"
    used.mkdir()
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    write(tmp_path / "folder", "new")
    assert used.is_dir()
    os.close(lock)
    write(tmp_path / "folder", "newer")
    assert not used.exists()
