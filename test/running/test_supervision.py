# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Children are started, listened to and always reaped."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mtl_perception.running.supervision import Supervisor

# Python leaves SIGINT ignored when it is started so, as background jobs of a shell are.
OBEYS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print('up', flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print('down')
"""
REFUSES = (
    "import signal, time\nfor n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)\n"
    "print('up', flush=True)\ntime.sleep(60)"
)


def test_sigint_ends_a_child_which_obeys_with_exit_code_0():
    output = io.StringIO()
    with Supervisor(output) as supervisor:
        supervisor.start("node", [sys.executable, "-c", OBEYS])
        _wait_until(lambda: "[node] up" in output.getvalue())
        (end,) = supervisor.stop()
    assert (end.name, end.code) == ("node", 0)
    assert end.last_lines == ("up", "down")
    assert "[node] down" in output.getvalue()


def test_a_child_which_refuses_is_killed():
    output = io.StringIO()
    with Supervisor(output, grace_s=0.4) as supervisor:
        supervisor.start("stubborn", [sys.executable, "-c", REFUSES])
        _wait_until(lambda: "up" in output.getvalue())
        (end,) = supervisor.stop()
    assert end.code == -signal.SIGKILL
    assert "'stubborn' ended with signal SIGKILL" in str(end)


def test_a_dying_child_is_reported_with_its_last_lines():
    with Supervisor(io.StringIO()) as supervisor:
        supervisor.start("perception", [sys.executable, "-c", "print('no image'); raise SystemExit(3)"])
        supervisor.start("other", [sys.executable, "-c", OBEYS])
        _wait_until(lambda: supervisor.ended())
        (end,) = supervisor.ended()
        assert supervisor.running == ["other"]
        assert set(supervisor.pids) == {"other"}
        os.kill(supervisor.pids["other"], 0)  # there it is
    assert str(end) == "'perception' ended with exit code 3\n    no image"
    assert not supervisor.running


def test_an_error_in_the_block_ends_the_children():
    with pytest.raises(RuntimeError, match="mine"), Supervisor(io.StringIO()) as supervisor:
        supervisor.start("node", [sys.executable, "-c", OBEYS])
        raise RuntimeError("mine")
    assert not supervisor.running


def test_a_grandchild_goes_too(tmp_path: Path):
    pid_file = str(tmp_path / "pid")
    script = f"import subprocess\npid = subprocess.Popen(['sleep', '60']).pid\nopen({pid_file!r}, 'w').write(str(pid))"
    with Supervisor(io.StringIO()) as supervisor:
        supervisor.start("parent", [sys.executable, "-c", script])
        _wait_until(lambda: supervisor.ended())
    _wait_until(lambda: not _is_running(int((tmp_path / "pid").read_text())))


def test_children_go_when_the_parent_is_killed():
    script = textwrap.dedent(
        """
        import sys, time
        from mtl_perception.running.supervision import Supervisor
        with Supervisor(sys.stderr) as supervisor:
            child = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'
            supervisor.start('node', [sys.executable, '-c', child])
            time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    child = int(parent.stderr.readline().split()[-1])
    parent.kill()
    parent.wait()
    parent.stderr.close()
    _wait_until(lambda: not _is_running(child))


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
