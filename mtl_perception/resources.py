# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the suite's own files lie: configuration and checkpoints, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """Return the folder that holds `labels/`, `networks/`, `training/` and `perception.yaml`.

    In a checkout (also a symlinked install) it lies beside the package; installed, in the package's share folder.

    Raises:
        FileNotFoundError: neither is there.
    """
    beside = PACKAGE.parent / "config"
    if (beside / "labels").is_dir():
        return beside
    for parent in PACKAGE.parents:
        shared = parent / "share" / "mtl_perception" / "config"
        if (shared / "labels").is_dir():
            return shared
    raise FileNotFoundError(f"no config folder beside {PACKAGE} nor in a share folder above it")


def config_file(kind: str, name: str) -> Path:
    """Return a YAML file by path, or by its name in `config/<kind>/` (without ending).

    Raises:
        FileNotFoundError: there is no such file; the message lists those that there are.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        path = Path(name)
        if path.is_file():
            return path
        raise FileNotFoundError(f"{path} does not exist")
    folder = config_folder() / kind
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise FileNotFoundError(f"no '{name}' in config/{kind} (there are: {known})")
    return path


def default_checkpoint() -> Path:
    """Return the checkpoint that is taken where none is named."""
    return checkpoint_file("nano")


def checkpoint_file(name: str | Path) -> Path:
    """Return a checkpoint's file by path, or by its name if it comes with the package (without ending).

    Raises:
        FileNotFoundError: there is no such file; the message lists those that come with the package.
    """
    path, folder = Path(name), PACKAGE / "checkpoints"
    if path.is_file():
        return path
    known = {file.stem: file for file in sorted(folder.glob("*.safetensors"))}
    if str(name) in known:
        return known[str(name)]
    raise FileNotFoundError(f"checkpoint {path} does not exist (with the package come: {', '.join(known)})")
