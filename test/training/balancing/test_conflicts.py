# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Gradient conflicts: cosines between the tasks' gradients of the shared weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_perception.training.balancing import gradient_conflicts


def test_cosines_are_those_of_the_gradients() -> None:
    torch.manual_seed(0)
    shared, own = nn.Linear(6, 4), nn.Linear(4, 1)
    inputs = torch.randn(5, 6)
    features = shared(inputs)
    losses = {
        "one": features.square().mean(),
        "same": 7.0 * features.square().mean(),
        "against": -features.square().mean(),
        "other": own(features).abs().sum(),
        "apart": own.bias.square().sum(),  # does not depend on the shared weights
        "constant": torch.tensor(1.0),
    }
    parameters = list(shared.parameters())
    cosines = gradient_conflicts(losses, parameters)
    assert set(cosines) == {
        ("one", "same"),
        ("one", "against"),
        ("one", "other"),
        ("same", "against"),
        ("same", "other"),
        ("against", "other"),
    }
    assert cosines["one", "same"] == pytest.approx(1.0, abs=1e-5)
    assert cosines["one", "against"] == pytest.approx(-1.0, abs=1e-5)
    flat = {
        name: torch.cat([g.flatten() for g in torch.autograd.grad(losses[name], parameters, retain_graph=True)])
        for name in ("one", "other")
    }
    expected = nn.functional.cosine_similarity(flat["one"], flat["other"], dim=0).item()
    assert 0.05 < abs(expected) < 0.95 and cosines["one", "other"] == pytest.approx(expected, abs=5e-3)
    losses["one"].backward()  # the graph is still there, and no gradient was left behind
    assert torch.allclose(torch.cat([p.grad.flatten() for p in parameters]), flat["one"])
