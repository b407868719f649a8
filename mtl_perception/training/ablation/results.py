# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a study found: the figures of its runs, and the verdicts that follow from them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_perception.files import write_whole
from mtl_perception.training.ablation.metrics import ADDED_UP, Measured, Metric
from mtl_perception.training.ablation.runs import definition
from mtl_perception.training.ablation.statistics import Interval, Verdict, interval, paired_difference, verdict
from mtl_perception.training.ablation.study import Claim, Study

_DIGITS = 6


@dataclass(frozen=True)
class Finding:
    """What was found on a claim.

    Attributes:
        claim: the claim.
        first, second: the two variants' metric, with the intervals of each by itself; `second` is None where the claim
            has only one side.
        difference: first minus second, paired by seeds, positive where the first is better; in percent of the second
            where the claim is relative.
        verdict: by that interval alone.
        reason: why there is no figure, "" where there is one.
    """

    claim: Claim
    first: Interval | None
    second: Interval | None
    difference: Interval | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class StudyResults:
    """The results of a study's runs.

    Attributes:
        definition: of the study as it was run.
        steps, seeds: what was given instead of the study's own; None where the study's were used.
        runs: per variant, the results of its seeds.
    """

    definition: str
    steps: int | None
    seeds: int | None
    runs: Mapping[str, Mapping[int, Mapping[str, Any]]]

    @classmethod
    def of(
        cls, study: Study, results: Mapping[tuple[str, int], Mapping[str, Any]], steps: int | None, seeds: int | None
    ) -> StudyResults:
        """Collect what runs gave."""
        runs: dict[str, dict[int, Mapping[str, Any]]] = {}
        for (variant, seed), result in results.items():
            runs.setdefault(variant, {})[seed] = result
        return cls(definition(study), steps, seeds, runs)

    @classmethod
    def read(cls, path: Path) -> StudyResults:
        """Read what `write` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            content = json.loads(path.read_text())
            runs = {
                variant: {int(seed): result for seed, result in seeds.items()}
                for variant, seeds in content["runs"].items()
            }
            return cls(content["definition"], content["steps"], content["seeds"], runs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} does not hold the results of a study") from error

    def write(self, path: Path) -> None:
        """Write them, figures with six digits, and a line a run, as they are kept in the repository."""
        lines = [
            f"  {json.dumps(variant)}: {{\n{_of_seeds(seeds)}\n  }}" for variant, seeds in sorted(self.runs.items())
        ]
        head = {"definition": self.definition, "steps": self.steps, "seeds": self.seeds}
        text = json.dumps(head, indent=1).removesuffix("\n}")
        write_whole(path, f'{text},\n "runs": {{\n' + ",\n".join(lines) + "\n }\n}\n")

    def fits(self, study: Study) -> bool:
        """Whether they are of this study as it is defined now, with its own budget."""
        return self.definition == definition(study) and self.steps is None and self.seeds is None

    @property
    def machines(self) -> str:
        """Where they were made."""
        found = Counter(result["machine"] for runs in self.runs.values() for result in runs.values())
        return "; ".join(name for name, _ in found.most_common())

    def measured(self, study: Study) -> Measured:
        """Return the figures by names of variants and composites."""
        figures = {
            (variant, seed): result["figures"] for variant, runs in self.runs.items() for seed, result in runs.items()
        }
        return Measured(study, figures)

    def findings(self, study: Study) -> list[Finding]:
        """Return what was found on each of the study's claims."""
        measured = self.measured(study)
        return [self._finding(measured, claim) for claim in study.claims]

    def costs(self, study: Study) -> dict[str, dict[str, float]]:
        """Return per variant and composite the means over its seeds of what it costs."""
        measured, costs = self.measured(study), {}
        for name in (*study.variants, *(n for n, c in study.composites.items() if c.of_task)):
            seeds = min((len(self.runs.get(part, {})) for part in study.parts(name)), default=0)
            if seeds:
                values = {cost: measured.values(name, Metric.parse(cost), seeds) for cost in ADDED_UP}
                costs[name] = {cost: interval(found).mean for cost, found in values.items() if _finite(found)}
        return costs

    def _finding(self, measured: Measured, claim: Claim) -> Finding:
        metric = Metric.parse(claim.metric)
        seeds = claim.seeds if self.seeds is None else min(claim.seeds, self.seeds)
        first = measured.values(claim.first, metric, seeds)
        second = None if claim.second is None else measured.values(claim.second, metric, seeds)
        if not _finite(first) or (second is not None and not _finite(second)):
            done = all(len(self.runs.get(part, {})) >= seeds for part in self._needed(measured.study, claim))
            reason = f"{metric.text} is not defined for all runs" if done else "not all of its runs are done"
            return Finding(claim, None, None, None, "undecided" if done else "not run", reason)
        against = [0.0] * seeds if second is None else second
        if claim.relative and 0.0 in against:
            reason = f"{metric.text} of the second is 0: no difference in percent of it"
            return Finding(claim, interval(first), interval(against), None, "undecided", reason)
        scale = [abs(value) / 100.0 for value in against] if claim.relative else [1.0] * seeds
        difference = paired_difference(
            [metric.sign * value / unit for value, unit in zip(first, scale, strict=True)],
            [metric.sign * value / unit for value, unit in zip(against, scale, strict=True)],
        )
        return Finding(
            claim,
            interval(first),
            None if second is None else interval(second),
            difference,
            verdict(difference, claim.relation, claim.margin),
        )

    @staticmethod
    def _needed(study: Study, claim: Claim) -> list[str]:
        names = [claim.first, *([claim.second] if claim.second is not None else [])]
        return [part for name in names for part in study.parts(name)]


def cpu_hours(studies: Sequence[StudyResults]) -> float:
    """Return what all runs of some studies took; one that several variants or studies share counts once."""
    runs = [run for study in studies for seeds in study.runs.values() for run in seeds.values()]
    seconds = {run["digest"]: run["cpu_seconds"] for run in runs}
    return sum(seconds.values()) / 3600.0


def _finite(values: list[float]) -> bool:
    return all(math.isfinite(value) for value in values)


def _of_seeds(seeds: Mapping[int, Mapping[str, Any]]) -> str:
    lines = []
    for seed, result in sorted(seeds.items()):
        figures = {name: float(f"{value:.{_DIGITS}g}") for name, value in result["figures"].items()}
        lines.append(f'   "{seed}": {json.dumps({**result, "figures": figures})}')
    return ",\n".join(lines)
