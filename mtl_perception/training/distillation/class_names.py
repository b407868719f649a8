# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a segmentation model's classes are in the suite's label space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_perception.core import LabelSpace
from mtl_perception.core.outside_files import read_yaml
from mtl_perception.resources import config_file


@dataclass(frozen=True)
class ClassMapping:
    """From a model's classes to sets of labels.

    Attributes:
        sets: each set of label names that some class stands for.
        set_of_class: per class id of the model, the index in `sets`, or None for void.
        void: the names of the classes that stand for nothing here.
    """

    sets: tuple[tuple[str, ...], ...]
    set_of_class: tuple[int | None, ...]
    void: tuple[str, ...]


def map_classes(id2label: Mapping[int, str], labels: LabelSpace, name: str = "default") -> ClassMapping:
    """Find what a model's classes stand for.

    Args:
        id2label: the model's class names by id, as its configuration has them.
        labels: the student's.
        name: a data set of the label space (the ids are then that data set's), or a file of `config/teacher_classes`,
            by name or path. Of its sections the one that knows most of the class names is used; a class that is called
            as a label is that label, unless the section says otherwise.

    Raises:
        ValueError: no class stands for a label, or the file is not such a table; names the file.
        FileNotFoundError: there is no such file.
    """
    ids = range(max(id2label, default=-1) + 1)
    if name in labels.datasets:
        found = {each: labels.datasets[name].get(each, ()) for each in ids}
    else:
        path = config_file("teacher_classes", name)
        section = _best_section(_read(path), [_synonyms(text) for text in id2label.values()])
        own = {label: (label,) for label in labels.names}
        table = own | {key: tuple(each for each in names if each in own) for key, names in section.items()}
        found = {each: _first(_synonyms(id2label.get(each, "")), table) for each in ids}
    sets = tuple(dict.fromkeys(names for names in found.values() if names))
    if not sets:
        raise ValueError(f"'{name}' knows none of the segmentation teacher's classes: name a table that does")
    index = {names: position for position, names in enumerate(sets)}
    void = tuple(id2label.get(each, str(each)) for each in ids if not found[each])
    return ClassMapping(sets, tuple(index.get(found[each]) for each in ids), void)


def _read(path: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    content: Any = read_yaml(path)
    try:
        return {
            str(section): {
                str(key).lower(): (names,) if isinstance(names, str) else tuple(str(each) for each in names)
                for key, names in table.items()
            }
            for section, table in content.items()
        }
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{path}: sections of 'class name: label name(s)' are expected: {error}") from error


def _best_section(
    sections: Mapping[str, Mapping[str, tuple[str, ...]]], classes: list[tuple[str, ...]]
) -> Mapping[str, tuple[str, ...]]:
    """Return the section that knows most of the classes; of those that know as many, the one that needs fewer names."""

    def fit(section: Mapping[str, tuple[str, ...]]) -> tuple[int, int]:
        return sum(any(each in section for each in names) for names in classes), -len(section)

    return max(sections.values(), key=fit, default={})


def _synonyms(name: str) -> tuple[str, ...]:
    """Split names like ADE20k's long ones, "car, auto, automobile"."""
    return tuple(part.strip().lower() for part in re.split("[,;]", name) if part.strip())


def _first(names: tuple[str, ...], table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return next((table[each] for each in names if each in table), ())
