# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model card tells what the checkpoint and its validation say, with pictures, and nothing of other weights."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtl_perception.network import load_checkpoint, save_checkpoint
from mtl_perception.training.validation import card_command
from mtl_perception.training.validation.card import card_text
from mtl_perception.training.validation.command import write_report
from mtl_perception.training.validation.pictures import Shot
from mtl_perception.training.validation.tables import headlines


def arguments(*words: str | Path) -> Namespace:
    parser = ArgumentParser()
    card_command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def report_file(tiny_validation: tuple[dict[str, Any], list[Shot]], tmp_path: Path) -> Path:
    """Return the JSON of a validation."""
    write_report(tmp_path / "report.json", *tiny_validation)
    return tmp_path / "report.json"


def test_the_card_has_the_figures_and_the_pictures(
    tiny_checkpoint: Path, report_file: Path, tmp_path: Path, tiny_validation: tuple[dict[str, Any], list[Shot]]
) -> None:
    out = tmp_path / "models"
    out.mkdir()
    (out / "tiny.notes.md").write_text("It was *tired*.\n")
    assert card_command.run(arguments(tiny_checkpoint, "--validation", report_file, "--out", out)) == 0
    text = (out / "tiny.md").read_text()
    for row in headlines(tiny_validation[0]["figures"]):
        assert f"| {row.task} | {row.metric} | {row.value} |" in text
    assert "It was *tired*." in text
    assert "40 (seeds 5 to 44), rig mono" in text
    assert "frames below id 700" in text
    assert "only the depth of the one recorded room could be learned" in text
    assert "12 steps, seed 7, 0.5 hours" in text
    assert "**Licence of the weights: a licence.**" in text
    pictures = sorted((out / "tiny").iterdir())
    assert sum(picture.stat().st_size for picture in pictures) <= card_command.MOST_BYTES
    assert len(pictures) > 5
    assert all(f"](tiny/{picture.name})" in text for picture in pictures)


def test_pictures_shrink_until_all_fit(report_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = json.loads(report_file.read_text())["pictures"]
    large = card_command.write_pictures(entries, report_file.with_suffix(""), tmp_path / "large")
    size = sum(path.stat().st_size for path in (tmp_path / "large").iterdir())
    monkeypatch.setattr(card_command, "MOST_BYTES", size // 2)
    small = card_command.write_pictures(entries, report_file.with_suffix(""), tmp_path / "small")
    assert [picture.facts for picture in small] == [picture.facts for picture in large]
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) <= size // 2


def test_figures_of_other_weights_are_refused(tiny_checkpoint: Path, report_file: Path, tmp_path: Path) -> None:
    report = json.loads(report_file.read_text())
    report["checkpoint"]["sha256"] = "0" * 64
    report_file.write_text(json.dumps(report))
    with pytest.raises(ValueError, match="other weights"):
        card_command.run(arguments(tiny_checkpoint, "--validation", report_file, "--out", tmp_path))


def test_figures_that_the_checkpoint_has_stored_are_enough(
    tiny_checkpoint: Path, tmp_path: Path, tiny_validation: tuple[dict[str, Any], list[Shot]]
) -> None:
    with pytest.raises(ValueError, match="no figures"):
        card_command.run(arguments(tiny_checkpoint, "--out", tmp_path))
    checkpoint = load_checkpoint(tiny_checkpoint)
    card = {**checkpoint.card, "validation": tiny_validation[0]}
    stored = tmp_path / "stored.safetensors"
    save_checkpoint(stored, checkpoint.network, checkpoint.labels, checkpoint.trained_tasks, card)
    assert card_command.run(arguments(stored, "--out", tmp_path, "--name", "named")) == 0
    assert "# Model card: named" in (tmp_path / "named.md").read_text()


def test_the_card_tells_of_all_that_the_weights_have_seen(
    tiny_checkpoint: Path, tmp_path: Path, tiny_validation: tuple[dict[str, Any], list[Shot]]
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint)
    streets = {"kind": "street", "frames_per_step": 1, "worlds": 3, "cameras": "mono"}
    then = {"training": {"sources": [streets], "steps": 5, "seed": 1}, "step": 5, "hours": 0.25}
    driving = {"driving": {"training": {"seed": 2}, "hours": 0.25}}
    distilled = {"licence": "of the teachers", "teachers": {"depth": {"name": "deep"}}, "frames": 9}
    for card, sources, hours in (
        (then | driving | {"start": checkpoint.card}, ("frames below id 700", "rendered streets"), "1.0 hours"),
        (distilled | {"start": checkpoint.card}, ("frames below id 700",), "0.5 hours"),
    ):
        text = card_text("tiny", replace(checkpoint, card=card), 1000, tiny_validation[0], ())
        assert all(source in text for source in sources)
        assert "only the depth of the one recorded room could be learned" in text
        assert f"{hours} on the machine that it was trained on, in 2 parts" in text
        assert "Part 1: 12 steps, seed 7, 0.5 hours" in text
    assert "Part 2, teachers:" in text and "name: deep" in text and "frames: 9" in text
