# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The studies of config/studies, and what a study may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mtl_perception.training.ablation.metrics import Measured, Metric
from mtl_perception.training.ablation.runs import PRETRAINING, Places, definition, plan
from mtl_perception.training.ablation.study import Study, study_names
from mtl_perception.training.trainer import Trainer

STUDIES = (
    "cvm", "wmca", "ggfm", "maestro", "distillation", "afd", "dual_branch", "pose", "panoptic", "steering",
)  # fmt: skip

BUDGET = (
    "steps",
    "sources",
    "stages",
    "kernel_learning_rate",
    "learning_rate",
    "warmup_steps",
    "decay_fraction",
    "average_decay",
    "precision",
    "labels",
)


def test_all_studies_are_there() -> None:
    assert set(study_names()) == set(STUDIES)


def test_every_system_has_one_headline_claim_with_five_seeds_or_more() -> None:
    claims = [(study.system, claim) for study in map(Study.load, STUDIES) for claim in study.claims]
    for system in ("CvM", "UV-M3TL", "M2H", "MAESTRO", "Unified encoder"):
        headlines = [claim for of, claim in claims if of == system and claim.headline]
        assert len(headlines) == 1
        assert headlines[0].seeds == 5
    assert all(claim.seeds >= 3 for _, claim in claims)
    ids = [claim.id for _, claim in claims]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", STUDIES)
def test_the_variants_of_a_study_differ_and_share_their_budget(name: str, tmp_path: Path) -> None:
    study = Study.load(name)
    runs = plan(study, Places(tmp_path, tmp_path, tmp_path))
    sides = {side for claim in study.claims for side in (claim.first, claim.second, study.reference) if side}
    compared = {variant for side in sides for variant in study.parts(side)}
    of_variants = [run for run in runs if run.variant in compared]
    judged = [part for run in of_variants for part in ([run] if run.steering is None else run.sources)]
    assert len({run.digest for run in runs}) == len(runs)
    assert len({run.config.model_dump_json(include=set(BUDGET)) for run in judged}) == 1
    for run in runs:  # what is not compared is what others start from, or learn from: the same for all of a seed
        if run.variant not in compared:
            assert any(run in other.sources for other in runs)
    order = [run.digest for run in runs]
    for run in runs:
        assert all(order.index(source.digest) < order.index(run.digest) for source in run.sources)
        assert run.config.seed == run.seed or run.variant == PRETRAINING
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", STUDIES)
def test_the_trainer_takes_every_variant(name: str, tmp_path: Path) -> None:
    runs = plan(Study.load(name), Places(tmp_path, tmp_path, tmp_path), seeds=1)
    needed = {source.digest for run in runs for source in run.sources}
    for run in runs:
        if run.steering is None:
            trainer = Trainer(run.config, tmp_path, run.folder, cache=tmp_path, quiet=True)
            kernels = [p for p in trainer.network.parameters() if p.dim() == 4]
            assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
            if run.digest in needed:
                trainer.save()


def test_a_definition_covers_what_verdicts_follow_from_but_no_texts() -> None:
    content = small_study()
    first = definition(Study.model_validate(content))
    content["claims"][0]["tried"] = "longer training"
    content["variants"]["wide"]["says"] = "more channels"
    assert definition(Study.model_validate(content)) == first
    content["claims"][0]["seeds"] = 4
    assert definition(Study.model_validate(content)) != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["claims"][0].update(first="wider"), "no 'wider'"),
        (lambda c: c["claims"][0].update(metric="depth.absrel"), "no metric 'depth.absrel'"),
        (lambda c: c["claims"][0].update(relation="equal"), "margin"),
        (lambda c: c["variants"]["wide"].update(start="wide"), "needs itself"),
        (lambda c: c["variants"].update(idle={"says": "unused"}), "no claim compares 'idle'"),
        (lambda c: c.update(reference="nothing"), "no 'nothing'"),
        (lambda c: c["claims"][0].update(metric="gain over nobody"), "no 'nobody'"),
    ],
)
def test_what_is_wrong_with_a_study_is_named(change: Any, message: str, tmp_path: Path) -> None:
    content = small_study()
    change(content)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message) as raised:
        Study.load(str(path))
    assert str(path) in str(raised.value)


def test_a_recipe_that_is_wrong_is_named_with_its_variant(tmp_path: Path) -> None:
    content = small_study()
    content["variants"]["wide"]["network"] = {"neck": {"width": 1}}
    with pytest.raises(ValueError, match="variant 'wide'"):
        plan(Study.model_validate(content), Places(tmp_path, tmp_path, tmp_path))


def test_gains_are_mean_relative_changes_against_the_reference_of_the_same_seed() -> None:
    study = Study.model_validate(small_study() | {"judged_by": ["depth.abs_rel", "semantic.miou"]})
    figures = {
        ("narrow", 0): {"depth.abs_rel": 0.2, "semantic.miou": 0.5},
        ("wide", 0): {"depth.abs_rel": 0.1, "semantic.miou": 0.45},
        ("narrow", 1): {"depth.abs_rel": 0.4, "semantic.miou": 0.5},
    }
    measured = Measured(study, figures)
    assert measured.values("wide", Metric.parse("gain"), 1) == pytest.approx([(50.0 - 10.0) / 2])
    assert measured.values("wide", Metric.parse("gain(depth)"), 1) == pytest.approx([50.0])
    assert measured.values("wide", Metric.parse("gain(depth) - gain(semantic)"), 1) == pytest.approx([60.0])
    assert measured.values("narrow", Metric.parse("gain"), 2) == pytest.approx([0.0, 0.0])
    assert measured.values("narrow", Metric.parse("gain(depth) over wide"), 1) == pytest.approx([-100.0])
    assert measured.values("wide", Metric.parse("gain"), 2)[1] != measured.values("wide", Metric.parse("gain"), 2)[1]


def test_single_task_networks_count_as_one_whose_costs_add_up() -> None:
    content = small_study()
    content["composites"] = {
        "single": {"says": "both", "of_task": {"depth": "narrow", "semantic": "wide"}},
        "worst": {"says": "the worse", "worst_of": ["narrow", "wide"]},
    }
    figures = {
        ("narrow", 0): {"depth.abs_rel": 0.2, "semantic.miou": 0.1, "forward_ms": 3.0},
        ("wide", 0): {"depth.abs_rel": 0.1, "semantic.miou": 0.4, "forward_ms": 4.0},
    }
    measured = Measured(Study.model_validate(content), figures)
    assert measured.values("single", Metric.parse("depth.abs_rel"), 1) == [0.2]
    assert measured.values("single", Metric.parse("semantic.miou"), 1) == [0.4]
    assert measured.values("single", Metric.parse("forward_ms"), 1) == [7.0]
    assert measured.values("worst", Metric.parse("depth.abs_rel"), 1) == [0.2]
    assert measured.values("worst", Metric.parse("semantic.miou"), 1) == [0.1]


def small_study() -> dict[str, Any]:
    return {
        "title": "A small study",
        "system": "CvM",
        "section": "1(e)",
        "tasks": ["depth"],
        "held_out": [{"kind": "indoor", "cameras": "mono", "worlds": 1}],
        "judged_by": ["depth.abs_rel"],
        "reference": "narrow",
        "variants": {"narrow": {"says": "few channels"}, "wide": {"says": "many", "network": {"neck": {"width": 48}}}},
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
