# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny study from beginning to end: interrupted between runs and within one, gone on with, reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from mtl_perception.training.ablation import measuring, runs
from mtl_perception.training.ablation.command import run_study, write_claims
from mtl_perception.training.ablation.measuring import normal_gap
from mtl_perception.training.ablation.results import StudyResults, cpu_hours
from mtl_perception.training.ablation.runs import PRETRAINED_PARTS, PRETRAINING, RESULT, Places, plan
from mtl_perception.training.ablation.schedule import FailedRunsError, perform_all
from mtl_perception.training.ablation.study import Study
from mtl_perception.training.ablation.tables import claims_page
from mtl_perception.training.trainer import Trainer

TIMES = {"forward_ms"}
SOURCES = [{"kind": "indoor", "cameras": "mono", "frames_per_step": 1, "worlds": 1, "image_size": [96, 72]}]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studies") / "tiny.yaml"
    path.write_text(yaml.safe_dump(_study()))
    return path


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Small images, and a pretraining of two steps on the study's own world."""
    pretraining = tmp_path_factory.mktemp("base") / "pretraining.yaml"
    pretraining.write_text(yaml.safe_dump({"tasks": ["semantic"], "steps": 2, "sources": SOURCES, "warmup_steps": 1}))
    base_file = runs.base_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "IMAGE_SIZE", (96, 72))
        patch.setattr(runs, "base_file", lambda what: pretraining if what == "pretraining" else base_file(what))
        yield


@pytest.fixture(scope="module")
def finished(study_file: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResults]:
    """The study without any interruption."""
    out = tmp_path_factory.mktemp("finished")
    return out, _run(study_file, Places(out, cache, out))


def test_a_study_ends_with_figures_a_verdict_and_what_it_cost(
    finished: tuple[Path, StudyResults], study_file: Path
) -> None:
    out, results = finished
    study = Study.load(str(study_file))
    (finding,) = results.findings(study)
    assert finding.verdict in ("holds", "reversed", "undecided")
    assert finding.difference is not None
    assert finding.difference.count == 2
    costs = results.costs(study)
    assert costs["wide"]["parameters"] > costs["narrow"]["parameters"]
    assert cpu_hours([results, results]) == cpu_hours([results]) > 0
    report = (out / "tiny.md").read_text()
    assert "4 runs of 3 steps after one of 2, " in report
    assert "| few channels | 2 | " in report
    assert "channels help" in report
    assert "A trial" not in report
    stored = StudyResults.read(out / "tiny.json")
    assert stored.fits(study)
    assert stored.findings(study)[0].verdict == finding.verdict


def test_a_finished_study_is_only_read(
    finished: tuple[Path, StudyResults], study_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, results = finished
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("it was trained again"))
    assert _run(study_file, Places(out, cache, out)).runs == results.runs


def test_a_study_killed_between_runs_and_within_one_gives_the_same(
    finished: tuple[Path, StudyResults], study_file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = finished
    places = Places(tmp_path, cache, tmp_path)
    train, begun = Trainer.train, []

    def killed_in_its_second_run(self: Trainer) -> None:
        begun.append(self)
        if len(begun) == 2:
            train(self, until=2)
            raise KeyboardInterrupt
        train(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", killed_in_its_second_run)
        with pytest.raises(KeyboardInterrupt):
            _run(study_file, places)
    assert len(list(tmp_path.glob(f"runs/*/{RESULT}"))) == 1  # the pretraining

    steps = []

    def watched(self: Trainer) -> None:
        steps.append(self.record.step)
        train(self)

    monkeypatch.setattr(Trainer, "train", watched)
    found = _run(study_file, places)
    assert steps == [2, 0, 0, 0]  # the finished run is kept, the killed one goes on, the others begin
    for variant, seeds in expected.runs.items():
        for seed, result in seeds.items():
            assert _lasting(found.runs[variant][seed]) == _lasting(result)


def test_a_run_that_fails_is_named_and_the_others_are_kept(
    study_file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Trainer.train

    def failing(self: Trainer) -> None:
        if self.config.seed == 1 and "neck" in self.config.network_changes:
            raise FloatingPointError("step 1: the loss of task 'depth' is nan")
        train(self)

    monkeypatch.setattr(Trainer, "train", failing)
    with pytest.raises(FailedRunsError, match="1 of 5 runs failed, first 'wide' with seed 1: step 1"):
        _run(study_file, Places(tmp_path, cache, tmp_path))
    assert len(list(tmp_path.glob(f"runs/*/{RESULT}"))) == 4


def test_other_processes_say_what_failed_and_what_needs_it_is_not_begun(tmp_path: Path) -> None:
    content = _study() | {"pretrained": False}
    content["variants"]["wide"] |= {"start": "narrow", "training": {}}
    (tmp_path / "file").touch()
    places = Places(tmp_path, tmp_path / "file" / "worlds", tmp_path)
    planned = plan(Study.model_validate(content), places, seeds=1)
    with pytest.raises(FailedRunsError, match=r"2 of 2 runs failed, first 'narrow' with seed 0: .*Not a directory"):
        perform_all(planned, places, jobs=2)
    assert [run.variant for run in planned if run.folder.exists()] == ["narrow"]


def test_results_of_a_trial_or_of_another_definition_do_not_get_onto_the_page(
    finished: tuple[Path, StudyResults], study_file: Path, tmp_path: Path
) -> None:
    out, results = finished
    study = Study.load(str(study_file))
    trial = StudyResults(results.definition, 3, None, results.runs)
    assert not trial.fits(study)
    content = _study()
    content["claims"][0]["metric"] = "depth.rmse"
    assert not results.fits(Study.model_validate(content))
    foreign = json.loads((out / "tiny.json").read_text())
    (tmp_path / "cvm.json").write_text(json.dumps(foreign))
    with pytest.raises(ValueError, match="cvm"):
        write_claims([tmp_path], tmp_path / "stored", tmp_path / "claims.md")


def test_the_page_has_a_row_a_claim_and_says_which_are_not_run(
    finished: tuple[Path, StudyResults], study_file: Path
) -> None:
    _, results = finished
    study = Study.load(str(study_file))
    without = claims_page({"tiny": study}, {})
    assert "**not run**" in without
    page = claims_page({"tiny": study}, {"tiny": results})
    row = next(line for line in page.splitlines() if "(`wide`)" in line)
    assert f"**{results.findings(study)[0].verdict}**" in row
    assert "1 → 2" in row
    assert "CPU hours" in page


def test_runs_of_one_recipe_are_shared_by_studies(study_file: Path, tmp_path: Path) -> None:
    content = _study()
    content["variants"]["broad"] = content["variants"].pop("wide")
    content["claims"][0]["first"] = "broad"
    places = Places(tmp_path, tmp_path, tmp_path)
    first, other = plan(Study.load(str(study_file)), places), plan(Study.model_validate(content), places)
    assert {run.digest for run in first} == {run.digest for run in other}


def test_all_variants_start_from_one_pretraining(tmp_path: Path) -> None:
    content = _study()
    content["variants"]["narrow"]["start"] = "wide"
    first, *others = plan(Study.model_validate(content), Places(tmp_path, tmp_path, tmp_path))
    assert first.variant == PRETRAINING and first.config.tasks == ("semantic",) and not first.held_out
    assert [run.variant for run in others] == ["wide", "narrow"] * 2
    for run in others:
        wide = run.variant == "wide"
        (source,) = run.sources
        assert source.variant == (PRETRAINING if wide else "wide")
        assert run.config.start == str(source.checkpoint)
        assert run.config.start_parts == (("encoder",) if wide else ())
    content["variants"]["wide"] |= {"network": {}, "training": {}}
    for run in plan(Study.model_validate(content), Places(tmp_path, tmp_path, tmp_path))[1::2]:
        assert run.config.start_parts == PRETRAINED_PARTS


def test_what_differs_on_the_way_to_the_same_network_is_no_other_run(study_file: Path, tmp_path: Path) -> None:
    content = _study()
    content["network"] = {"neck": {"width": 48}}
    content["variants"]["narrow"]["network"] = {"neck": {"width": 32}}
    del content["variants"]["wide"]["network"]
    places = Places(tmp_path, tmp_path, tmp_path)
    first, other = plan(Study.load(str(study_file)), places), plan(Study.model_validate(content), places)
    assert {run.digest for run in first} == {run.digest for run in other}


def test_no_difference_is_in_percent_of_nothing() -> None:
    content = _study()
    content["claims"][0] |= {"relative": True, "metric": "depth.delta1"}
    study = Study.model_validate(content)
    figures = {
        variant: {seed: {"figures": {"depth.delta1": value}} for seed in range(2)}
        for variant, value in (("narrow", 0.0), ("wide", 0.1))
    }
    (finding,) = StudyResults("", None, None, figures).findings(study)
    assert (finding.verdict, finding.difference) == ("undecided", None)
    assert "in percent" in finding.reason
    row = next(line for line in claims_page({"tiny": study}, {}).splitlines() if "(`wide`)" in line)
    assert "| > 0 |" in row


def test_normals_of_a_slanted_plane_agree_with_its_depth() -> None:
    K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    normal = np.array([0.3, -0.4, -1.0])
    normal /= np.linalg.norm(normal)
    rays = np.stack([(u - 31.5) / 60.0, (v - 23.5) / 60.0, np.ones_like(u, float)], axis=-1)
    depth = (-5.0 / (rays @ normal)).astype(np.float32)
    normals = np.broadcast_to(normal, (48, 64, 3)).astype(np.float32)
    assert normal_gap(depth, normals, K).max() < 0.1
    assert normal_gap(depth, -normals, K).min() > 179.0
    tilted = np.broadcast_to([0.0, 0.0, -1.0], (48, 64, 3)).astype(np.float32)
    assert normal_gap(depth, tilted, K).mean() == pytest.approx(np.degrees(np.arccos(-normal[2])), abs=0.1)


def _run(study_file: Path, places: Places) -> StudyResults:
    return run_study(str(study_file), places, 1, None, None, Console(quiet=True))


def _lasting(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result["figures"].items() if name not in TIMES}


def _study() -> dict[str, Any]:
    return {
        "title": "A tiny study",
        "system": "CvM",
        "section": "1(e)",
        "tasks": ["depth"],
        "training": {"steps": 3, "sources": SOURCES, "warmup_steps": 1},
        "held_out": [{"kind": "indoor", "cameras": "mono", "worlds": 1}],
        "judged_by": ["depth.abs_rel"],
        "reference": "narrow",
        "variants": {
            "narrow": {"says": "few channels"},
            "wide": {
                "says": "many",
                "network": {"neck": {"width": 48}},
                "training": {"start_parts": ["encoder"]},
            },
        },
        "claims": [
            {
                "id": "wide",
                "says": "channels help",
                "figure": "1 → 2",
                "metric": "depth.abs_rel",
                "first": "wide",
                "second": "narrow",
                "seeds": 2,
            }
        ],
    }
