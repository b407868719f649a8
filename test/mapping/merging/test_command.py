# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command `merge`: what it writes and says, and that nothing is half there."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np

from mtl_perception import cli
from test.mapping.merging.conftest import CONFIG, SELF_FROM_OTHER


def transform():
    yaw = np.arctan2(SELF_FROM_OTHER[1, 0], SELF_FROM_OTHER[0, 0])
    return [f"{value:.9f}" for value in (*SELF_FROM_OTHER[:3, 3].tolist(), yaw)]


def test_two_maps_are_merged_with_the_transform_that_is_given(world, loaded, tmp_path, capsys):
    arguments = ["merge", str(world.one), str(world.other), "--out", str(tmp_path / "both")]
    assert cli.main([*arguments, "--transform", *transform()]) == 0
    said = capsys.readouterr()
    mapper = loaded(tmp_path / "both")
    assert len(mapper.objects()) == len(world.joint.objects()) and mapper.stats.frames == 24
    assert f"wrote {tmp_path / 'both'}: {mapper.stats.blocks} blocks" in said.out
    assert "objects were known" in said.out and "agents b" in said.out
    assert [line.split()[0] for line in said.err.splitlines()] == ["reading", "merging", "writing"]


def test_without_a_transform_it_is_found(world, loaded, tmp_path, capsys):
    assert cli.main(["merge", str(world.one), str(world.other), "--out", str(tmp_path / "both")]) == 0
    said = capsys.readouterr().out.split()
    found = np.array(said[1:5], float)
    assert said[0] == "--transform" and np.abs(found[:3] - SELF_FROM_OTHER[:3, 3]).max() < 2 * CONFIG.voxel_size
    assert len(loaded(tmp_path / "both").objects()) == len(world.joint.objects())


def test_what_cannot_be_merged_is_refused_with_exit_code_2(world, tmp_path, capsys):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("dear")
    for first, second, out, text in (
        (world.one, world.elsewhere, "both", "refused: the maps do not overlap enough"),
        (world.one, tmp_path, "both", "refused: .* is no readable map"),
        (tmp_path, world.one, "both", "refused: .* is no readable map"),
        (world.one, world.other, "letters", "refused: .* exists and is no map"),
    ):
        assert cli.main(["merge", str(first), str(second), "--out", str(tmp_path / out)]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("mtl_perception merge: ") and re.search(text, error)
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def test_killed_while_it_writes_it_leaves_no_half_map(world, loaded, tmp_path):
    arguments = [sys.executable, "-m", "mtl_perception", "merge", str(world.one), str(world.other)]
    arguments += ["--out", str(tmp_path / "both"), "--transform", *transform()]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("writing"):
            break
    while not list(tmp_path.glob(".both.*.tmp")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (tmp_path / "both").exists():  # it was quicker
        assert loaded(tmp_path / "both").stats.frames == 24
    loaded(world.one).save(tmp_path / "both")  # removes what is left over
    assert not list(tmp_path.glob(".both.*"))
