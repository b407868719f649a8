# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `evaluate` command: from one bag or hundreds to a report."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

import mtl_perception
from mtl_perception.core import LabelSpace
from mtl_perception.core.outside_files import read_yaml
from mtl_perception.data.recordings.bag_rig import CameraTopics
from mtl_perception.evaluation.fleet import BagJob, Engine, InProcess, LocalWorkers, RayEngine, Work, bags_in, run_fleet
from mtl_perception.evaluation.gate import Tolerance, print_regressions, read_baseline, regressions
from mtl_perception.evaluation.progress import FleetProgress
from mtl_perception.evaluation.replay import Replay, ReplaySettings, scores_of
from mtl_perception.evaluation.report.console import print_metrics
from mtl_perception.evaluation.result import BagResult
from mtl_perception.evaluation.run import RunResult, write_run
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.truth.mapping import read_mappings
from mtl_perception.mapping import MapperConfig
from mtl_perception.network import load_checkpoint
from mtl_perception.resources import checkpoint_file, config_file, config_folder, default_checkpoint
from mtl_perception.scenes import SCENES

REGRESSION = 3
"""Exit code: the evaluation went well, and the result is worse than the baseline."""
_FAILED = 1
_KEY = "key"
"""In a bag's runtime.json: what it was evaluated with, so that an interrupted run can go on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `evaluate` command."""
    parser.add_argument(
        "bags",
        nargs="+",
        type=Path,
        metavar="BAG",
        help="a rosbag2 recording, a folder to search for recordings, or a text file with one of these a line",
    )
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--checkpoint", type=Path, help="a file, or one of the package by its name (default: nano)")
    network.add_argument(
        "--perfect",
        action="store_true",
        help="no network: judge the map and the scene graph that the truth itself gives",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("evaluation_out"), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="as torch names it, e.g. cuda:0 (default: %(default)s)")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="TOPIC=TASK[:CAMERA]",
        help="where the bag has the truth, if not on /ground_truth/...: a topic, or a YAML file with a list of them",
    )
    parser.add_argument("--scene", choices=tuple(SCENES), help="map settings for it (default: the configuration's)")
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="map settings laid over config/perception.yaml, cameras and topics"
    )
    parser.add_argument("--save-maps", action="store_true", help="save the map of each bag, as DIR/maps/BAG")
    scoring = parser.add_argument_group("scores")
    scoring.add_argument(
        "--min-depth", type=_positive, default=ScoreOptions.min_depth, help="metres (default: %(default)s)"
    )
    scoring.add_argument(
        "--max-depth", type=_positive, default=ScoreOptions.max_depth, help="metres (default: %(default)s)"
    )
    scoring.add_argument(
        "--median-scaling", action="store_true", help="scale each depth image by the ratio of the medians before"
    )
    gate = parser.add_argument_group("regression gate")
    gate.add_argument(
        "--baseline", type=Path, metavar="JSON", help=f"a metrics.json; exit code {REGRESSION} when this is worse"
    )
    gate.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="T",
        help="2%% (of the baseline), depth=5%% (of a task's), or depth.abs_rel=0.01 (absolute) (default: 1%%)",
    )
    fleet = parser.add_argument_group("many bags")
    fleet.add_argument("--engine", choices=("local", "ray"), default="local", help="(default: %(default)s)")
    fleet.add_argument(
        "--workers", type=_count, metavar="N", help="bags at a time (default: local 1, ray as many as have room)"
    )
    fleet.add_argument("--address", default="local", help="ray: of the cluster (default: a cluster on this machine)")
    fleet.add_argument(
        "--retries", type=int, default=2, metavar="N", help="for a bag that failed (default: %(default)s)"
    )
    fleet.add_argument("--threads", type=_count, metavar="N", help="of torch, a bag (default: all, shared by workers)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, report, compare with the baseline; 0, 1 when a bag failed, 3 when it is worse than the baseline.

    Raises:
        ValueError, OSError: a bag, the checkpoint, the configuration or the baseline cannot be used.
    """
    tolerance = Tolerance.parse(arguments.tolerance)
    baseline = read_baseline(arguments.baseline) if arguments.baseline is not None else None
    jobs = bags_in(arguments.bags)
    settings = _settings(arguments)
    labels = _labels(settings)
    outcome = evaluate(jobs, settings, labels, arguments.out, engine=_engine(arguments), retries=arguments.retries)
    write_run(outcome, arguments.out)
    console = Console()
    print_metrics(console, outcome)
    console.print(f"report: {arguments.out / 'report.html'}", highlight=False, soft_wrap=True)
    for name, reason in outcome.failed.items():
        print(f"mtl_perception evaluate: {name} failed: {reason}", file=sys.stderr)
    worse = [] if baseline is None else regressions(outcome.metrics(), baseline, outcome.scores, tolerance)
    if baseline is not None:
        print_regressions(console, worse)
    if outcome.failed:
        return _FAILED
    return REGRESSION if worse else 0


def evaluate(
    jobs: Sequence[BagJob],
    settings: ReplaySettings,
    labels: LabelSpace,
    out: Path,
    *,
    engine: Engine,
    retries: int,
) -> RunResult:
    """Evaluate bags, each of which is saved below `out` when it is done: an interrupted run goes on from there.

    Raises:
        OSError: results cannot be written.
    """
    keys = {job.name: _key(job, settings) for job in jobs}
    done = {job.name: result for job in jobs if (result := _finished(out, job, keys[job.name])) is not None}
    todo = [job for job in jobs if job.name not in done]

    def with_key(result: BagResult) -> BagResult:
        return dataclasses.replace(result, runtime={**result.runtime, _KEY: keys[result.name]})

    def keep(result: BagResult) -> None:
        with_key(result).save(bag_folder(out, result.name))

    with FleetProgress(len(jobs), len(done)) as progress:
        outcome = run_fleet(
            todo, partial(_make_work, settings), engine=engine, retries=retries, keep=keep, progress=progress
        )
    results = [*done.values(), *map(with_key, outcome.results)]
    return RunResult(
        bags=tuple(sorted(results, key=lambda result: result.name)),
        failed=outcome.failed,
        retried=outcome.retried,
        scores=scores_of(settings, labels),
        settings=_facts(settings),
    )


def main() -> None:
    """Run the command as a program of its own (`ros2 run mtl_perception evaluate`)."""
    from mtl_perception.cli import main as command_line

    sys.exit(command_line(["evaluate", *sys.argv[1:]]))


def bag_folder(out: Path, name: str) -> Path:
    """Return where a bag's own results are."""
    return out / "bags" / name


def _make_work(settings: ReplaySettings) -> Work:
    """Load the network once a process; return what evaluates one bag with it."""
    replay = Replay(settings)
    return lambda job, advanced: replay.run(job.path, job.name, advanced)


def _settings(arguments: argparse.Namespace) -> ReplaySettings:
    return ReplaySettings(
        checkpoint=None if arguments.checkpoint is None else checkpoint_file(arguments.checkpoint).resolve(),
        device=arguments.device,
        mapper=_mapper_config(arguments.scene, arguments.config),
        options=ScoreOptions(arguments.min_depth, arguments.max_depth, arguments.median_scaling),
        mapping=read_mappings(arguments.map),
        cameras=_cameras(arguments.config),
        threads=arguments.threads,
        perfect=arguments.perfect,
        maps=(arguments.out / "maps").resolve() if arguments.save_maps else None,
    )


def _labels(settings: ReplaySettings) -> LabelSpace:
    if settings.perfect:
        return LabelSpace.load(config_file("labels", "default"))
    return load_checkpoint(settings.checkpoint or default_checkpoint()).labels


def _mapper_config(scene: str | None, config: Path | None) -> MapperConfig:
    """Return the map's settings, from the same files and in the same order as the nodes'."""
    values: dict[str, Any] = dict(_parameters(config_folder() / "perception.yaml"))
    values |= SCENES.get(scene or "", {})
    if config is not None:
        values |= _parameters(config)
    known = MapperConfig.model_fields.keys()
    return MapperConfig(**{name: value for name, value in values.items() if name in known})


def _cameras(config: Path | None) -> dict[str, CameraTopics] | None:
    """Return the cameras that a parameter file names, each with the topics that the nodes would take; None: none."""
    if config is None:
        return None
    parameters, cameras = _parameters(config), {}
    names = parameters.get("cameras") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{config}: cameras is {names!r:.80}, expected a list of names")
    for name in names:
        own = parameters.get(name) or {}
        if not isinstance(own, dict):
            raise ValueError(f"{config}: {name} is {own!r:.80}, expected names with values")
        image, info = (
            str(own.get(key) or parameters.get(f"{name}.{key}") or f"{name}/{usual}")
            for key, usual in (("image_topic", "image"), ("info_topic", "camera_info"))
        )
        rectified = bool(own.get("rectified") or parameters.get(f"{name}.rectified"))
        cameras[name] = CameraTopics(f"/{image.lstrip('/')}", f"/{info.lstrip('/')}", rectified)
    return cameras or None


def _parameters(file: Path) -> dict[str, Any]:
    content = read_yaml(file) or {}
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ValueError(f"{file} is not a parameter file: expected '<node>: ros__parameters: ...'")
    parameters: dict[str, Any] = {}
    for entry in content.values():
        own = entry.get("ros__parameters") or {}
        if not isinstance(own, dict):
            raise ValueError(f"{file}: ros__parameters is {own!r:.80}, expected names with values")
        parameters |= own
    return parameters


def _engine(arguments: argparse.Namespace) -> Engine:
    if arguments.engine == "ray":
        on_gpu = not arguments.device.startswith("cpu")
        return RayEngine(arguments.address, arguments.workers, cores=arguments.threads or 1, gpus=float(on_gpu))
    return InProcess() if arguments.workers in (None, 1) else LocalWorkers(arguments.workers)


def _finished(out: Path, job: BagJob, key: str) -> BagResult | None:
    """Return the result of an earlier run with the same settings, if there is one."""
    try:
        result = BagResult.load(bag_folder(out, job.name))
    except (OSError, ValueError):
        return None
    return result if result.runtime.get(_KEY) == key else None


def _key(job: BagJob, settings: ReplaySettings) -> str:
    """Return what tells whether a bag has been evaluated with just these settings."""
    files = sorted(path for path in job.path.rglob("*") if path.is_file()) if job.path.is_dir() else [job.path]
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    checkpoint = b"" if settings.perfect else (settings.checkpoint or default_checkpoint()).read_bytes()
    facts = {
        **_facts(settings),
        "maps": settings.maps is not None,
        "version": mtl_perception.__version__,
        "device": settings.device,
        "threads": settings.threads,
        "checkpoint": hashlib.sha256(checkpoint).hexdigest(),
        "files": stamps,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _facts(settings: ReplaySettings) -> dict[str, Any]:
    named: dict[str, Any] = {} if settings.cameras is None else {"cameras": _by_name(settings.cameras)}
    if settings.perfect:
        named["perfect"] = True
    return named | {
        "map": settings.mapper.model_dump(mode="json"),
        "min_depth": settings.options.min_depth,
        "max_depth": settings.options.max_depth,
        "median_scaling": settings.options.median_scaling,
        "truth_topics": [str(mapping) for mapping in settings.mapping],
    }


def _by_name(cameras: Mapping[str, CameraTopics]) -> list[list[str]]:
    """Return the cameras in a form in which their order counts."""
    return [
        [name, topics.image, topics.info, *(["rectified"] if topics.rectified else [])]
        for name, topics in cameras.items()
    ]


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than one")
    return value
