# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The mapping node: predictions in; mesh, map cloud, 2D grid and scene graph out; saves, loads and resets the map."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from std_srvs.srv import Trigger

from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping import Mapper, MappingError
from mtl_perception.mapping.fusion.views import as_published
from mtl_perception.mapping.graph.scene_graph import OBJECT_SYMBOL
from mtl_perception.messages.poses import to_pose, transform_from_pose
from mtl_perception.messages.predictions import from_rig_prediction
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.resources import config_file
from mtl_perception.ros import qos
from mtl_perception.ros.autosave import Autosave
from mtl_perception.ros.diagnostics import Level, Status, TopicMonitor
from mtl_perception.ros.files import map_path
from mtl_perception.ros.graph_services import GraphServices
from mtl_perception.ros.label_colours import label_colours
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.losses import Losses
from mtl_perception.ros.map_outputs import MapOutputs, OutputSettings, output_settings
from mtl_perception.ros.mapping_parameters import MappingParameters
from mtl_perception.ros.parameters import Parameters
from mtl_perception.ros.process import run
from mtl_perception.ros.progress import FrameClock, ProgressReporter, frame_status
from mtl_perception.ros.resuming import Resuming, autosave_name
from mtl_perception.ros.service_answers import attempted
from mtl_perception.ros.trajectory_corrections import TrajectoryCorrections
from mtl_perception.ros.worker import Worker
from mtl_perception_msgs.msg import Progress, RigPrediction
from mtl_perception_msgs.srv import LoadMap, MergeMap, SaveMap

_LOG_PERIOD_S = 5.0
_JUMP_BACK_NS = 1_000_000_000  # a frame so much older than the one before: the time was set back


@dataclass(frozen=True)
class _Frame:
    stamp_ns: int
    clock: FrameClock
    read: Callable[[], Prediction]


class MappingNode(ManagedNode):
    """Queues predictions; one worker thread fuses them and publishes the map."""

    _labels: LabelSpace  # as its file has it
    _mapper: Mapper
    _outputs: MapOutputs
    _progress: ProgressReporter
    _worker: Worker[_Frame] | None = None
    _monitor: TopicMonitor | None = None
    _corrections: TrajectoryCorrections | None = None
    _questions: GraphServices | None = None
    _autosave: Autosave | None = None
    _resuming: Resuming | None = None

    def __init__(self, *, in_process: bool = False, **node_arguments: Any) -> None:
        """Make an unconfigured node called `mapping`; see rclpy.node.Node for the other arguments.

        With `in_process`, predictions come by `submit` and `perception/frame` is not subscribed to.

        Raises:
            ParameterError: a parameter has a value that cannot be used.
        """
        super().__init__("mapping", **node_arguments)
        self._in_process = in_process
        self._settings = Parameters(
            self, MappingParameters, is_configured=lambda: self.is_configured, check=self._check_possible
        )
        self._applied: MappingParameters | None = None  # whose live part the map has
        self._subscriptions_made: list[Any] = []
        self._services_made: list[Any] = []
        self._timers_made: list[Any] = []
        self._refusal = ""  # why the newest frame did not go into the map

    def submit(self, prediction: Prediction, clock: FrameClock | None = None) -> None:
        """Take a prediction by reference; only queues. It is dropped silently while the node is not active."""
        worker = self._worker
        if worker is None or not self.is_active:
            return
        prediction = as_published(prediction)
        clock = clock.fork() if clock else self._arrival(prediction.stamp_ns)
        worker.submit(_Frame(prediction.stamp_ns, clock, lambda: prediction))

    def configure(self) -> None:
        """Make an empty map, the publishers and the services."""
        values = self._settings.value
        self._labels = LabelSpace.load(config_file("labels", values.labels))
        self._mapper = Mapper(values.mapper_config(), self._labels, archive_folder=values.archive_folder or None)
        self._apply()
        self._outputs = MapOutputs(self, self._mapper, values.prefixed_map_frame, self._shown)
        self._autosave = self._resume()
        self._progress = ProgressReporter(self.create_output(Progress, "mapping/progress", qos.progress()), "mapping")
        self._worker = Worker(
            "mapping",
            self._process,
            policy=values.frame_policy,
            on_dropped=lambda frame, reason: self._progress.report_dropped(frame.stamp_ns, reason),
            on_error=self._failed,
        )
        self._services_made = [
            self.create_service(SaveMap, "mapping/save", self._save),
            self.create_service(LoadMap, "mapping/load", self._load),
            self.create_service(MergeMap, "mapping/merge", self._merge),
            self.create_service(Trigger, "mapping/reset", self._reset),
        ]
        self._questions = GraphServices(self, self._worker, self._mapper, lambda: self._outputs.frame)
        self._timers_made = [
            self.create_steady_timer(0.1, self._publish),
            self.create_steady_timer(0.2, self._autosave.poll),
        ]

    def activate(self) -> None:
        """Begin to listen."""
        self._subscriptions_made = [
            self.create_subscription(
                Progress,
                "perception/progress",
                self._perception_done,
                qos.progress(),
                qos_overriding_options=qos.overridable(),
            )
        ]
        assert self._worker is not None  # the node is configured
        self._corrections = TrajectoryCorrections(self, self._worker, self._correct, lambda: self._outputs.frame)
        if self._in_process:
            return
        losses = Losses()
        frames = self.create_subscription(
            RigPrediction,
            "perception/frame",
            losses.watching(self._receive),
            qos.output(),
            qos_overriding_options=qos.overridable(),
        )
        self._subscriptions_made.append(frames)
        self._monitor = TopicMonitor(self, frames, paced=self._settings.value.frame_policy == "every", losses=losses)

    def deactivate(self) -> None:
        """Stop listening, finish the frame at hand and publish what has not been published; the map stays."""
        for subscription in self._subscriptions_made:
            self.destroy_subscription(subscription)
        self._subscriptions_made.clear()
        if self._corrections is not None:
            self._corrections.close()
        self._corrections = self._monitor = None
        if self._worker is not None:
            self._worker.discard(lambda _: True, "the node was deactivated")
            self._worker.call(lambda: self._outputs.publish(all_now=True)).result()
        if self._autosave is not None:
            self._autosave.finish()

    def cleanup(self) -> None:
        """Give the map's memory back."""
        for timer in self._timers_made:
            self.destroy_timer(timer)
        self._timers_made.clear()
        if self._autosave is not None and not self._autosave.stop():
            self.get_logger().error("saving the map does not come to its end")
        self._autosave = None
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the frame at hand does not come to its end")
        self._worker = None
        if self._questions is not None:
            self._questions.close()
        self._questions = None
        for service in self._services_made:
            self.destroy_service(service)
        self._services_made.clear()
        if "_mapper" in self.__dict__:
            self._mapper.close()
        if self._resuming is not None:
            self._resuming.end()
        self._resuming = None
        self._applied = None
        for name in ("_mapper", "_outputs", "_progress"):
            self.__dict__.pop(name, None)

    @property
    def is_waited_for(self) -> bool:
        """Whether a player waits for each frame."""
        return self._settings.value.frame_policy == "every"

    def clock_jumped_back(self, clock_ns: int) -> None:
        """Empty the map if the parameters say so."""
        if self._worker is not None and self._settings.value.on_clock_jump == "reset":
            self._worker.call(self._empty)

    def summary(self) -> str:
        """Return what is logged now and then."""
        summary = self._progress.summary()
        return summary and f"{summary}; {self._sizes['blocks']} blocks, {self._sizes['objects']} objects"

    def statuses(self) -> Iterable[Status]:
        """Return what diagnostics show."""
        assert self._worker is not None  # the node is configured
        yield self._input_status()
        yield frame_status(self._progress, self._worker.waiting)
        refusal = self._refusal
        yield Status(
            "map", Level.WARN if refusal else Level.OK, refusal or f"in frame '{self._outputs.frame}'", self._sizes
        )
        for part in (self._autosave, self._corrections):
            status = None if part is None else part.status()
            if status is not None:
                yield status

    _sizes: dict[str, int] = {}
    _newest_ns = 0  # the stamp of the frame before
    _changes = 0  # of the map since the node was configured

    def _input_status(self) -> Status:
        monitor = self._monitor
        if monitor is None:
            return Status("input", Level.OK, "frames come from the same process" if self.is_active else "not active")
        problem, losing = monitor.problem(), monitor.losing()
        level = Level.ERROR if problem else Level.WARN if losing else Level.OK
        message = problem or losing or "perception/frame arrives"
        return Status("input", level, message, {monitor.topic: monitor.summary})

    def _receive(self, message: RigPrediction) -> None:
        if self._monitor is not None and self._worker is not None:
            self._monitor.arrived()
            stamp_ns = stamp_ns_from(message.header.stamp)
            self._worker.submit(_Frame(stamp_ns, self._arrival(stamp_ns), lambda: from_rig_prediction(message)))

    def _perception_done(self, progress: Progress) -> None:
        if not progress.used:  # who waits for mapping must learn that this frame will never come here
            self._progress.report_dropped(
                stamp_ns_from(progress.header.stamp), f"perception: {progress.reason}", "perception"
            )

    def _process(self, frame: _Frame) -> None:
        frame.clock.end("queue")
        self._apply()
        prediction = frame.read()
        self._heed_time(prediction.stamp_ns)
        update = self._mapper.integrate(prediction)
        self._refusal = ""
        self._note_change()
        frame.clock.end("fuse")
        if update.moved:
            self._outputs.note_replaced()
            self.get_logger().warning("the map has moved: the pose jumped, and has stayed there")
        self._outputs.note(update, prediction.stamp_ns, prediction.world_frame)
        self._outputs.publish()
        frame.clock.end("publish")
        self._progress.report_used(frame.clock, update.seconds)

    def _heed_time(self, stamp_ns: int) -> None:
        """Do as at a jump of the clock where the stamps alone tell of one, as of a recording without a clock."""
        if self._newest_ns - stamp_ns > _JUMP_BACK_NS and self._settings.value.on_clock_jump == "reset":
            self.get_logger().warning("the frames' stamps jumped back: the map begins anew")
            self._empty()
        self._newest_ns = stamp_ns

    def _apply(self) -> None:
        """Let what can be changed at any time be as the parameters have it now."""
        values = self._settings.value
        if values is not self._applied:
            self._mapper.adjust(values.mapper_config(), self._labels.with_colours(label_colours(values.label_colours)))
            self._applied = values

    def _check_possible(self, values: MappingParameters) -> None:
        """Refuse colours of classes that the map does not have."""
        if self._applied is not None:
            self._labels.with_colours(label_colours(values.label_colours))

    def _failed(self, frame: _Frame, error: Exception) -> None:
        known = isinstance(error, (MappingError, ValueError))
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        self._refusal = f"mapping is off: {reason}" if isinstance(error, MappingError) else reason
        category = "unusable frame" if known else "internal error"
        self._progress.report_dropped(frame.stamp_ns, reason, category, is_fault=True)
        self.get_logger().error(f"frame {frame.stamp_ns} not mapped: {reason}", throttle_duration_sec=_LOG_PERIOD_S)

    def _publish(self) -> None:
        if self.is_active and self._worker is not None and not self._worker.waiting:
            self._worker.call(self._outputs.publish)

    def _save(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        response.success, response.message = attempted(lambda: self._save_copy(request.path), self.get_logger())
        if response.success:
            response.path, response.message = response.message, "saved"
        return response

    def _load(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        def load() -> str:
            self._mapper.load(map_path(self._settings.value.map_folder, request.path))
            self._outputs.note_replaced()
            self._note_change()
            return "loaded"

        response.success, response.message = self._on_worker(load)
        return response

    def _merge(self, request: MergeMap.Request, response: MergeMap.Response) -> MergeMap.Response:
        def merge() -> str:
            folder = map_path(self._settings.value.map_folder, request.path)
            report = self._mapper.merge(folder, None if request.estimate else transform_from_pose(request.pose))
            self._outputs.note_replaced()
            self._note_change()
            response.pose = to_pose(report.self_from_other)
            response.other_objects = [OBJECT_SYMBOL + number for number in report.objects]
            response.objects = [OBJECT_SYMBOL + number for number in report.objects.values()]
            response.were_known = [number in report.known_objects for number in report.objects.values()]
            return "merged" if report.alignment is None else f"merged, at {report.alignment}"

        response.success, response.message = self._on_worker(merge)
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._on_worker(self._empty)
        return response

    def _save_copy(self, name: str) -> str:
        """Save the map as it is now, while frames go on; return where."""
        if self._worker is None:
            raise ValueError("the node is not configured")
        folder = map_path(self._settings.value.map_folder, name)
        copy = self._worker.call(self._mapper.copy, keep_items=True).result()
        try:
            return str(copy.save(folder))
        finally:
            copy.close()

    def _resume(self) -> Autosave:
        """Continue a saved map if there is one to continue; return what saves this one."""
        values = self._settings.value
        name = autosave_name(values.autosave_path, self.get_namespace())
        resuming = Resuming(map_path(values.map_folder, name), values.run_id, values.autosave_resume)

        def load(folder: Path) -> None:
            self._mapper.load(folder)
            self._outputs.note_replaced()
            self.get_logger().info(f"continuing the map at {folder}")

        resuming.resume(load, self.get_logger().error)
        self._resuming = resuming
        self._sizes, self._changes = dataclasses.asdict(self._mapper.stats), 0
        return Autosave(
            lambda: resuming.save(lambda: self._save_copy(name)),
            lambda: self._changes if self._sizes["frames"] else 0,
            lambda: self._settings.value.autosave_period_s,
            lambda reason: self.get_logger().error(reason),
        )

    def _on_worker(self, action: Callable[[], str]) -> tuple[bool, str]:
        worker = self._worker
        if worker is None:
            return False, "the node is not configured"
        return attempted(lambda: worker.call(action).result(), self.get_logger())

    def _correct(self, poses: Sequence[tuple[int, Transform]]) -> None:
        self._mapper.correct(poses)
        self._outputs.note_replaced()
        self._note_change()

    def _empty(self) -> str:
        self._mapper.reset()
        if self._resuming is not None:
            self._resuming.end()
        self._outputs.note_replaced()
        self._note_change()
        return "the map is empty"

    def _note_change(self) -> None:
        self._sizes = dataclasses.asdict(self._mapper.stats)
        self._changes += 1

    def _shown(self) -> OutputSettings:
        return output_settings(self._settings.value, self._mapper.labels)

    def _arrival(self, stamp_ns: int) -> FrameClock:
        return FrameClock(stamp_ns, self.clock_ns, time.monotonic_ns())


def main() -> None:
    """Run the node until a signal; whoever manages it makes its transitions."""
    sys.exit(run(lambda context, _finished: [MappingNode(context=context)]))


if __name__ == "__main__":
    main()
