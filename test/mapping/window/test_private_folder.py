# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The folder goes when its owner does, however that ends."""

import gc
import os
import signal
import subprocess
import sys

import pytest

from mtl_perception.mapping.window import private_folder
from mtl_perception.mapping.window.private_folder import PrivateFolder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_closing_removes_the_folder_and_only_that(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    one, other = PrivateFolder(tmp_path / "maps"), PrivateFolder(tmp_path / "maps")
    (one.path / "0_0_0.region").write_text("x")
    assert names(tmp_path / "maps") == sorted([one.path.name, other.path.name])
    one.close()
    one.close()
    assert names(tmp_path / "maps") == [other.path.name]
    del other
    gc.collect()
    assert names(tmp_path / "maps") == [] and names(tmp_path) == ["maps", "mine.txt"]


def test_it_is_made_in_var_tmp_or_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("TMPDIR", raising=False)
    folder = PrivateFolder()
    assert str(folder.path.parent) in ("/var/tmp", "/tmp")
    folder.close()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert PrivateFolder().path.parent == tmp_path


PROGRAM = """
import runpy, sys
from pathlib import Path
folder = runpy.run_path(sys.argv[1])["PrivateFolder"](Path(sys.argv[2]))
(folder.path / "x").write_text("x")
print(folder.path, flush=True)
sys.stdin.read()
"""


def start(tmp_path):
    command = [sys.executable, "-c", PROGRAM, private_folder.__file__, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def test_at_exit_it_is_gone(tmp_path):
    process = start(tmp_path)
    assert len(names(tmp_path)) == 1
    process.communicate("")
    assert process.returncode == 0 and names(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_lives_is_not(tmp_path):
    living, killed = start(tmp_path), start(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(names(tmp_path)) == 2
    folder = PrivateFolder(tmp_path)
    assert len(names(tmp_path)) == 2 and folder.path.name in names(tmp_path)
    living.communicate("")
    assert names(tmp_path) == [folder.path.name]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_end_of_a_fork_leaves_it(tmp_path):
    folder = PrivateFolder(tmp_path)
    child = os.fork()
    if child == 0:
        folder.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.is_dir()
