# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The one list of semantic classes, read from a YAML file and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

UNKNOWN = 255
"""Label id of a pixel that has no known class (mono8)."""


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
            return cls.from_dict(yaml.safe_load(path.read_text()))
        except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise ValueError(f"label space {path}: {error}") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelSpace:
        """Build a label space from what its YAML file holds.

        Raises:
            ValueError: ids are not 0..n-1, a name or colour is wrong or repeated, or a group names an unknown class.
        """
        labels = tuple(_label(index, entry) for index, entry in enumerate(content["labels"]))
        names = [label.name for label in labels]
        described: dict[str, list[Any]] = {"name": names, "colour": [label.colour for label in labels]}
        for what, values in described.items():
            repeated = [value for value in values if values.count(value) > 1]
            if repeated:
                raise ValueError(f"{what} {repeated[0]!r} is given to more than one label")
        if not labels or len(labels) > 250:
            raise ValueError(f"{len(labels)} labels, expected 1 to 250")
        subsets = {key: tuple(members) for key, members in content.get("subsets", {}).items()}
        datasets = {
            key: {int(source): _as_names(targets) for source, targets in mapping.items()}
            for key, mapping in content.get("datasets", {}).items()
        }
        groups = list(subsets.items()) + [(k, names_) for k, m in datasets.items() for names_ in m.values()]
        for key, members in groups:
            unknown = [member for member in members if member not in names]
            if unknown:
                raise ValueError(f"'{key}' names the label '{unknown[0]}', which is not in the list")
        boxes = {str(key).lower(): str(target) for key, target in content.get("boxes", {}).items()}
        for key, target in boxes.items():
            if target not in names:
                raise ValueError(f"boxes: '{key}' names the label '{target}', which is not in the list")
        return cls(str(content["name"]), labels, subsets, datasets, boxes)

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
    if entry["id"] != index:
        raise ValueError(f"label '{entry.get('name')}' has id {entry['id']}, expected {index} (ids run 0, 1, 2, ...)")
    colour = tuple(int(value) for value in entry["colour"])
    if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
        raise ValueError(f"label '{entry['name']}': colour {entry['colour']} must be three values of 0..255")
    red, green, blue = colour
    return Label(index, str(entry["name"]), (red, green, blue), bool(entry["thing"]), bool(entry["movable"]))


def _as_names(targets: str | list[str]) -> tuple[str, ...]:
    return (targets,) if isinstance(targets, str) else tuple(targets)
