# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_perception.resources import PACKAGE
from mtl_perception.training.ablation.command import CLAIMS, STORED, read_stored, write_claims
from mtl_perception.training.ablation.study import Study, study_names
from mtl_perception.training.ablation.tables import claims_page

ROOT = PACKAGE.parent


def test_the_page_of_claims_is_that_of_the_stored_results() -> None:
    studies = {name: Study.load(name) for name in study_names()}
    expected = claims_page(studies, read_stored(studies, ROOT / STORED))
    assert (ROOT / CLAIMS).read_text() == expected, "write it anew: python -m mtl_perception ablate --write-claims"


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} holds no results"):
        write_claims([tmp_path], tmp_path / "stored", tmp_path / "claims.md")
    assert not (tmp_path / "claims.md").exists()
