# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is left of a run: summary, pictures, and the main figures on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rich.console import Console
from rich.table import Table

from mtl_perception.core import UNKNOWN, LabelSpace, Prediction, ply
from mtl_perception.core.outside_files import read_json
from mtl_perception.core.validation_text import error_text
from mtl_perception.drawing.images import Image
from mtl_perception.drawing.mesh import Surface
from mtl_perception.mapping import MapperConfig, MeshArrays
from mtl_perception.messages.images import image_to_array
from mtl_perception.messages.predictions import from_occupancy, from_rig_prediction
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.resources import config_file
from mtl_perception.ros.diagnostics import by_reason
from mtl_perception.running.ground_truth import depth_abs_rel, map_distance, occupancy_ground_error_m
from mtl_perception.running.monitor import MonitorNode
from mtl_perception.running.pictures import Scene, write_pictures
from mtl_perception.running.recorder import PredictionRecorder
from mtl_perception.running.settings import UpSettings
from mtl_perception.running.summary import NetworkFacts, summary, write_summary

_MAP_SIZES = ("blocks", "vertices", "objects", "places", "rooms")
_MANIFEST_BYTES = 2**26
_IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class SavedMap(NamedTuple):
    """A saved map's mesh and the settings that it was made with."""

    mesh: MeshArrays
    config: MapperConfig
    labels: LabelSpace


def report(
    monitor: MonitorNode, settings: UpSettings, saved: Path | None, recorder: PredictionRecorder | None, seconds: float
) -> dict[str, Any]:
    """Write summary.json and the pictures into `settings.out` (when given), print the main figures, return the summary.

    Args:
        monitor: has seen the run.
        settings: of the run.
        saved: the folder of the saved map, when there is one.
        recorder: has what was predicted, when the bag has ground truth to compare it with.
        seconds: that the run took.
    """
    prediction = _last_prediction(monitor, settings)
    saved_map = read_map(saved) if saved is not None else None
    labels = saved_map.labels if saved_map is not None else LabelSpace.load(config_file("labels", "default"))
    map_facts: dict[str, Any] = _map_sizes(monitor.status(_status_name(settings, "mapping: map")))
    measured: dict[str, float] = {}
    if recorder is not None and settings.bag is not None:
        if saved_map is not None:
            map_facts |= map_distance(settings.bag, recorder, *saved_map)
        measured = _without_none(
            depth_abs_rel=depth_abs_rel(settings.bag, recorder),
            occupancy_ground_error_m=occupancy_ground_error_m(settings.bag, recorder, labels),
        )
    pictures = []
    if settings.out is not None and prediction is not None:
        surface = _surface(saved_map.mesh) if saved_map is not None else None
        inputs = _inputs(monitor, settings, prediction)
        pictures = write_pictures(Scene(prediction, labels, inputs, surface), settings.out / "pictures")
    content = summary(
        frames=monitor.frames.frames(_unanswered(monitor, settings)),
        topics=monitor.topics(),
        stamp_age_ms=monitor.frames.stamp_age_ms(),
        map_facts=map_facts,
        network=_network(monitor.status(_status_name(settings, "perception: network"))),
        pictures=pictures,
        folder=settings.out or Path(),
        seconds=seconds,
        measured=measured,
    )
    if settings.out is not None:
        write_summary(content, settings.out)
    show(content, settings.out)
    return content


def show(content: Mapping[str, Any], out: Path | None) -> None:
    """Print the main figures of a summary."""
    table = Table(title="What came out of it", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    frames, network, sizes = content["frames"], content["network"], content["map"]
    dropped = "".join(f"\n{count} dropped: {reason}" for reason, count in frames["dropped"].items())
    table.add_row("frames", f"{frames['used']} of {frames['in']} used in {content['seconds']:.1f} s{dropped}")
    left_out = "".join(f"\nleft out: {text}" for text in by_reason(network["tasks_left_out"]))
    table.add_row("network", f"{network['preset']}: {', '.join(network['tasks_published'])}{left_out}")
    topics = content["topics"].values()
    table.add_row("topics", f"{len(topics)}, {sum(topic['count'] for topic in topics)} messages")
    table.add_row("map", f"{sizes['blocks']} blocks, {sizes['vertices']} vertices, {sizes['objects']} objects")
    for stage, ages in content["stamp_age_ms"].items():
        if stage.endswith("/publish"):
            table.add_row(f"stamp age, {stage}", f"{ages['p50']:.0f} ms median, {ages['p99']:.0f} ms p99")
    for name, text in _MEASURES.items():
        value = content.get(name, sizes.get(name))
        if value is not None:
            table.add_row(text, f"{value:.3f}")
    if out is not None:
        table.add_row("files", f"{out / 'summary.json'}\n{out / 'pictures' / 'overview.png'}\n{out / 'map'}")
    Console().print(table)


_MEASURES = {
    "depth_abs_rel": "depth AbsRel, against recorded depth",
    "mesh_distance_m": "mesh distance to the mesh of recorded depth, m",
    "mesh_completeness": "share of that mesh within two voxels",
    "occupancy_ground_error_m": "occupancy's ground over LiDAR's ground, m (median)",
}


def _last_prediction(monitor: MonitorNode, settings: UpSettings) -> Prediction | None:
    message = monitor.last(settings.full_name("perception/frame"))
    if message is None:
        return None
    occupancy = monitor.last(settings.full_name("perception/occupancy"))
    prediction = from_rig_prediction(message)
    return prediction if occupancy is None else replace(prediction, occupancy=from_occupancy(occupancy))


def _inputs(monitor: MonitorNode, settings: UpSettings, prediction: Prediction) -> dict[str, Image]:
    """Return the cameras' own images of this prediction, where they are the last that came."""
    inputs = {}
    topics = {topic for type_name in _IMAGE_TYPES for topic in monitor.topics_of_type(type_name)}
    for name, camera in prediction.cameras.items():
        base = settings.full_name(f"{name}/image")
        for topic in (base, f"{base}/compressed"):
            message = monitor.last(topic) if topic in topics else None
            if message is not None and stamp_ns_from(message.header.stamp) == camera.stamp_ns:
                inputs[name] = image_to_array(message, topic)
    return inputs


def _unanswered(monitor: MonitorNode, settings: UpSettings) -> int:
    """Return how many images of the bag's reference camera no node has reported on."""
    if settings.bag is None or not settings.cameras:
        return 0
    base, topics = settings.full_name(f"{settings.cameras[0]}/image"), monitor.topics()
    sent = sum(topics[topic].count for topic in (base, f"{base}/compressed") if topic in topics)
    return max(0, sent - monitor.frames.reported("perception"))


def _status_name(settings: UpSettings, status: str) -> str:
    return settings.full_name(status).lstrip("/")


def _network(status: DiagnosticStatus | None) -> NetworkFacts:
    if status is None:
        return NetworkFacts()
    values = {entry.key: entry.value for entry in status.values}
    prefix = "left out: "
    return NetworkFacts(
        preset=values.get("preset", ""),
        checkpoint=values.get("checkpoint", ""),
        tasks_published=tuple(filter(None, values.get("tasks published", "").split(", "))),
        tasks_left_out={key.removeprefix(prefix): why for key, why in values.items() if key.startswith(prefix)},
    )


def _map_sizes(status: DiagnosticStatus | None) -> dict[str, int]:
    values = {} if status is None else {entry.key: entry.value for entry in status.values}
    return {name: int(values[name]) for name in _MAP_SIZES if name in values}


def read_map(folder: Path) -> SavedMap:
    """Read what mapping's storage documents for other programs: mesh.ply and the manifest's settings.

    Raises:
        OSError: there is no map.
        ValueError: a file is not what it should be; names it.
    """
    manifest = read_json(folder / "manifest.json", _MANIFEST_BYTES)
    mesh = ply.read_mesh(folder / "mesh.ply", ("x", "y", "z", "red", "green", "blue"))
    count = len(mesh.vertices)
    try:
        config, labels = MapperConfig(**manifest["config"]), LabelSpace.from_dict(manifest["labels"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'manifest.json'} is not that of a map: {error_text(error)}") from error
    return SavedMap(
        MeshArrays(
            vertices=ply.columns(mesh.vertices, "x", "y", "z").astype(np.float32),
            triangles=mesh.triangles,
            colours=ply.columns(mesh.vertices, "red", "green", "blue").astype(np.uint8),
            labels=np.full(count, UNKNOWN, dtype=np.uint8),
            confidence=np.zeros(count, dtype=np.float32),
            instances=np.zeros(count, dtype=np.uint16),
        ),
        config,
        labels,
    )


def _surface(mesh: MeshArrays) -> Surface:
    return Surface(mesh.vertices, mesh.triangles, mesh.colours)


def _without_none(**values: float | None) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items() if value is not None}
