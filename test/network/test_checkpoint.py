# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a round trip, and every way in which a file can be wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtl_perception.core import LabelSpace
from mtl_perception.core.prediction import TASKS
from mtl_perception.network import CameraBatch, MultiTaskNetwork, load_checkpoint, save_checkpoint
from mtl_perception.resources import config_file, default_checkpoint

LABELS = LabelSpace.load(config_file("labels", "default"))


@pytest.fixture
def saved(tiny_network: MultiTaskNetwork, checkpoint_file: Path) -> Path:
    """Return a checkpoint of the tiny network."""
    save_checkpoint(checkpoint_file, tiny_network, LABELS, ("depth", "semantic"), {"licence": "test"})
    return checkpoint_file


def rewritten(path: Path, **changes: object) -> None:
    """Write the file again with tensors replaced (or, with None, removed)."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path, metadata)


def test_round_trip(saved: Path, tiny_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.trained_tasks == ("depth", "semantic") and checkpoint.card["licence"] == "test"
    assert checkpoint.labels.names == LABELS.names and checkpoint.name == "tiny.safetensors"
    before, after = tiny_network(batch, ("depth",)).depth, checkpoint.network(batch, ("depth",)).depth
    torch.testing.assert_close(after, before, rtol=0.02, atol=0.02)  # stored as float16
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]  # no temporary file is left


def test_tensors_that_do_not_fit_are_named(saved: Path) -> None:
    rewritten(saved, dense__heads__semantic__decoder__logits__bias=torch.zeros(3))
    name = "dense.heads.semantic.decoder.logits.bias"
    with pytest.raises(ValueError, match=rf"'{name}' is \(3,\), expected \(16,\)"):
        load_checkpoint(saved)
    rewritten(saved, dense__heads__semantic__decoder__logits__bias=None)
    with pytest.raises(ValueError, match=rf"'{name}' is missing"):
        load_checkpoint(saved)
    rewritten(saved, dense__heads__semantic__decoder__logits__bias=torch.full((16,), torch.nan))
    with pytest.raises(ValueError, match=rf"'{name}' holds values that are not finite"):
        load_checkpoint(saved)
    rewritten(saved, dense__heads__semantic__decoder__logits__bias=torch.zeros(16), strange=torch.zeros(1))
    with pytest.raises(ValueError, match="'strange' has no place"):
        load_checkpoint(saved)


def test_statistics_beyond_float16_are_kept_and_weights_beyond_it_refused(
    tiny_network: MultiTaskNetwork, checkpoint_file: Path
) -> None:
    norm = next(module for module in tiny_network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_var.fill_(1e5)
    norm.running_mean.fill_(1e-9)
    save_checkpoint(checkpoint_file, tiny_network, LABELS, ("depth",), {})
    loaded = next(m for m in load_checkpoint(checkpoint_file).network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert (loaded.running_var == 1e5).all() and (loaded.running_mean == 1e-9).all()
    torch.nn.init.constant_(norm.weight, 1e5)
    with pytest.raises(ValueError, match="reaches 100000, float16 has no such"):
        save_checkpoint(checkpoint_file, tiny_network, LABELS, ("depth",), {})


def test_those_of_the_package_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    assert load_checkpoint("nano").name == default_checkpoint().name == "nano.safetensors"
    monkeypatch.chdir(tmp_path)
    shutil.copy(saved, "nano")  # a file is a file
    assert load_checkpoint("nano").name == "nano"


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent.safetensors does not exist \(with the package come: nano"):
        load_checkpoint(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_checkpoint(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="format is None"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_the_shipped_checkpoint_says_what_it_is() -> None:
    path = default_checkpoint()
    assert path.stat().st_size <= 15_000_000
    checkpoint = load_checkpoint(path)
    assert set(checkpoint.trained_tasks) == set(TASKS)
    assert {"licence", "training", "validation"} <= set(checkpoint.card)
    assert checkpoint.labels.labels == LABELS.labels


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of the hub that holds nothing yet; nothing beyond it is asked."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


def test_a_checkpoint_is_loaded_from_the_hub_by_its_id(saved: Path, hub: Path) -> None:
    repository = hub / "models--some-lab--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    for revision in ("main", "v2"):
        (repository / "refs" / revision).write_text(snapshot.name)
    (snapshot / "model.safetensors").write_bytes(saved.read_bytes())
    for name in ("some-lab/tiny", "some-lab/tiny@v2"):
        checkpoint = load_checkpoint(name)
        assert checkpoint.name == name and checkpoint.trained_tasks == ("depth", "semantic")


def test_an_id_that_the_hub_does_not_have_is_told(hub: Path) -> None:
    with pytest.raises(FileNotFoundError, match="some-lab/none is neither a file nor on the hub"):
        load_checkpoint("some-lab/none")


def test_an_older_format_is_refused_by_name(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(saved), saved, metadata | {"format": "mtl_perception-checkpoint-1"})
    with pytest.raises(ValueError, match="format is 'mtl_perception-checkpoint-1', expected"):
        load_checkpoint(saved)


def test_weights_do_not_ask_for_what_the_backbone_was_made_from(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    network = json.loads(metadata["network"])
    network["backbone"]["pretrained"] = "/nowhere/any/more"
    save_file(load_file(saved), saved, metadata | {"network": json.dumps(network)})
    assert load_checkpoint(saved).network.config.backbone.pretrained is None


def test_a_configuration_that_is_wrong_is_told_with_the_key(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    network = json.loads(metadata["network"]) | {"wings": 2}
    save_file(load_file(saved), saved, metadata | {"network": json.dumps(network)})
    with pytest.raises(ValueError, match=r"its network configuration is wrong[\s\S]*wings"):
        load_checkpoint(saved)
