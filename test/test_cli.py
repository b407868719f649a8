# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: help without heavy imports, one-line errors, exit codes."""

import subprocess
import sys

import pytest

from mtl_perception import cli


def test_help_lists_the_commands_and_imports_nothing_heavy():
    script = (
        "import sys\nfrom mtl_perception.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "print('heavy:', [name for name in ('rclpy', 'torch', 'open3d', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for command in cli.COMMANDS:
        assert command.name in done.stdout
    assert "heavy: []" in done.stdout


@pytest.mark.parametrize("command", [command.name for command in cli.COMMANDS])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"mtl_perception {command}" in capsys.readouterr().out


def test_an_interruption_of_code_that_is_run_from_text_exits_like_any_other(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "import sys, types\nfrom mtl_perception import cli\n"
        "command = sys.modules['command'] = types.ModuleType('command')\n"
        "command.add_arguments = lambda parser: None\n"
        "command.run = lambda arguments: exec('raise KeyboardInterrupt')\n"
        "cli.COMMANDS = (cli.Command('wait', 'command', 'wait for ever'),)\n"
        "sys.exit(cli.main(['wait']))\n"
    )
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (cli.INTERRUPTED, "")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--no-such-option"]])
def test_a_wrong_call_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == cli.USAGE_ERROR
    assert "error:" in capsys.readouterr().err


def test_a_failure_is_one_line_and_exit_code_1(tmp_path, capsys):
    missing = tmp_path / "no_such_bag"
    assert cli.main(["up", "--bag", str(missing)]) == cli.FAILURE
    error = capsys.readouterr().err.strip()
    assert error.startswith("mtl_perception up: ") and str(missing) in error
    assert len(error.splitlines()) == 1
