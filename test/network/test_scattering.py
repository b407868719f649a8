# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from mtl_perception.network.scattering import sums_by_index

ROWS, COUNT = 200_000, 2


class Sums(nn.Module):
    def forward(self, rows: Tensor, index: Tensor) -> Tensor:
        return sums_by_index(rows, index, COUNT)


def test_an_exported_network_adds_up_all_rows_at_each_run(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 8, (ROWS, 16), generator=generator).float()  # sums of whole numbers are exact
    index = torch.randint(0, COUNT, (ROWS,), generator=generator)
    expected = torch.stack([rows[index == number].sum(dim=0) for number in range(COUNT)]).numpy()
    np.testing.assert_array_equal(sums_by_index(rows, index, COUNT).numpy(), expected)
    path = tmp_path / "sums.onnx"
    torch.onnx.export(Sums(), (rows, index), path, input_names=["rows", "index"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    for _ in range(40):
        (found,) = session.run(None, {"rows": rows.numpy(), "index": index.numpy()})
        np.testing.assert_array_equal(found, expected)
