# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m mtl_perception parameters`: all parameters of all nodes as a page of Markdown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from mtl_perception.resources import config_folder
from mtl_perception.ros.node_parameters import flat
from mtl_perception.ros.parameters_page import parameters_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command line takes."""
    parser.add_argument(
        "--write", action="store_true", help="write docs/parameters.md of this checkout instead of printing the page"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the page, or write it.

    Raises:
        FileNotFoundError: it is to be written, but this is no checkout.
    """
    if not arguments.write:
        sys.stdout.write(page())
        return 0
    file = page_file()
    file.write_text(page())
    print(f"{file} is written")
    return 0


def page() -> str:
    """Return what docs/parameters.md has to say."""
    content = yaml.safe_load((config_folder() / "perception.yaml").read_text())
    return parameters_page(flat(content["/**"]["ros__parameters"]))


def page_file() -> Path:
    """Return the page's place in this checkout.

    Raises:
        FileNotFoundError: this is no checkout.
    """
    folder = config_folder().parent / "docs"
    if not folder.is_dir():
        raise FileNotFoundError(2, "there is no such folder here: this is no checkout", str(folder))
    return folder / "parameters.md"
