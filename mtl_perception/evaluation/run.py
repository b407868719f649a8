# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation of one or many bags: what they give together, and the folder that keeps it."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.outside_files import read_json
from mtl_perception.evaluation.bootstrap import Interval, intervals, rows_of_bags
from mtl_perception.evaluation.report.markdown import report_markdown
from mtl_perception.evaluation.result import BagResult
from mtl_perception.evaluation.score import Score
from mtl_perception.evaluation.statistics import TaskStatistics, Totals
from mtl_perception.files import write_whole

METRICS_FILE = "metrics.json"
RUNTIME_FILE = "runtime.json"
HTML_FILE = "report.html"
MARKDOWN_FILE = "report.md"
BAGS_FOLDER = "bags"

_UNDEFINED = "prediction and truth are there, but define none of its metrics"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What the evaluation of some bags gives.

    Attributes:
        bags: sorted by name.
        failed: per bag that could not be evaluated, why.
        retried: per bag that was tried more than once, how many more times.
        scores: one a task; tasks are reported in this order.
        settings: what decided about the figures: options of the scores, of the map. Can be written as JSON.
    """

    bags: tuple[BagResult, ...]
    failed: Mapping[str, str]
    retried: Mapping[str, int]
    scores: tuple[Score, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Sort the bags and check that they belong together.

        Raises:
            ValueError: two bags have one name, a bag is given as failed as well, bags were evaluated with different
                networks, or a bag has statistics of a task that none of the scores is for.
        """
        object.__setattr__(self, "bags", tuple(sorted(self.bags, key=lambda bag: bag.name)))
        names = Counter([*(bag.name for bag in self.bags), *self.failed])
        repeated = [name for name, count in names.items() if count > 1]
        if repeated:
            raise ValueError(f"the bag '{repeated[0]}' is given more than once")
        tasks = {score.task for score in self.scores}
        for bag in self.bags:
            if bag.network != self.bags[0].network:
                raise ValueError(f"the bags '{self.bags[0].name}' and '{bag.name}' come from different networks")
            unknown = [task for task in bag.statistics if task not in tasks]
            if unknown:
                raise ValueError(f"the bag '{bag.name}' has statistics of '{unknown[0]}', there is no score for it")

    @cached_property
    def statistics(self) -> dict[str, TaskStatistics]:
        """Per scored task the rows of all bags that have any, in the order of the bags."""
        found = {}
        for score in self.scores:
            parts = [bag.statistics[score.task] for bag in self.bags if score.task in bag.statistics]
            if parts:
                found[score.task] = TaskStatistics.joined(parts)
        return found

    @cached_property
    def totals(self) -> dict[str, Totals]:
        """Per scored task the exact sums over all bags."""
        return {task: statistics.total() for task, statistics in self.statistics.items()}

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Per scored task and metric the 95 % interval; without those that too few frames define."""
        found = {}
        for score in self.scores:
            if score.task in self.statistics:
                parts = [bag.statistics[score.task] for bag in self.bags if score.task in bag.statistics]
                found[score.task] = intervals(self.statistics[score.task], rows_of_bags(parts), score)
        return found

    def metrics(self) -> dict[str, Any]:
        """Return the content of metrics.json: no time, no path, nothing that differs from run to run.

        `left_out` has per task one reason where all bags agree on it, else a reason a bag that lacks the task.
        """
        return copy.deepcopy(self._metrics)

    def runtime(self) -> dict[str, Any]:
        """Return the content of runtime.json: what differs from run to run."""
        return {
            "bags": {bag.name: dict(bag.runtime) for bag in self.bags},
            "retried": dict(sorted(self.retried.items())),
        }

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        by_task = {score.task: score for score in self.scores}
        metrics = {task: finite(by_task[task].metrics(totals)) for task, totals in self.totals.items()}
        per_class = {task: _finite_classes(by_task[task].per_class(totals)) for task, totals in self.totals.items()}
        content: dict[str, Any] = {
            "bags": [bag.name for bag in self.bags],
            "frames": sum(len(bag.stamps_ns) for bag in self.bags),
            "metrics": {task: values for task, values in metrics.items() if values},
            "per_class": {task: classes for task, classes in per_class.items() if classes},
            "checkpoint": _checkpoint(self.bags),
            "failed": dict(self.failed),
            "left_out": self._left_out([task for task, values in metrics.items() if not values]),
            "truth": self._truth(),
            "dropped": dict(sum((Counter(bag.dropped) for bag in self.bags), Counter[str]())),
            "settings": dict(self.settings),
        }
        if len(self.bags) > 1:
            content["per_bag"] = {bag.name: self._bag_metrics(bag) for bag in self.bags}
        return content

    def _bag_metrics(self, bag: BagResult) -> dict[str, dict[str, float]]:
        scored = [score for score in self.scores if score.task in bag.statistics]
        return {score.task: finite(score.metrics(bag.statistics[score.task].total())) for score in scored}

    def _left_out(self, undefined: Sequence[str]) -> dict[str, Any]:
        reasons: dict[str, dict[str, str]] = {}
        for bag in self.bags:
            for task, reason in bag.left_out.items():
                reasons.setdefault(task, {})[bag.name] = reason
        agreed: dict[str, Any] = {}
        for task, by_bag in reasons.items():
            same = len(by_bag) == len(self.bags) and len(set(by_bag.values())) == 1
            agreed[task] = next(iter(by_bag.values())) if same else by_bag
        return agreed | dict.fromkeys(undefined, _UNDEFINED)

    def _truth(self) -> dict[str, list[str]]:
        sources: dict[str, set[str]] = {}
        for bag in self.bags:
            for task, source in bag.truth.items():
                sources.setdefault(task, set()).add(source)
        return {task: sorted(found) for task, found in sources.items()}


def write_run(run: RunResult, folder: Path) -> None:
    """Write metrics.json, runtime.json, report.html, report.md and bags/<name>/ to a folder.

    Each file appears whole or not at all, metrics.json last; results of bags that an earlier run left in the folder
    are removed. The same evaluation gives the same bytes of metrics.json.

    Raises:
        ValueError: a bag's name cannot be the name of a folder.
        OSError: a file cannot be written.
    """
    bags = folder / BAGS_FOLDER
    bags.mkdir(parents=True, exist_ok=True)
    names = {bag.name for bag in run.bags}
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"the bag's name '{name}' cannot be the name of a folder")
    for bag in run.bags:
        bag.save(bags / bag.name)
    for old in bags.iterdir():
        if old.is_dir() and old.name not in names:
            shutil.rmtree(old)
    write_whole(folder / RUNTIME_FILE, as_json(run.runtime()))
    write_whole(folder / MARKDOWN_FILE, report_markdown(run))
    # Only here: drawing needs matplotlib, which the processes that evaluate single bags can do without.
    from mtl_perception.evaluation.report.html import report_html

    write_whole(folder / HTML_FILE, report_html(run))
    write_whole(folder / METRICS_FILE, as_json(run.metrics()))


def load_run(folder: Path, scores: Sequence[Score] | Callable[[Mapping[str, Any]], Sequence[Score]]) -> RunResult:
    """Read what `write_run` has written.

    Args:
        folder: the run's.
        scores: one a task; or what makes them of the run's own settings.

    Raises:
        ValueError: the folder is not such a run, or a file of it is damaged; names it.
        OSError: a file cannot be read.
    """
    metrics = read_metrics(folder / METRICS_FILE)
    try:
        retried = json.loads((folder / RUNTIME_FILE).read_text())["retried"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / RUNTIME_FILE} is not the run time of an evaluation: {error!r}") from error
    bags = tuple(BagResult.load(folder / BAGS_FOLDER / name) for name in metrics["bags"])
    settings = metrics["settings"]
    return RunResult(
        bags, metrics["failed"], retried, tuple(scores(settings) if callable(scores) else scores), settings
    )


_METRICS_BYTES = 1 << 28


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a metrics.json and check its form.

    Raises:
        ValueError: it is not one; names the file and the key that is missing or has another form.
        OSError: it cannot be read.
    """
    content = read_json(path, _METRICS_BYTES)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not the metrics.json of an evaluation: it holds no object")
    forms: dict[str, type] = {"bags": list, "metrics": dict, "failed": dict, "settings": dict}
    for key, form in forms.items():
        if not isinstance(content.get(key), form):
            raise ValueError(
                f"{path} is not the metrics.json of an evaluation: '{key}' is missing or no {form.__name__}"
            )
    for task, values in content["metrics"].items():
        if not isinstance(values, dict):
            raise ValueError(f"{path}: 'metrics.{task}' holds no metrics")
        for metric, value in values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"{path}: 'metrics.{task}.{metric}' is {value!r}, expected a number")
    return content


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values that this data defines, as plain floats."""
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def as_json(content: Any) -> str:
    """Return JSON that is the same for the same content: keys sorted, floats as the shortest text that gives them."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _finite_classes(classes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    found = {name: finite(values) for name, values in classes.items()}
    return {name: values for name, values in found.items() if values}


def _checkpoint(bags: Sequence[BagResult]) -> dict[str, Any] | None:
    if not bags:
        return None
    network = bags[0].network
    name = network.get("checkpoint")
    return {
        "name": Path(str(name)).name if name is not None else None,
        "preset": network.get("preset"),
        "tasks": list(network.get("tasks", ())),
    }
