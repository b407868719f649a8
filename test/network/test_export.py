# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is exported computes what the network does, carries no random weights, and says what it is."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from functools import reduce
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mtl_perception import cli
from mtl_perception.core import LabelSpace, RigFrame, Sample
from mtl_perception.core.ground_truth import GroundTruth
from mtl_perception.data.bags import BagWriter
from mtl_perception.data.sample_messages import sample_messages, static_messages
from mtl_perception.data.world import World
from mtl_perception.network import (
    CameraBatch,
    Checkpoint,
    MultiTaskNetwork,
    NetworkConfig,
    NetworkOutput,
    load_checkpoint,
    save_checkpoint,
)
from mtl_perception.network.config import SCENE_TASKS, TEMPORAL_TASKS
from mtl_perception.network.example import example_batch
from mtl_perception.network.export import INPUTS, OUTPUTS, export, exportable
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file, default_checkpoint
from mtl_perception.running.export import bag_frames

LABELS = LabelSpace.load(config_file("labels", "default"))


def trained(network: MultiTaskNetwork, tasks: tuple[str, ...] | None = None) -> Checkpoint:
    """Return a checkpoint that claims to be trained for the tasks (None: all)."""
    return Checkpoint(network, LABELS, network.config.tasks if tasks is None else tasks, {"steps": 7}, "tiny")


def run(path: Path, batch: CameraBatch) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {name: getattr(batch, name).numpy() for name in INPUTS}), strict=True))


def output_of(expected: NetworkOutput, name: str) -> torch.Tensor:
    """Return what the network itself gives for an output of the file: `boxes_heatmap` is its `boxes.heatmap`."""
    names = {inner.replace(".", "_"): inner for each in OUTPUTS.values() for inner in each}
    return reduce(getattr, names[name].split("."), expected)


def seen(frame: RigFrame, config: NetworkConfig) -> CameraBatch:
    """Return a frame whose images have the network's own size already."""
    cameras = [frame.rig[name] for name in frame.present]
    assert config.input_size(cameras[0].width, cameras[0].height) == (cameras[0].width, cameras[0].height)
    images = np.stack([frame.images[name] for name in frame.present])
    return CameraBatch(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255.0,
        torch.from_numpy(np.stack([camera.K for camera in cameras])).float(),
        torch.from_numpy(np.stack([camera.base_from_camera for camera in cameras])).float(),
        torch.ones(len(cameras), dtype=torch.bool),
        torch.zeros(len(cameras), dtype=torch.int64),
        1,
    )


@pytest.fixture(scope="module")
def street() -> World:
    # Mounted at round figures, so that many points of rays would be on a border between voxels (see lift_splat.BESIDE).
    return World.generate("street", 2_000_000, LABELS, cameras="stereo", image_size=(272, 160))


@pytest.fixture(scope="module")
def shipped(street: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file that the command makes of the shipped checkpoint and of a bag's images, and what it says."""
    folder = tmp_path_factory.mktemp("shipped")
    samples = [Sample(street.look(seconds), GroundTruth()) for seconds in (1.0, 1.5)]
    with BagWriter(folder / "bag") as writer:
        static = static_messages(street.rig, samples[0].frame.stamp_ns)
        for topic, message, stamp_ns in chain(static, *map(sample_messages, samples)):
            writer.write(topic, message, stamp_ns)
    command = ["export", str(default_checkpoint()), str(folder / "nano.onnx"), "--bag", str(folder / "bag")]
    with redirect_stdout(io.StringIO()) as output:
        assert cli.main([*command, "--cameras", "2", "--tolerance", "1e-4"]) == 0
    assert sorted(child.name for child in folder.iterdir()) == ["bag", "nano.onnx"]
    return folder / "nano.onnx", output.getvalue()


def test_the_shipped_checkpoint_computes_the_same_on_frames_it_was_not_exported_with(
    shipped: tuple[Path, str], street: World
) -> None:
    checkpoint, (path, output) = load_checkpoint(default_checkpoint()), shipped
    tasks = tuple(task for task in OUTPUTS if task in checkpoint.trained_tasks)
    assert {"depth", "semantic", "panoptic", "occupancy", "bev_map", "detections"} <= set(tasks)
    assert "nano: 2 x 272x160" in output
    assert "not exported: motion_mask (it compares with the frame before)" in output
    assert output.count("not exported") == len(checkpoint.trained_tasks) - len(tasks)
    batch = seen(street.look(3.0), checkpoint.network.config)
    with torch.no_grad():
        expected = checkpoint.network(batch, tasks)
    found = run(path, batch)
    assert {"depth", "depth_std", "surface", "semantic_logits", "occupancy_logits", "reached"} < set(found)
    assert {"centre_logits", "map_logits", "boxes_heatmap", "normals", "edge_logits"} < set(found)
    assert all(name in output for name in found)
    for name, theirs in found.items():
        ours = output_of(expected, name).numpy()
        difference, largest = np.abs(theirs - ours), np.abs(ours).max()
        # A median moves far for little where hardly anything lies beside it: such depths are as uncertain as they move.
        uncertain = 1e-4 * expected.depth_std.numpy() if name in ("depth", "depth_std") else 0.0
        # Directions are divided by their lengths, which are next to nothing at some places.
        share = 1e-4 if name == "normals" or name.startswith("boxes_") else 1e-5
        assert (difference < share * largest + uncertain).all() and np.median(difference) < 1e-6 * largest, name
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts["preset"] == "nano" and facts["checkpoint"] == "nano.safetensors"
    assert json.loads(facts["tasks"]) == list(tasks)
    assert json.loads(facts["labels"]) == json.loads(json.dumps(checkpoint.labels.to_dict()))
    assert NetworkConfig.model_validate_json(facts["config"]) == checkpoint.network.config


@pytest.mark.recordings
def test_it_computes_the_same_on_real_frames(shipped: tuple[Path, str], recordings: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    scene = recordings / "nuscenes" / "scene_0103_keyframes"
    assert cli.main(["convert", "nuscenes", str(scene), str(bag)]) == 0
    checkpoint = load_checkpoint(default_checkpoint())
    config = checkpoint.network.config
    frames = bag_frames(bag, config)
    assert len(frames) == 2 and frames[0].images.shape == (6, 3, 160, 272)
    assert not torch.equal(frames[0].images, frames[1].images)
    assert frames[0].ground_known.all()  # the mounting is that of /tf_static
    for batch in bag_frames(bag, config, cameras=2):
        with torch.no_grad():
            expected = checkpoint.network(batch, exportable(checkpoint)[0])
        for name, theirs in run(shipped[0], batch).items():
            ours = output_of(expected, name).numpy()
            assert (np.abs(theirs - ours) <= 1e-4 * np.abs(ours).max()).all(), name
    with pytest.raises(ValueError, match="has 6 cameras, not 7"):
        bag_frames(bag, config, cameras=7)


def test_random_weights_never_leave(tiny_network: MultiTaskNetwork, tmp_path: Path) -> None:
    checkpoint = trained(tiny_network, ("depth",))
    tasks, left_out = exportable(checkpoint)
    assert tasks == ("depth",) and left_out["semantic"] == "tiny was not trained for it"
    batch = example_batch(tiny_network.config)
    for task in ("semantic", "normals"):
        with pytest.raises(ValueError, match=f"'{task}' cannot be exported: tiny was not trained"):
            export(checkpoint, tmp_path / "a.onnx", [batch], ("depth", task))
    with pytest.raises(ValueError, match="no task that can be exported"):
        export(trained(tiny_network, ()), tmp_path / "a.onnx", [batch])
    assert not list(tmp_path.iterdir())


def test_tasks_that_need_more_than_one_pass_are_named(full_network: MultiTaskNetwork) -> None:
    tasks, left_out = exportable(trained(full_network))
    assert set(tasks) == set(OUTPUTS)
    assert set(left_out) == {*TEMPORAL_TASKS, *SCENE_TASKS, "steering"}
    with pytest.raises(ValueError, match="'ego_motion' cannot be exported: it compares with the frame before"):
        exportable(trained(full_network), ("ego_motion",))
    assert exportable(trained(full_network), ("edges",))[1]["depth"] == "not asked for"


def test_frames_of_different_shapes_are_refused(tiny_network: MultiTaskNetwork, tmp_path: Path) -> None:
    one, two = (example_batch(tiny_network.config, cameras) for cameras in (1, 2))
    for batches in ([one, two], [], [replace(two, num_frames=2)]):
        with pytest.raises(ValueError, match="frames of one shape"):
            export(trained(tiny_network), tmp_path / "a.onnx", batches, ("depth",))


def test_what_differs_is_not_written(
    tiny_network: MultiTaskNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, path = tmp_path / "tiny.safetensors", tmp_path / "tiny.onnx"
    save_checkpoint(weights, tiny_network, LABELS, ("depth",), {})
    path.write_text("the one before")
    assert cli.main(["export", str(weights), str(path), "--tolerance", "0"]) == 1
    assert "it differs" in capsys.readouterr().out
    assert path.read_text() == "the one before" and sorted(tmp_path.iterdir()) == [path, weights]
    assert cli.main(["export", str(weights), str(path), "--tasks", "semantic"]) == 1
    assert "'semantic' cannot be exported: tiny.safetensors was not trained for it" in capsys.readouterr().err


def test_a_compiled_perceiver_gives_the_same(tiny_network: MultiTaskNetwork) -> None:
    street = World.generate("street", 3, LABELS, cameras="stereo", image_size=(96, 64), duration_s=2.0)
    frame = street.look(1.0)
    checkpoint = trained(tiny_network)
    plain = Perceiver(checkpoint)(frame, ("depth",))
    compiled_before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    compiled = Perceiver(checkpoint, compiled=True)(frame, ("depth",))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= compiled_before + 3
    for name, camera in plain.cameras.items():
        np.testing.assert_allclose(compiled.cameras[name].depth, camera.depth, rtol=1e-4)


def test_compiling_needs_a_compiler(tiny_network: MultiTaskNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FileNotFoundError, match="no C\\+\\+ compiler 'no-such-compiler'"):
        Perceiver(trained(tiny_network), compiled=True)
