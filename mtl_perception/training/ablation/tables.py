# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Results in words: a study's report, and the page of all claims (docs/claims.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mtl_perception.training.ablation.metrics import Measured, Metric
from mtl_perception.training.ablation.results import Finding, StudyResults, cpu_hours
from mtl_perception.training.ablation.runs import PRETRAINING
from mtl_perception.training.ablation.statistics import Interval, interval
from mtl_perception.training.ablation.study import Claim, Study

_SYSTEMS = ("CvM", "UV-M3TL", "M2H", "MAESTRO", "Unified encoder")
_INTRODUCTION = """\
# What of the sources' claims holds here

One row a relative claim of the five systems that the network joins. Each was tested by small variants of one small
network that differ in what the claim is about and in nothing else: same steps, same rendered worlds in the same order,
same batches and optimiser. All start from one encoder that was trained on semantic segmentation of these worlds
(`config/studies/base/pretraining.yaml`), as the sources' start from ImageNet. What is shown are means over seeds with
95 % intervals. *Difference* is the first variant minus the second, paired by seeds (Student's t), positive where the
first is better; with a % sign it is in percent of the second. A seed stands for first weights and for the order of the
data; the held-out worlds are the same for all seeds, so an interval says how sure a difference is on these worlds. A
*gain* is the mean relative change of a study's metrics in percent (of the named tasks), so differences of gains are
percentage points. *Claimed* is where the difference has to lie: above 0 where the first is to be better, within a
margin where both are to be equal, above minus a margin where the first is to be no worse. Sources name no margins;
these are ours and were fixed beforehand. The verdict follows from the difference's interval alone:

* **holds**: all of it lies where it is claimed to.
* **reversed**: none of it does.
* **undecided**: neither.

Claims, metrics, margins, seeds and budgets are data (`config/studies/*.yaml`); a digest of them is kept with the
results, and results of other definitions are not accepted. Nothing was tuned until a sign flipped. With as many claims
as here, about one in twenty intervals misses its true value by chance. What holds at this size (96x64 pixels, some
hundred steps, made-up worlds) need not hold at the sources', nor the other way round.

This page is written by `python -m mtl_perception ablate --write-claims`. The results behind it are in `docs/claims/`;
`python -m mtl_perception ablate --study NAME` repeats one.
"""
_HEADER = (
    "| claim | source's figure | metric | first | second | claimed | difference | seeds | verdict |",
    "|-|-|-|-|-|-|-|-|-|",
)
_COST_UNITS = {"parameters": (1e-3, "k"), "gflops": (1.0, ""), "forward_ms": (1.0, "")}


def claims_page(studies: Mapping[str, Study], results: Mapping[str, StudyResults]) -> str:
    """Return docs/claims.md: the claims of all studies; those of studies without results are "not run"."""
    lines = [_INTRODUCTION, *_summary(studies, results)]
    for system in _SYSTEMS:
        for name, study in studies.items():
            if study.system == system:
                lines += [f"## {study.title}", "", *_of_study(name, study, results.get(name)), ""]
    return "\n".join(lines).rstrip() + "\n"


def study_report(name: str, study: Study, results: StudyResults) -> str:
    """Return a study's report: what was found, all variants with their metrics, and what they cost."""
    lines = [f"# {study.title}", ""]
    if results.steps is not None or results.seeds is not None:
        lines += [
            f"**A trial**: steps {results.steps}, at most {results.seeds} seeds. It says nothing of the claims.",
            "",
        ]
    lines += _of_study(name, study, results)
    return "\n".join(lines).rstrip() + "\n"


def _summary(studies: Mapping[str, Study], results: Mapping[str, StudyResults]) -> list[str]:
    counts: dict[str, Counter[str]] = {system: Counter() for system in _SYSTEMS}
    for name, study in studies.items():
        for finding in _findings(study, results.get(name)):
            counts[study.system][finding.verdict] += 1
    verdicts = ("holds", "reversed", "undecided", "not run")
    lines = ["| system | " + " | ".join(verdicts) + " |", "|-" * 5 + "|"]
    lines += [f"| {system} | " + " | ".join(str(count[v]) for v in verdicts) + " |" for system, count in counts.items()]
    if results:
        hours = cpu_hours(list(results.values()))
        machines = "; ".join(dict.fromkeys(each.machines for each in results.values()))
        lines += ["", f"All studies together took {hours:.1f} CPU hours ({machines})."]
    return [*lines, ""]


def _of_study(name: str, study: Study, results: StudyResults | None) -> list[str]:
    lines = [f"Of {study.system}, methods.md {study.section}; study `{name}`."]
    if results is not None:
        lines[0] += f" {_budget(results)}"
    lines += ["", *_HEADER]
    lines += [_row(study, finding) for finding in _findings(study, results)]
    notes = [f"* `{claim.id}`: {_notes(claim)}" for claim in study.claims if _notes(claim)]
    if notes:
        lines += ["", "How ours differs from the source's:", "", *notes]
    if results is not None:
        lines += ["", *_cost_table(study, results), "", *_variants(study, results)]
    return lines


def _findings(study: Study, results: StudyResults | None) -> Sequence[Finding]:
    if results is None:
        return [Finding(claim, None, None, None, "not run") for claim in study.claims]
    return results.findings(study)


def _row(study: Study, finding: Finding) -> str:
    claim = finding.claim
    unit = " %" if claim.relative else ""
    cells = [
        f"{claim.says} (`{claim.id}`{', headline' if claim.headline else ''})",
        claim.figure,
        Metric.parse(claim.metric).unit,
        _side(study, claim.first, finding.first),
        "0" if claim.second is None else _side(study, claim.second, finding.second),
        _claimed(claim),
        "" if finding.difference is None else _interval(finding.difference) + unit,
        str(finding.difference.count if finding.difference is not None else claim.seeds),
        f"**{finding.verdict}**" + (f": {finding.reason}" if finding.reason else ""),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _side(study: Study, name: str, values: Interval | None) -> str:
    says = study.composites[name].says if name in study.composites else study.variants[name].says
    return says if values is None else f"{says}: {_interval(values)}"


def _claimed(claim: Claim) -> str:
    """Return what the difference is claimed to be."""
    if claim.relation == "better":
        return "> 0"
    unit = " %" if claim.relative else ""
    return f"within ±{claim.margin:g}{unit}" if claim.relation == "equal" else f"> −{claim.margin:g}{unit}"


def _notes(claim: Claim) -> str:
    parts = [claim.differs, f"tried: {claim.tried}" if claim.tried else ""]
    return "; ".join(part for part in parts if part)


def _budget(results: StudyResults) -> str:
    trained = [result for variant, runs in results.runs.items() if variant != PRETRAINING for result in runs.values()]
    steps = "/".join(str(count) for count in sorted({result["steps"] for result in trained}))
    before = "".join(f" after one of {each['steps']}" for each in results.runs.get(PRETRAINING, {}).values())
    runs = len({result["digest"] for result in trained})
    return f"{runs} runs of {steps} steps{before}, {cpu_hours([results]):.2f} CPU hours ({results.machines})."


def _cost_table(study: Study, results: StudyResults) -> list[str]:
    lines = ["| variant | weights | GFLOP a frame | CPU ms a frame |", "|-|-|-|-|"]
    for name, costs in results.costs(study).items():
        says = study.composites[name].says if name in study.composites else study.variants[name].says
        cells = [
            f"{scale * costs[cost]:.3g}{unit}" if cost in costs else "" for cost, (scale, unit) in _COST_UNITS.items()
        ]
        lines.append(f"| {says} | " + " | ".join(cells) + " |")
    return lines


def _variants(study: Study, results: StudyResults) -> list[str]:
    measured = results.measured(study)
    names = {figure for runs in results.runs.values() for run in runs.values() for figure in run["figures"]}
    shown = [name for name in study.judged_by if name in names]
    lines = ["| variant | seeds | " + " | ".join(shown) + " |", "|-|-" + "|-" * len(shown) + "|"]
    for variant, recipe in study.variants.items():
        runs = results.runs.get(variant, {})
        cells = [_cell(measured, variant, figure, len(runs)) for figure in shown]
        lines.append(f"| {recipe.says} | {len(runs)} | " + " | ".join(cells) + " |")
    return lines


def _cell(measured: Measured, variant: str, figure: str, seeds: int) -> str:
    values = [value for value in measured.values(variant, Metric.parse(figure), seeds) if value == value]
    return _interval(interval(values)) if values else ""


def _interval(values: Interval) -> str:
    if values.count < 2:
        return _number(values.mean)
    return f"{_number(values.mean)} [{_number(values.low)}, {_number(values.high)}]"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")
