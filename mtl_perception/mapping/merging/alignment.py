# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where another map lies in this one, found from what both have seen of the same place.

As in Hydra-Multi (Chang et al., "Hydra-Multi: Collaborative Online Construction of 3D Scene Graphs with Multi-Robot
Teams", IROS 2023), the objects of both scene graphs make the first guess, and denser data the final one; there outliers
among pairs of objects are left out by the largest set that is consistent (Yang et al., "TEASER: Fast and Certifiable
Point Cloud Registration", T-RO 2021), here each guess is grown from a pairing that agrees with many (see `landmarks`).
The surfaces are then laid over each other, and what contradicts is refused: a wrong map is worse than two maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import inverse
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MappingError
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.merging.agreement import Agreement, agreement
from mtl_perception.mapping.merging.landmarks import Guess, Landmarks, are_same, guesses
from mtl_perception.mapping.merging.surface_fit import Fit, fitted
from mtl_perception.mapping.merging.surface_samples import SurfaceSamples, samples_of
from mtl_perception.mapping.reports import Alignment
from mtl_perception.mapping.volume import Volume

LEAST_OBJECTS = 3
"""Things that both maps must have seen; two of them can be anywhere in a room."""
LEAST_AGREEMENT = 0.75
"""Of the upright surface of which both maps know something, the share that agrees."""
LEAST_OF_THINGS = 0.6
"""The same of things alone; some may have been moved."""
LEAST_SURFACE = 1.0
"""Square metres of it that agree."""
CLEARLY_BETTER = 0.8
"""Another transform that has more than this share of the best one's net agreement makes it ambiguous."""

_TRIED = 8  # guesses
_WORTH_TRYING = 0.5  # of the best guess's likeness
_SPACING = 2.0  # voxels between samples
_COARSE = 0.5  # metres: as far may a guess be off
_COARSE_VOXELS, _FINE_VOXELS = 10.0, 2.5
_MOST_FITTED = 20_000  # samples
_BESIDE = 2.0  # metres; what is farther from the other surface cannot say anything of it


@dataclass(frozen=True, eq=False)
class MapView:
    """What a map is recognised by: its blocks with their free air, and its objects."""

    volume: Volume
    objects: Sequence[MapObject]


@dataclass(frozen=True, eq=False)
class _Judged:
    """A guess that was fitted, and what both maps say to it."""

    guess: Guess
    fit: Fit
    agreement: Agreement

    @property
    def net(self) -> int:
        return self.agreement.agreeing - self.agreement.contradicting


def aligned(ours: MapView, theirs: MapView, config: MapperConfig, things: NDArray[np.bool_]) -> Alignment:
    """Find where another map lies in this one; `things` (256,) are the labels of which objects are.

    Both are meshed and in memory or archives; of the surface, 48 bytes for each two by two voxels are in memory.

    Raises:
        MappingError: the maps do not overlap enough, or in several ways; the text has the figures.
    """
    here, there = Landmarks.of(ours.objects), Landmarks.of(theirs.objects)
    found = [guess for guess in guesses(here, there, _TRIED) if guess.support >= LEAST_OBJECTS]
    if not found:
        raise MappingError(
            f"the maps do not overlap enough: no {LEAST_OBJECTS} of their objects ({len(here.labels)} here, "
            f"{len(there.labels)} there) lie alike"
        )
    found = [guess for guess in found if guess.likeness >= _WORTH_TRYING * found[0].likeness]
    spacing = _SPACING * config.voxel_size
    samples = [samples_of(each.volume.surface.parts(), spacing, things) for each in (ours, theirs)]
    judged = [_judged(guess, (ours, theirs), samples, config) for guess in found]
    return _chosen([item for item in judged if item is not None], there.positions.mean(axis=0), spacing**2)


def _judged(
    guess: Guess, maps: tuple[MapView, MapView], samples: Sequence[SurfaceSamples], config: MapperConfig
) -> _Judged | None:
    """Fit a guess to both surfaces, and count what they say to it; None where they hardly meet."""
    coarse, fine = max(_COARSE, _COARSE_VOXELS * config.voxel_size), _FINE_VOXELS * config.voxel_size
    reaches = (coarse, (coarse * fine) ** 0.5, fine)
    ours, theirs = samples
    theirs = theirs.beside(ours, inverse(guess.transform), _BESIDE)
    fit = fitted(guess.transform, ours, theirs.thinned(_MOST_FITTED), reaches)
    if fit is None:
        return None
    both = Agreement()
    for mine, other, transform, seen in (
        (theirs, ours, fit.transform, maps[0]),
        (ours, theirs, inverse(fit.transform), maps[1]),
    ):
        upright = mine.upright().beside(other, inverse(transform), _BESIDE).moved(transform)
        both += agreement(upright, seen.volume.blocks, seen.volume.air, config)
    return _Judged(guess, fit, both)


def _chosen(judged: Sequence[_Judged], middle: NDArray[np.float64], area: float) -> Alignment:
    """Return the one that is right; `area` is that of a sample, square metres, counted on both surfaces."""
    found: list[_Judged] = []
    for item in sorted(judged, key=lambda item: -item.net):
        if not any(are_same(item.fit.transform, other.fit.transform, middle) for other in found):
            found.append(item)
    results = [
        Alignment(
            item.fit.transform,
            item.guess.support,
            item.agreement.share,
            item.agreement.share_of_things,
            item.agreement.agreeing * area / 2,
            item.fit.residual,
        )
        for item in found
    ]
    good = [
        result
        for result in results
        if result.agreement >= LEAST_AGREEMENT
        and result.agreement_of_things >= LEAST_OF_THINGS
        and result.surface >= LEAST_SURFACE
    ]
    if not good:
        tried = "; ".join(map(str, results[:3])) or "none of their surfaces meet"
        raise MappingError(
            f"the maps do not overlap enough: at least {LEAST_AGREEMENT:.0%} of the upright surface that both know, "
            f"{LEAST_OF_THINGS:.0%} of that of things, and {LEAST_SURFACE:g} m2 must agree; tried were {tried}"
        )
    nets = {id(result): item.net for result, item in zip(results, found, strict=True)}
    rivals = [other for other in good[1:] if nets[id(other)] > CLEARLY_BETTER * nets[id(good[0])]]
    if rivals:
        raise MappingError(f"the maps overlap in several ways, which cannot be told apart: {good[0]}; {rivals[0]}")
    return good[0]
