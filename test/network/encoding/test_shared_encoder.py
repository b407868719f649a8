# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared encoder around each kind of backbone."""

import importlib
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_perception.network.encoding.feature_pyramid import FeaturePyramid
from mtl_perception.network.encoding.residual import ResidualEncoder
from mtl_perception.network.encoding.shared_encoder import EncoderOutput, SharedEncoder

STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}
TOKENS = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "patch_size": 14, "image_size": 56}
TINY: dict[str, dict[str, Any]] = {
    "residual": {"widths": [8, 16, 16, 32], "blocks": [1, 1, 1, 1]},
    "swin": {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4},
    "resnet": {"embedding_size": 8, "layer_type": "basic", **STAGES},
    "convnext": STAGES,
    "dinov2": TOKENS,
    "dinov2_with_registers": {"num_register_tokens": 4, **TOKENS},
    "dinov3_vit": {"num_register_tokens": 4, "intermediate_size": 32, **TOKENS},
}
STAGED = ["residual", "swin", "resnet", "convnext"]
TRANSFORMERS = ["dinov2", "dinov2_with_registers", "dinov3_vit"]
every_backbone = pytest.mark.parametrize("name", TINY)


def encoder(name: str, geometry: int = 0, **options: Any) -> SharedEncoder:
    torch.manual_seed(0)
    return SharedEncoder(name, options={**TINY[name], **options}, geometry=geometry, stem_width=6)


def inputs(count: int, height: int = 61, width: int = 93) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(count, 3, height, width), torch.rand(count, 2, height, width)


def tensors(output: EncoderOutput) -> list[Tensor]:
    return [output.stem, *output.maps, *(output.summaries or [])]


@every_backbone
@pytest.mark.parametrize(("count", "height", "width"), [(1, 61, 93), (3, 64, 96), (2, 33, 40)])
def test_sizes_are_rounded_up_at_each_stride(name: str, count: int, height: int, width: int) -> None:
    model = encoder(name, geometry=2)
    output = model(*inputs(count, height, width))
    strides = (4, 8, 16, 32) if name in STAGED else (14,) * 4
    sizes = [(count, w, -(-height // s), -(-width // s)) for w, s in zip(model.widths, strides, strict=True)]
    assert [tuple(x.shape) for x in output.maps] == sizes
    assert tuple(output.stem.shape) == (count, model.stem_width, -(-height // 2), -(-width // 2))
    assert (model.is_token_based, model.patch_size) == ((False, None) if name in STAGED else (True, 14))
    if output.summaries is None:
        assert name in STAGED
    else:
        assert [tuple(x.shape) for x in output.summaries] == [(count, 16)] * 4


def test_stages_fit_the_pyramid() -> None:
    model = encoder("swin", geometry=2)
    output = model(*inputs(1))
    levels = FeaturePyramid(model.widths, 8)(output.maps)
    assert [tuple(x.shape) for x in levels] == [(1, 8, *x.shape[-2:]) for x in output.maps]


@pytest.mark.parametrize("training", [True, False])
def test_residual_is_the_residual_encoder_on_normalised_images_and_geometry(training: bool) -> None:
    model = encoder("residual", geometry=2).train(training)
    plain = ResidualEncoder(5, [8, 16, 16, 32], [1, 1, 1, 1]).train(training)
    plain.load_state_dict({k.removeprefix("backbone."): v for k, v in model.state_dict().items()})
    images, geometry = inputs(2)
    expected = plain(torch.cat([(images - 0.45) / 0.25, geometry], dim=1))
    output = model(images, geometry)
    # Not to the bit: the encoder orders its memory for speed, which changes the order of sums.
    torch.testing.assert_close([output.stem, *output.maps], expected, atol=1e-5, rtol=1e-5)
    assert model.stem_width == plain.stem_width == 4


@every_backbone
def test_a_change_appears_where_it_is(name: str) -> None:
    model = encoder(name).eval()
    images, _ = inputs(1, 64, 128)
    changed = images.clone()
    row, column, stride = (36, 84, 4) if name in STAGED else (28, 84, 14)
    changed[:, :, row : row + stride, column : column + stride] *= -1.0
    difference = (model(changed).maps[0] - model(images).maps[0]).abs().sum(dim=1)[0]
    cell = divmod(int(difference.argmax()), difference.shape[1])
    assert abs(cell[0] - row // stride) <= 1 and abs(cell[1] - column // stride) <= 1
    if name in TRANSFORMERS:
        assert cell == (2, 6)


@pytest.mark.parametrize("name", ["swin", "dinov2"])
def test_geometry_is_the_mean_over_the_pixels_of_each_feature(name: str) -> None:
    model = encoder(name, geometry=2)
    v, u = torch.meshgrid(torch.arange(61.0), torch.arange(93.0), indexing="ij")
    maps = model(inputs(1)[0], torch.stack([u, v])[None]).maps
    for x, stride in zip(maps, (4, 8, 16, 32) if name == "swin" else (14,) * 4, strict=True):
        columns, rows = x[0, -2, 0], x[0, -1, :, 0]
        torch.testing.assert_close(columns[:-1], (torch.arange(len(columns) - 1) + 0.5) * stride - 0.5)
        torch.testing.assert_close(rows[:-1], (torch.arange(len(rows) - 1) + 0.5) * stride - 0.5)
        # The last feature lies partly outside: its mean is that of its pixels within the image.
        torch.testing.assert_close(columns[-1], torch.arange((len(columns) - 1) * stride, 93.0).mean())


def test_vision_transformer_gives_its_quarters() -> None:
    model = encoder("dinov2", num_hidden_layers=8).eval()
    images, _ = inputs(1)
    before = model(images)
    with torch.no_grad():
        model.backbone.model.encoder.layer[4].mlp.fc2.weight.add_(1.0)
    after = model(images)
    unchanged = [torch.equal(a, b) for a, b in zip(before.maps, after.maps, strict=True)]
    assert unchanged == [True, True, False, False]
    assert [torch.equal(a, b) for a, b in zip(before.summaries, after.summaries, strict=True)] == unchanged


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_tokens_are_told_apart(name: str) -> None:
    model = encoder(name).eval()
    images, _ = inputs(2, 28, 42)
    output = model(images)
    normalised = (images - model.mean) / model.std
    hidden = model.backbone.model(normalised, output_hidden_states=True).hidden_states[-1]
    norm = model.backbone.model.norm if name == "dinov3_vit" else model.backbone.model.layernorm
    tokens = norm(hidden)
    torch.testing.assert_close(output.summaries[-1], tokens[:, 0])
    torch.testing.assert_close(output.maps[-1].flatten(2).transpose(1, 2), tokens[:, 1 if name == "dinov2" else 5 :])


@every_backbone
def test_gradients_reach_images_and_geometry(name: str) -> None:
    model = encoder(name, geometry=2)
    images, geometry = (x.requires_grad_() for x in inputs(2))
    maps = model(images, geometry).maps
    torch.autograd.backward([x.square().sum() for x in maps])
    assert (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all() and (geometry.grad.abs().amax(dim=(2, 3)) > 0).all()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.backbone.parameters())
    images.grad, geometry.grad = None, None
    model(images, geometry).stem.sum().backward()
    assert images.grad.abs().max() > 0 and geometry.grad.abs().max() > 0


@every_backbone
def test_images_of_a_batch_do_not_see_each_other(name: str) -> None:
    model = encoder(name, geometry=2).eval()
    images, geometry = inputs(3)
    every, one = model(images, geometry), model(images[1:2], geometry[1:2])
    for a, b in zip(tensors(every), tensors(one), strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


@every_backbone
def test_bfloat16(name: str) -> None:
    model = encoder(name, geometry=2).eval()
    images, geometry = inputs(2)
    exact = model(images, geometry)
    rounded = model.to(torch.bfloat16)(images.bfloat16(), geometry.bfloat16())
    for a, b in zip(tensors(exact), tensors(rounded), strict=True):
        assert b.dtype == torch.bfloat16
        assert (a - b).abs().max() < 0.05 * a.abs().max()


@pytest.mark.parametrize("name", ["swin", "dinov2"])
@pytest.mark.parametrize("saved_as", [torch.float32, torch.bfloat16])
def test_pretrained_weights_arrive(name: str, saved_as: torch.dtype, tmp_path: Path) -> None:
    published = encoder(name)
    published.backbone.model.to(saved_as).save_pretrained(tmp_path)
    torch.manual_seed(7)
    model = SharedEncoder(name, pretrained=str(tmp_path), stem_width=6)
    weights = model.backbone.model.state_dict()
    assert all(torch.equal(weights[k], v.float()) for k, v in published.backbone.model.state_dict().items())
    assert {x.dtype for x in weights.values() if x.is_floating_point()} == {torch.float32}
    assert all(module.training for module in model.modules())


def test_pretrained_weights_of_a_whole_model_arrive(tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(3)
    published = transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**TINY["dinov2"]))
    published.save_pretrained(tmp_path)
    model = SharedEncoder("dinov2", pretrained=str(tmp_path))
    weights = model.backbone.model.state_dict()
    expected = published.dinov2.state_dict()
    assert set(weights) == set(expected) and all(torch.equal(weights[k], v) for k, v in expected.items())
    with pytest.raises(ValueError, match="of the type dinov2, not swin"):
        SharedEncoder("swin", pretrained=str(tmp_path))


def test_neither_random_weights_nor_a_folder_need_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("swin", "dinov2", "resnet"):
        encoder(name).backbone.model.save_pretrained(tmp_path / name)
        SharedEncoder(name, pretrained=str(tmp_path / name))


def test_residual_does_not_wait_for_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "mtl_perception.network.encoding."
    for module in [name for name in sys.modules if name.startswith(folder)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it fails now
    module = importlib.import_module(folder + "shared_encoder")
    module.SharedEncoder("residual", options=TINY["residual"])
    with pytest.raises(ImportError):
        module.SharedEncoder("swin")


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"no backbone 'swim'.*residual, swin, resnet"):
        SharedEncoder("swim")
    with pytest.raises(ValueError, match="no backbone 'bert'"):
        SharedEncoder("bert")
    with pytest.raises(ValueError, match="swin has no option embed_dims"):
        SharedEncoder("swin", options={"embed_dims": 8})
    with pytest.raises(ValueError, match="at least 4 blocks, not 3"):
        encoder("dinov2", num_hidden_layers=3)
    with pytest.raises(ValueError, match=r"the maps of swin are at strides \(2.0, 4.0"):
        encoder("swin", patch_size=2)
    with pytest.raises(ValueError, match="widths and blocks"):
        SharedEncoder("residual")
    with pytest.raises(ValueError, match="no pretrained weights"):
        SharedEncoder("residual", options=TINY["residual"], pretrained="somewhere")
    images, geometry = inputs(1)
    with pytest.raises(ValueError, match="takes 2 geometry channels, not 0"):
        encoder("residual", geometry=2)(images)
    with pytest.raises(ValueError, match="takes 0 geometry channels, not 2"):
        encoder("swin")(images, geometry)
