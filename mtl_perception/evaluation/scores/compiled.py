# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The passes over the pixels of every frame, compiled when they are first used (a second in all).

Neighbouring pixels are often in the same bin, and adding to one sum again and again must wait for the addition before;
so sums are made in LANES, to be added up by the caller.
"""

from __future__ import annotations

import numpy as np

from mtl_perception.core.compiled import compiled

LANES = 4


@compiled
def add_depths(  # type: ignore[no-untyped-def]
    truth,
    predicted,
    deviation,
    scale,
    limits,
    bands,
    within_limits,
    relative_bins,
    first_octave,
    counts,
    sums,
    within,
    relative_counts,
    deviation_counts,
    deviation_sums,
    quotients,
    space,
    bits,
    band,
):
    """Add up the errors of depths. Lengths are float32 metres.

    Args:
        truth, predicted: (N,), NaN where unknown.
        deviation: (N,) stated standard deviations, NaN where there is none; or (0,).
        scale: what predictions and deviations are multiplied by first.
        limits: (2,), nearest and farthest truth that is scored; predictions are moved into these limits.
        bands: (B - 1,) ascending ends of bands of true distance; a band's end belongs to it.
        within_limits: (D,) of the larger of p / t and t / p.
        relative_bins: how many bins of the relative error there are to 1; what is larger is in the last.
        first_octave: logarithm to base 2 of where the bins of deviations begin, two an octave.
        counts: (LANES, B), added to: pixels.
        sums: (3, LANES, B), added to: the absolute relative, the squared, and the squared relative error.
        within: (D,), added to: pixels within each limit.
        relative_counts: (LANES, bins), added to: pixels by their relative error.
        deviation_counts: (LANES, bins), added to: pixels by their stated deviation.
        deviation_sums: (2, LANES, bins), added to: the squared stated deviation, and the squared error.
        quotients: (N,), of which the first are set to p / t of the pixels that are scored.
        space: six arrays (N,) to work in: compiling what makes arrays would take longer than all the rest.
        bits: the third of them, its bits as int32.
        band: (N,) uint8 zeros to work in.

    Returns:
        How many pixels are scored, and how many of them have a prediction.
    """
    if len(predicted) != len(truth) or len(deviation) not in (0, len(truth)):
        raise ValueError("depth: images of different sizes")
    nearest, farthest = limits
    has_deviation = len(deviation) > 0
    true, near, stated, error, relative, inverses = space
    number, found = 0, 0
    for pixel in range(len(truth)):
        if not nearest <= truth[pixel] <= farthest:
            continue
        scaled = predicted[pixel] * scale
        near[number] = max(scaled if scaled < farthest else farthest, nearest)  # NaN compares false
        true[number] = truth[pixel]
        found += not np.isnan(predicted[pixel])
        if has_deviation:
            stated[number] = deviation[pixel]
        number += 1

    for limit in bands:
        for pixel in range(number):
            band[pixel] += np.uint8(true[pixel] > limit)
    for pixel in range(number):  # without branches, so that several pixels are done at once
        error[pixel] = abs(near[pixel] - true[pixel])
        relative[pixel] = error[pixel] / true[pixel]
        quotients[pixel] = near[pixel] / true[pixel]
        inverses[pixel] = true[pixel] / near[pixel]
    for place in range(len(within_limits)):
        limit = within_limits[place]
        count = 0
        for pixel in range(number):
            count += (quotients[pixel] < limit) & (inverses[pixel] < limit)
        within[place] += count

    factor, last = np.float32(relative_bins), np.float32(relative_bins - 1)
    for pixel in range(number):
        lane, place = pixel & (LANES - 1), band[pixel]
        counts[lane, place] += 1
        sums[0, lane, place] += relative[pixel]
        sums[1, lane, place] += error[pixel] * error[pixel]
        sums[2, lane, place] += relative[pixel] * error[pixel]
        relative_counts[lane, np.int64(min(relative[pixel] * factor, last))] += 1

    if has_deviation:
        offset, last_place = 2 * (127 + first_octave), deviation_counts.shape[1] - 1
        for pixel in range(number):
            if not np.isfinite(stated[pixel]):
                continue
            # a depth within the limits is never off by more than the farther one
            stated[pixel] = min(max(stated[pixel] * scale, np.float32(0.0)), farthest)
            lane, place = pixel & (LANES - 1), min(max((bits[pixel] >> 22) - offset, 0), last_place)
            deviation_counts[lane, place] += 1
            deviation_sums[0, lane, place] += stated[pixel] * stated[pixel]
            deviation_sums[1, lane, place] += error[pixel] * error[pixel]
    return number, found


@compiled
def add_labels(  # type: ignore[no-untyped-def]
    truth, predicted, confidence, cells, classes, confusion, pixels, right, sums
):
    """Count labels, and add up confidences.

    Args:
        truth, predicted: (N,) uint8 ids.
        confidence: (N,) float32 of the predicted label, 0..1 or NaN; or (0,).
        cells: (65536,), per true id * 256 + predicted id, the place in the confusion matrix; -1 if truth is void.
        classes: of the label space; larger predicted ids are no label.
        confusion: (classes * (classes + 1),), added to; one row a true class.
        pixels, right: (LANES, bins), added to: labels with a confidence, and how many of them are right.
        sums: (LANES, bins), added to: their confidences.
    """
    if len(predicted) != len(truth) or len(confidence) not in (0, len(truth)):
        raise ValueError("semantic: images of different sizes")
    has_confidence = len(confidence) > 0
    bins = np.float32(pixels.shape[1])
    last = bins - np.float32(1.0)
    pair, cell, run, hit = -1, -1, 0, 0
    for pixel in range(len(truth)):
        current = np.int64(truth[pixel]) * 256 + predicted[pixel]
        if current != pair:  # neighbours mostly are alike
            if cell >= 0:
                confusion[cell] += run
            pair, cell, run = current, cells[current], 0
            hit = 1 if cell % (classes + 2) == 0 else 0  # the diagonal of a matrix with one column more than rows
        run += 1
        if has_confidence and cell >= 0 and predicted[pixel] < classes and np.isfinite(confidence[pixel]):
            lane = pixel & (LANES - 1)
            place = np.int64(max(min(confidence[pixel] * bins, last), np.float32(0.0)))
            pixels[lane, place] += 1
            right[lane, place] += hit
            sums[lane, place] += confidence[pixel]
    if cell >= 0:
        confusion[cell] += run
