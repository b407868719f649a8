# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The one list of semantic classes, read from a YAML file and checked."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.outside_files import read_yaml

UNKNOWN = 255
"""Label id of a pixel that has no known class (mono8)."""
MOST_LABELS = 250
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Label:
    """One semantic class. `colour` is RGB 0..255; a `thing` can be counted; a `movable` one can leave its place."""

    id: int
    name: str
    colour: tuple[int, int, int]
    thing: bool
    movable: bool


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """The semantic classes, ids 0..n-1 in order.

    Attributes:
        name: of the label space.
        labels: the classes; `labels[i].id == i`.
        subsets: named groups of class names (e.g. `occupancy`).
        datasets: per dataset, from its own label id to the names of all classes here that the id may stand for; a
            dataset that draws no line between cars and trucks maps one id to both. Ids that are not listed are void.
        boxes: from names that recordings give to boxes, in lower case, to the name of the class here.
    """

    name: str
    labels: tuple[Label, ...]
    subsets: Mapping[str, tuple[str, ...]]
    datasets: Mapping[str, Mapping[int, tuple[str, ...]]]
    boxes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> LabelSpace:
        """Read a label space from YAML (see config/labels/default.yaml for the format).

        Raises:
            ValueError: the file does not follow the format; the message names file, entry and value.
            OSError: the file cannot be read.
        """
        path = Path(path)
        try:
            return cls.from_dict(read_yaml(path))
        except ValueError as error:
            raise ValueError(f"label space {path}: {error}") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelSpace:
        """Build a label space from what its YAML file holds.

        Raises:
            ValueError: ids are not 0..n-1, a name or colour is wrong or repeated, or a group names an unknown class.
        """
        entries = _expect(_expect(content, dict, "the file").get("labels"), list, "labels")
        if not 1 <= len(entries) <= MOST_LABELS:
            raise ValueError(f"{len(entries)} labels, expected 1 to {MOST_LABELS}")
        labels = tuple(_label(index, entry) for index, entry in enumerate(entries))
        names = [label.name for label in labels]
        described: dict[str, list[Any]] = {"name": names, "colour": [label.colour for label in labels]}
        for what, values in described.items():
            repeated = [value for value in values if values.count(value) > 1]
            if repeated:
                raise ValueError(f"{what} {repeated[0]!r} is given to more than one label")
        subsets = {
            key: tuple(_expect(members, list, f"subsets.{key}")) for key, members in _group(content, "subsets").items()
        }
        datasets = {
            key: {
                _source_id(key, source): _as_names(targets, f"datasets.{key}.{source}")
                for source, targets in _expect(mapping, dict, f"datasets.{key}").items()
            }
            for key, mapping in _group(content, "datasets").items()
        }
        groups = list(subsets.items()) + [(k, names_) for k, m in datasets.items() for names_ in m.values()]
        for key, members in groups:
            unknown = [member for member in members if member not in names]
            if unknown:
                raise ValueError(f"'{key}' names the label '{unknown[0]}', which is not in the list")
        boxes = {str(key).lower(): str(target) for key, target in _group(content, "boxes").items()}
        for key, target in boxes.items():
            if target not in names:
                raise ValueError(f"boxes: '{key}' names the label '{target}', which is not in the list")
        return cls(_expect(content.get("name"), str, "name"), labels, subsets, datasets, boxes)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, for a checkpoint's metadata."""
        return {
            "name": self.name,
            "labels": [
                {"id": lb.id, "name": lb.name, "colour": list(lb.colour), "thing": lb.thing, "movable": lb.movable}
                for lb in self.labels
            ],
            "subsets": {key: list(members) for key, members in self.subsets.items()},
            "datasets": {key: {k: list(v) for k, v in m.items()} for key, m in self.datasets.items()},
            "boxes": dict(self.boxes),
        }

    def with_colours(self, colours: Mapping[str, tuple[int, int, int]]) -> LabelSpace:
        """Return the same label space with other colours (RGB 0..255) of the classes that are named.

        Raises:
            ValueError: there is no such class; the message lists those that there are.
        """
        unknown = [name for name in colours if name not in self.names]
        if unknown:
            raise ValueError(f"there is no class '{unknown[0]}' (there are: {', '.join(self.names)})")
        labels = tuple(replace(label, colour=colours.get(label.name, label.colour)) for label in self.labels)
        return replace(self, labels=labels)

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, by id."""
        return tuple(label.name for label in self.labels)

    def id_of(self, name: str) -> int:
        """Return the id of a class name.

        Raises:
            KeyError: there is no such class.
        """
        for label in self.labels:
            if label.name == name:
                return label.id
        raise KeyError(f"label space '{self.name}' has no label '{name}'")

    def id_of_box(self, name: str) -> int | None:
        """Return the id of the class that a box of that name (in any case) shows, or None where there is none."""
        name = self.boxes.get(name.lower(), name.lower())
        return next((label.id for label in self.labels if label.name == name), None)

    @property
    def movable(self) -> NDArray[np.bool_]:
        """Per id 0..255, whether the class can leave its place (unknown cannot)."""
        table = np.zeros(256, dtype=bool)
        table[[label.id for label in self.labels if label.movable]] = True
        return table

    @property
    def static_things(self) -> NDArray[np.bool_]:
        """Per id 0..255, whether the class can be counted and stays in its place: what the map's objects are of."""
        table = np.zeros(256, dtype=bool)
        table[[label.id for label in self.labels if label.thing and not label.movable]] = True
        return table

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Colours (256, 3) by id; black for unknown. `palette[labels]` colours an image in one lookup."""
        table = np.zeros((256, 3), dtype=np.uint8)
        for label in self.labels:
            table[label.id] = label.colour
        return table

    def candidates(self, dataset: str) -> NDArray[np.bool_]:
        """Return, per id 0..255 of a dataset, which classes (256, n) it may stand for; rows of void are all False.

        Raises:
            KeyError: the dataset is not in the file.
        """
        if dataset not in self.datasets:
            raise KeyError(f"label space '{self.name}' has no mapping from dataset '{dataset}'")
        table = np.zeros((256, len(self)), dtype=bool)
        for source, targets in self.datasets[dataset].items():
            table[source, [self.id_of(target) for target in targets]] = True
        return table


def _label(index: int, entry: Mapping[str, Any]) -> Label:
    described = _expect(entry, dict, f"label {index}")
    for key in ("id", "name", "colour", "thing", "movable"):
        if key not in described:
            raise ValueError(f"label {index} has no {key}")
    name = _expect(entry["name"], str, f"label {index}: name")
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"label {index}: name {name!r:.120} must be 1 to {_LONGEST_NAME} printable characters")
    if type(entry["id"]) is not int or entry["id"] != index:
        raise ValueError(f"label '{name}' has id {entry['id']!r:.80}, expected {index} (ids run 0, 1, 2, ...)")
    colour = entry["colour"]
    whole = isinstance(colour, list) and len(colour) == 3 and all(type(value) is int for value in colour)
    if not whole or not all(0 <= value <= 255 for value in colour):
        raise ValueError(f"label '{name}': colour {reprlib.repr(colour)} must be three values of 0..255")
    red, green, blue = colour
    thing, movable = (_expect(entry[key], bool, f"label '{name}': {key}") for key in ("thing", "movable"))
    return Label(index, name, (red, green, blue), thing, movable)


def _group(content: Mapping[str, Any], key: str) -> dict[Any, Any]:
    group: dict[Any, Any] = _expect(content.get(key, {}), dict, key)
    return group


def _source_id(dataset: str, source: Any) -> int:
    """Return a dataset's own id; JSON, in which checkpoints have it, knows keys as text only."""
    text = str(source)
    if not text.isdecimal() or len(text) > 3 or int(text) > UNKNOWN:
        raise ValueError(f"datasets.{dataset}: id {text[:80]!r} is not one of 0 to {UNKNOWN}")
    return int(text)


def _as_names(targets: Any, what: str) -> tuple[str, ...]:
    return (targets,) if isinstance(targets, str) else tuple(_expect(targets, list, what))


_KINDS = {dict: "names with values", list: "a list", str: "text", bool: "true or false"}


def _expect(value: Any, kind: type, what: str) -> Any:
    """Return a value if it is of a kind; else a ValueError says what it is."""
    if not isinstance(value, kind):
        raise ValueError(f"{what} is {reprlib.repr(value)}, expected {_KINDS[kind]}")
    return value
