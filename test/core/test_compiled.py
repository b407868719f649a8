# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What Numba compiles is kept on disk, and what was kept is used only while all that it was made of is the same."""

import importlib
import os
import sys

import numpy as np
import pytest
from numba.core.caching import CacheImpl

CALLER = """
from mtl_perception.core.compiled import compiled
from {callee} import SHARE, raised

@compiled
def total(values):
    result = 0.0
    for value in values:
        result += raised(value) * SHARE
    return result
"""
CALLEE = """
from mtl_perception.core.compiled import compiled

SHARE = {share}

@compiled
def raised(value):
    return {expression}
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """The function that writes a caller and a callee in two files, imports them, and returns the caller's function."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    # Python's own cache does not see a change within a second that leaves a file as long as it was.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ["compiled_caller_of_a_test", "compiled_callee_of_a_test"]

    def write(expression="value * value", share=1.0):
        for name, text in zip(names, (CALLER, CALLEE), strict=True):
            path = tmp_path / f"{name}.py"
            text = text.format(callee=names[1], share=share, expression=expression)
            if not path.exists() or path.read_text() != text:  # a caller that is the same keeps its time
                path.write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(names[0]).total

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_what_was_compiled_is_not_compiled_again(modules):
    values = np.array([1.0, 2.0, 3.0])
    first = modules()
    assert first(values) == 14.0
    assert sum(first.stats.cache_misses.values()) == 1
    again = modules()
    assert again is not first and again(values) == 14.0
    assert sum(again.stats.cache_hits.values()) == 1 and not again.stats.cache_misses


@pytest.mark.parametrize(
    ("change", "result"),
    [({"expression": "value + 1.0"}, 9.0), ({"share": 0.5}, 7.0), ({"expression": "value * 2.0"}, 12.0)],
)
def test_a_change_in_another_file_is_noticed(modules, change, result):
    values = np.array([1.0, 2.0, 3.0])
    assert modules()(values) == 14.0
    assert modules(**change)(values) == result
    back = modules()
    assert back(values) == 14.0


def test_without_a_folder_for_it_functions_are_compiled_all_the_same(modules, monkeypatch, tmp_path):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    function = modules()
    assert function(np.array([2.0])) == 4.0
    assert not list(tmp_path.rglob("*.nbc"))


def test_a_broken_file_and_a_full_disk_stop_nothing(modules, monkeypatch, tmp_path):
    values = np.array([3.0])
    assert modules()(values) == 9.0
    files = [*tmp_path.rglob("*.nbi"), *tmp_path.rglob("*.nbc")]
    assert files
    for path in files:
        path.write_bytes(b"\0" * 100)
    assert modules()(values) == 9.0

    def full(*_):
        raise OSError(28, os.strerror(28))

    for path in files:
        path.unlink(missing_ok=True)
    monkeypatch.setattr(os, "replace", full)
    assert modules()(values) == 9.0
    assert not list(tmp_path.rglob("*.nbc"))
