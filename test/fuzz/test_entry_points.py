# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever reads something is in the list of the fuzzing package, and is fed by the target that the list names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import fuzzing
from fuzzing.targets import TARGETS

PACKAGE = Path(__file__).resolve().parents[2] / "mtl_perception"
FOLDERS = ("core", "data", "evaluation", "mapping", "messages", "network", "ros", "running", "training")
FUNCTION = re.compile(r"(read|load|open|decode)(_\w+)?|opened|from_\w+|\w+_from_\w+|\w+_to_array")
METHOD = re.compile(r"read|load|open|decode|from_dict|from_file\w*")


def listed() -> dict[str, str]:
    """Every dotted name of the list, and what follows its colon."""
    text = fuzzing.__doc__ or ""
    return dict(re.findall(r"([a-z_]+(?:\.\w+)+)(?:: ([^\n]+))?(?=[\n,])", text))


def readers() -> Iterator[str]:
    """The public functions and methods that are called like one that reads."""
    for path in sorted(path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and FUNCTION.fullmatch(node.name):
                yield f"{module}.{node.name}"
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
                yield from (f"{module}.{node.name}.{part.name}" for part in methods if METHOD.fullmatch(part.name))


def test_every_reader_is_in_the_list() -> None:
    found = set(readers())
    assert len(found) > 80
    assert sorted(found - listed().keys()) == []


def test_the_list_names_what_feeds_each_and_nothing_that_is_gone() -> None:
    names = {target.name for target in TARGETS}
    fed = {reader: target.name for target in TARGETS for reader in target.readers}
    for reader, where in listed().items():
        module = PACKAGE.joinpath(*[part for part in reader.split(".") if part.islower()][:-1])
        parts = reader.split(".")
        files = [PACKAGE.joinpath(*parts[:end]).with_suffix(".py") for end in range(1, len(parts))]
        files += [PACKAGE.joinpath(*parts[:end]) / "__init__.py" for end in range(1, len(parts))]
        texts = [file.read_text() for file in files if file.is_file()]
        assert any(re.search(rf"(def|class) _?{parts[-1]}\b", text) for text in texts) or parts[0] == "cdr", module
        if where in names:
            assert reader in fed, f"no target says that it feeds {reader}"
    assert sorted(fed.keys() - listed().keys()) == []
