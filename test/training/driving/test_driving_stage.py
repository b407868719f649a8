# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of the driving stage: what they train, what they leave alone, and that they go on exactly."""

import copy
import json
import shutil
import signal

import numpy as np
import pytest
import torch

from mtl_perception.network import NetworkConfig, load_checkpoint, save_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training.driving.config import DriversConfig, DrivingStageConfig, is_driving_stage
from mtl_perception.training.driving.moments import moments
from mtl_perception.training.driving.stage import (
    CHECKPOINT,
    FIGURES,
    DrivingStage,
    standardise_inputs,
    with_driving_tasks,
)


@pytest.fixture(scope="module")
def stage_config(seeing_checkpoint, few_clips):
    return DrivingStageConfig(
        stage="driving",
        start=str(seeing_checkpoint),
        network="nano",
        clips=few_clips,
        held_out=few_clips.model_copy(update={"worlds": 1, "first_seed": 13}),
        steps=8,
        batch=6,
        warmup_steps=1,
        save_every=4,
    )


@pytest.fixture
def stage(driving_clips, feature_folder, stage_config, tmp_path):
    """Returns what makes a run in a folder of that name; the clips are there already."""
    return lambda name="run", **changes: DrivingStage(
        stage_config.model_copy(update=changes), tmp_path / name, cache=feature_folder
    )


@pytest.fixture(scope="module")
def whole(driving_clips, feature_folder, stage_config, tmp_path_factory):
    """A run from its beginning to its end."""
    run = DrivingStage(stage_config, tmp_path_factory.mktemp("stage") / "whole", cache=feature_folder)
    run.train()
    return run


def test_the_checkpoint_has_the_tasks_and_the_same_rest(whole, seeing_checkpoint):
    before, after = load_checkpoint(seeing_checkpoint), load_checkpoint(whole.folder / CHECKPOINT)
    driving = ("steering", "driver_behaviour", "driver_emotion", "vehicle_behaviour", "traffic_context")
    assert after.trained_tasks == ("depth", "ego_motion", *driving)
    kept = before.network.state_dict()
    for name, tensor in after.network.state_dict().items():
        assert name.startswith("driving.") or torch.equal(tensor, kept[name]), name
    assert after.card["licence"] == "of the start" and "validation" not in after.card
    assert after.card["driving"]["step"] == 8
    assert sum(after.card["driving"]["frames"]["driver_behaviour"].values()) == 12


def test_further_drivers_are_trained_on_and_counted(stage, whole):
    run = stage("drivers", drivers=DriversConfig(drivers=3, moments=2), steps=3)
    run.train()
    assert sum(run.card()["driving"]["frames"]["driver_emotion"].values()) == 12 + 6
    assert sum(run.card()["driving"]["frames"]["traffic_context"].values()) == 12
    few = stage("few", steps=3)
    few.train()
    same = few.averaged().state_dict()
    assert any(not torch.equal(tensor, same[name]) for name, tensor in run.averaged().state_dict().items())


def test_a_run_that_was_interrupted_gives_the_same_weights(stage, whole):
    stage("parts").train(until=3)
    again = stage("parts")
    assert again.step == 3
    again.train()
    assert_same_weights(again, whole)


def test_a_signal_in_the_middle_of_a_step_waits_for_its_end(stage, whole):
    parts = stage("parts")
    step = parts.optimizer.step

    def interrupted():
        step()
        if parts.step == 2:
            signal.raise_signal(signal.SIGINT)

    parts.optimizer.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        parts.train()
    again = stage("parts")
    assert again.step == 3
    again.train()
    assert_same_weights(again, whole)


def test_features_come_standardised_to_the_first_layers(seeing_checkpoint, driving_clips):
    network = with_driving_tasks(
        load_checkpoint(seeing_checkpoint), NetworkConfig.load(config_file("networks", "nano"))
    )
    layer = network.driving.steering.reduce
    before = copy.deepcopy(layer)
    standardise_inputs(network.driving, driving_clips)
    maps = [torch.from_numpy(clip.outside.astype(np.float32)).flatten(0, 1) for clip in driving_clips]
    # Every clip counts the same, whatever its number of cameras.
    mean = torch.stack([each.mean(dim=(0, 2, 3)) for each in maps]).mean(dim=0)
    squares = torch.stack([each.square().mean(dim=(0, 2, 3)) for each in maps]).mean(dim=0)
    deviation = (squares - mean.square()).clamp(min=1e-6).sqrt()
    standardised = 4.0 * (maps[1] - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(layer(maps[1]), before(standardised), atol=1e-3, rtol=1e-3)


def test_it_learns_what_the_clips_show(stage, driving_clips):
    run = stage(steps=30, learning_rate=6e-3, average_decay=0.9)
    batch = moments([(clip, number) for clip in driving_clips for number in range(len(clip))])

    def losses():
        with torch.no_grad():
            return {task: float(loss) for task, loss in run.heads.losses(batch)[0].items()}

    first = losses()
    run.train()
    last = losses()
    for task, before in first.items():
        assert last[task] < before or before < 0.6, task
    assert sum(last.values()) < 0.8 * sum(first.values())


def test_figures_stand_beside_those_of_a_constant(stage):
    run = stage()
    figures = run.evaluate()
    assert json.loads((run.folder / FIGURES).read_text()) == figures
    assert figures["frames"] == 6
    assert figures["steering"]["mse"] >= 0 and "mse_of_mean" in figures["steering"]
    behaviour = figures["driving_context"]["tasks"]["driver_behaviour"]
    assert sum(behaviour["frames"].values()) == 6
    assert behaviour["balanced_accuracy_of_constant"] == 1 / sum(n > 0 for n in behaviour["frames"].values())


def test_another_configuration_does_not_take_up_a_run(stage):
    stage().train(until=1)
    with pytest.raises(ValueError, match="another configuration"):
        stage(learning_rate=0.5)


def test_another_encoder_does_not_take_up_a_run(stage, seeing_checkpoint, tmp_path):
    path = tmp_path / "start.safetensors"
    shutil.copy(seeing_checkpoint, path)
    stage(start=str(path)).train(until=1)
    start = load_checkpoint(path)
    with torch.no_grad():
        next(start.network.neck.parameters()).add_(0.1)
    save_checkpoint(path, start.network, start.labels, start.trained_tasks, start.card)
    with pytest.raises(ValueError, match="another encoder"):
        stage(start=str(path))


def test_what_is_trained_on_is_not_held_out(stage_config):
    content = stage_config.model_dump()
    content["held_out"]["first_seed"] = 12
    with pytest.raises(ValueError, match="held_out: clips has some of the seeds 12 to 12"):
        DrivingStageConfig.model_validate(content)


def test_a_loss_that_is_no_number_ends_the_run_and_is_named(stage):
    run = stage()
    with torch.no_grad():
        run.network.driving.steering.head.layers[1].weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="step 0: the loss of 'steering' is nan"):
        run.train()


def test_a_batch_that_ends_the_run_is_named_with_its_drivers(stage):
    run = stage("named", drivers=DriversConfig(drivers=3, moments=2))
    with torch.no_grad():
        run.network.driving.scene.reduce.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"; the batch, .*clip [01]:[0-5], driver [0-2]:[01]"):
        run.train()


def test_a_gradient_that_is_no_number_ends_the_run_and_its_batch_is_named(stage):
    run = stage(save_every=1)
    run.train(until=1)
    weights = {name: tensor.clone() for name, tensor in run.network.driving.state_dict().items()}
    run.network.driving.steering.head.layers[1].weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(FloatingPointError, match=r"step 1: the gradient's norm is (nan|inf); the batch, .*\d+:"):
        run.train()
    for name, parameter in run.network.driving.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert stage(save_every=1).step == 1


def test_what_is_kept_for_judging_is_not_trained_on(stage_config):
    content = stage_config.model_dump()
    content["clips"]["first_seed"] = 1_000_000
    with pytest.raises(ValueError, match="clips: seeds from 1000000 on"):
        DrivingStageConfig.model_validate(content)


def test_configurations_of_this_stage_are_known(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("stage: driving\n")
    assert is_driving_stage(path)
    path.write_text("network: nano\n")
    assert not is_driving_stage(path)
    path.write_text("stage: driving\nstart: x\nwrong: 1\n")
    with pytest.raises(ValueError, match=r"a\.yaml"):
        DrivingStageConfig.load(path)


def assert_same_weights(found, expected):
    weights = found.averaged().state_dict()
    for name, tensor in expected.averaged().state_dict().items():
        assert torch.equal(tensor, weights[name]), name
