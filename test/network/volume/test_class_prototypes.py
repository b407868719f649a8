# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Class prototypes: the mean over each class's voxels plus its embedding."""

import pytest
import torch

from mtl_perception.network.volume.class_prototypes import ClassPrototypeGenerator


@pytest.fixture
def generator() -> ClassPrototypeGenerator:
    torch.manual_seed(0)
    return ClassPrototypeGenerator(8, 5).eval()


@pytest.mark.parametrize("frames", [1, 3])
def test_prototypes_are_masked_means_plus_embeddings(generator: ClassPrototypeGenerator, frames: int) -> None:
    voxels = torch.randn(frames, 8, 7, 9, 3)
    prototypes, logits = generator(voxels)
    assert prototypes.shape == (frames, 5, 8) and logits.shape == (frames, 6, 7, 9, 3)
    found = 0
    for frame in range(frames):
        for label in range(5):
            mask = logits[frame].argmax(dim=0) == label
            expected = generator.embedding[label].clone()
            if mask.any():
                expected += voxels[frame][:, mask].mean(dim=1)
                found += 1
            torch.testing.assert_close(prototypes[frame, label], expected)
    assert found > 2


def test_a_class_that_is_nowhere_is_its_embedding(generator: ClassPrototypeGenerator) -> None:
    with torch.no_grad():
        generator.classifier[-1].bias[2] = -1e3
    prototypes, _ = generator(torch.randn(2, 8, 4, 4, 2))
    torch.testing.assert_close(prototypes[:, 2], generator.embedding[2].expand(2, 8))


def test_everything_free_leaves_the_embeddings(generator: ClassPrototypeGenerator) -> None:
    with torch.no_grad():
        generator.classifier[-1].bias[-1] = 1e3
    prototypes, _ = generator(torch.randn(1, 8, 4, 4, 2))
    torch.testing.assert_close(prototypes[0], generator.embedding)


def test_prototypes_train_voxels_but_not_the_classifier(generator: ClassPrototypeGenerator) -> None:
    with torch.no_grad():
        generator.classifier[-1].bias[5] += 0.6  # some voxels are free
    voxels = torch.randn(1, 8, 5, 5, 3, requires_grad=True)
    prototypes, logits = generator(voxels)
    prototypes.square().sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in generator.classifier.parameters())
    assert voxels.grad is not None and voxels.grad.abs().sum() > 0
    free = logits[0].argmax(dim=0) == 5
    assert free.any() and (voxels.grad[0][:, free] == 0).all()  # free space is in no prototype
    assert generator.embedding.grad is not None
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in generator.classifier.parameters())


def test_frames_do_not_see_each_other(generator: ClassPrototypeGenerator) -> None:
    voxels = torch.randn(3, 8, 5, 7, 3)
    torch.testing.assert_close(generator(voxels)[0][1:2], generator(voxels[1:2])[0])


def test_bfloat16_counts_beyond_its_own_precision() -> None:
    torch.manual_seed(0)
    generator = ClassPrototypeGenerator(8, 5).eval()
    with torch.no_grad():
        generator.classifier[-1].bias[1] = 1e3  # 1 x 4096 voxels of one class
    voxels = torch.rand(1, 8, 16, 16, 16)
    expected, _ = generator(voxels)
    prototypes, logits = generator.to(torch.bfloat16)(voxels.bfloat16())
    assert prototypes.dtype == logits.dtype == torch.bfloat16
    torch.testing.assert_close(prototypes.float(), expected, atol=0.02, rtol=0.02)
