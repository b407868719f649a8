# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node: images, calibration and poses in; depth, labels, masks and occupancy out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from rclpy.duration import Duration

from mtl_perception.consistency import SelfChecks
from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file
from mtl_perception.ros import qos
from mtl_perception.ros.cabin_input import CabinInput, CabinTopics
from mtl_perception.ros.camera_topics import CameraTopics
from mtl_perception.ros.demand import Demand, Wanted
from mtl_perception.ros.diagnostics import Level, Status, by_reason
from mtl_perception.ros.label_colours import label_colours
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.parameters import Parameters
from mtl_perception.ros.perception_outputs import FRAME, TASKS_OF_TOPIC, PerceptionOutputs
from mtl_perception.ros.perception_parameters import (
    ALL,
    ON_DEMAND,
    CabinCameraParameters,
    CameraParameters,
    OutputRates,
    PerceptionParameters,
)
from mtl_perception.ros.poses import PoseSource, TfPoses, TopicPoses
from mtl_perception.ros.process import run
from mtl_perception.ros.progress import FrameClock, ProgressReporter, frame_status
from mtl_perception.ros.rig_input import DroppedFrameError, RigInput
from mtl_perception.ros.synchronizer import CLOCK_JUMPED, RigSet
from mtl_perception.ros.transform_input import TransformInput
from mtl_perception.ros.transforms import TransformBuffer, Transforms
from mtl_perception.ros.worker import Worker
from mtl_perception_msgs.msg import Progress

_PATIENCE_S = 5.0  # how long `every` waits at least: what a bag gives must not depend on how busy the machine is
_LOG_PERIOD_S = 5.0  # a reason for dropping frames is logged once in this time

PredictionListener = Callable[[Prediction, FrameClock], None]


class PerceptionNode(ManagedNode):
    """Queues what arrives; one worker thread makes frames, infers and publishes."""

    _perceiver: Perceiver
    _demand: Demand
    _outputs: PerceptionOutputs
    _progress: ProgressReporter
    _transform_input: TransformInput | None = None
    _input: RigInput | None = None
    _cabin: CabinInput | None = None
    _worker: Worker[RigSet] | None = None

    def __init__(self, **node_arguments: Any) -> None:
        """Make an unconfigured node called `perception`; see rclpy.node.Node for the arguments.

        Raises:
            ParameterError: a parameter has a value that cannot be used.
        """
        super().__init__("perception", **node_arguments)
        self._settings = Parameters(
            self, PerceptionParameters, is_configured=lambda: self.is_configured, check=self._check_possible
        )
        self._max_rates = Parameters(self, OutputRates, prefix="max_rate.")
        self._applied: PerceptionParameters | None = None  # whose live part the last frame was made with
        self._camera_parameters: dict[str, Parameters[CameraParameters]] = {}
        self._cabin_parameters: dict[str, Parameters[CabinCameraParameters]] = {}
        self._declare_cameras()
        self._listeners: list[tuple[PredictionListener, Callable[[], bool]]] = []
        self._buffer = TransformBuffer(Duration(seconds=30))
        self._transforms = Transforms(self._buffer)
        self._self_checks = SelfChecks()
        self._sync_timer = self.create_steady_timer(0.02, self._check_synchronizer)

    def add_prediction_listener(self, listener: PredictionListener, listens: Callable[[], bool]) -> None:
        """Hand predictions over by reference, on the worker's thread: the listener must only queue them.

        It gets what `perception/frame` has, whenever that would be published; `listens` tells whether it wants any now.
        """
        self._listeners.append((listener, listens))

    def configure(self) -> None:
        """Load the network and make the publishers."""
        values = self._settings.value
        self._declare_cameras()
        if values.threads:
            torch.set_num_threads(values.threads)
        self._perceiver = self._make_perceiver(values)
        self._demand = Demand(self._perceiver.tasks, TASKS_OF_TOPIC, self._perceiver.comparing_tasks)
        self._outputs = PerceptionOutputs(
            self, values.cameras, self._perceiver.tasks, self._perceiver.labels, values.frame_prefix
        )
        self._apply(values)
        self._progress = ProgressReporter(
            self.create_output(Progress, "perception/progress", qos.progress()), "perception"
        )
        self._transform_input = TransformInput(self._buffer, self, values.pose_max_gap)
        self.get_logger().info(f"cameras {', '.join(values.cameras)}; {self._network_status().message}")

    def activate(self) -> None:
        """Subscribe and begin to work."""
        values = self._settings.value
        self._self_checks = SelfChecks()
        self._outputs.announce()
        self._worker = Worker(
            "perception",
            self._process,
            policy=values.frame_policy,
            on_dropped=lambda rig_set, reason: self._progress.report_dropped(rig_set.stamp_ns, reason),
            on_error=self._failed,
        )
        lossless = values.frame_policy == "every"
        self._cabin = self._cabin_input(values, lossless)
        self._input = RigInput(
            self,
            [self._camera_topics(name) for name in values.cameras],
            base_frame=values.prefixed_base_frame,
            transforms=self._transforms,
            poses=self._pose_source(values),
            companions={} if self._cabin is None else self._cabin.filters,
            on_set=self._worker.submit,
            on_reference_dropped=self._drop,
            on_time_set_back=self._time_set_back,
            slop_s=values.sync_slop,
            sync_timeout_s=max(values.sync_timeout, _PATIENCE_S * lossless),
            pose_timeout_s=max(values.pose_timeout, _PATIENCE_S * lossless),
            min_cameras=values.min_cameras,
            lossless=lossless,
        )

    def deactivate(self) -> None:
        """Let the frame at hand finish and unsubscribe; the network stays loaded."""
        # The frame at hand needs its inputs until it is done, and no callback runs meanwhile: they run on this thread.
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the frame at hand does not come to its end")
        self._worker = None
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._cabin is not None:
            self._cabin.close()
            self._cabin = None

    def cleanup(self) -> None:
        """Give the network's memory back."""
        if self._transform_input is not None:
            self._transform_input.unregister()
            self._transform_input = None
        self._buffer.clear()
        self._applied = None
        for name in ("_perceiver", "_demand", "_outputs", "_progress"):
            self.__dict__.pop(name, None)

    @property
    def is_waited_for(self) -> bool:
        """Whether a player waits for each frame."""
        return self._settings.value.frame_policy == "every"

    def clock_jumped_back(self, clock_ns: int) -> None:
        """Forget the time before the jump."""
        if self._transform_input is not None:
            self._transform_input.clear()
        if self._input is not None and self._worker is not None:
            self._input.jump_back(clock_ns)
            limit_ns = clock_ns + self._input.synchronizer.slop_ns
            self._worker.discard(lambda rig_set: rig_set.stamp_ns > limit_ns, CLOCK_JUMPED)
            self._worker.call(self._perceiver.reset)
            self._worker.call(self._self_checks.clear)

    def _time_set_back(self, stamp_ns: int) -> None:
        """React to images of an earlier time though the node's clock has not jumped: a bag that loops without it."""
        if self._worker is not None:  # poses and transforms find out by their own stamps
            self.stamps_set_back(stamp_ns)
            self._worker.call(self._self_checks.clear)
            self._worker.call(self._perceiver.reset)

    def statuses(self) -> Iterable[Status]:
        """Return what diagnostics show."""
        yield self._network_status()
        yield frame_status(self._progress, self._worker.waiting if self._worker else 0)
        if self._settings.value.pose_source == "none":
            yield Status("poses", Level.WARN, "pose_source is none: frames have no pose, so there is no mapping")
        if self._transform_input is not None:
            yield self._transform_input.status()
        if self._input is not None:
            yield from self._input.statuses()
        if self._cabin is not None:
            yield self._cabin.status()
        yield self._self_check_status()

    def summary(self) -> str:
        """Return what is logged now and then."""
        return self._progress.summary()

    def device(self) -> tuple[str, Mapping[str, object]]:
        """Return where the network runs."""
        perceiver = self.__dict__.get("_perceiver")
        if perceiver is None or perceiver.device.type != "cuda":
            return "cpu" if perceiver is not None else "nothing yet", {}
        return str(perceiver.device), {
            "device name": torch.cuda.get_device_name(perceiver.device),
            "device memory MiB": torch.cuda.memory_allocated(perceiver.device) / 2**20,
            "device memory MiB, most so far": torch.cuda.max_memory_allocated(perceiver.device) / 2**20,
        }

    def _process(self, rig_set: RigSet) -> None:
        assert self._input is not None and self._worker is not None  # both live as long as the worker's thread
        clock = FrameClock(rig_set.stamp_ns, rig_set.arrived_clock_ns, rig_set.arrived_steady_ns)
        values, rates = self._settings.value, self._rates()
        self._apply(values)
        wanted = self._wanted(rig_set.stamp_ns, values, rates)
        if wanted.why_not and not self._perceiver.rehearsed_tasks:
            self._progress.report_dropped(rig_set.stamp_ns, wanted.why_not)
            return
        frame = self._input.frame(rig_set, give_up=lambda worker=self._worker: worker.stopping)  # type: ignore[misc]
        cabin = None if self._cabin is None else self._cabin.frame(rig_set.companions)
        clock.end("input")
        prediction = self._perceiver(frame, wanted.tasks, cabin=cabin, next_tasks=wanted.next_tasks)
        missing = tuple(name for name in values.cameras if name not in prediction.cameras)
        prediction = dataclasses.replace(prediction, missing=missing)
        clock.end("network")
        listeners = self._listeners if FRAME in wanted.topics else []
        for listener, _ in listeners:
            listener(prediction, clock)
        sent = self._outputs.publish(prediction, wanted.topics) | ({FRAME} if listeners else set())
        self._demand.note_sent(rig_set.stamp_ns, sent, rates)
        clock.end("publish")
        self._self_checks.add(prediction)
        self._progress.report_used(clock, prediction.seconds)

    def _apply(self, values: PerceptionParameters) -> None:
        """Let what can be changed at any time be as the parameters have it now."""
        if values is self._applied:
            return
        self._perceiver.thresholds = values.thresholds()
        labels = self._perceiver.labels.with_colours(label_colours(values.label_colours))
        self._outputs.show(labels, values.marker_min_score, values.semantic_min_confidence)
        self._applied = values

    def _rates(self) -> dict[str, float]:
        """Return the greatest rates of the topics; none where no frame may be lost."""
        return {} if self._settings.value.frame_policy == "every" else self._max_rates.value.model_dump()

    def _wanted(self, stamp_ns: int, values: PerceptionParameters, rates: dict[str, float]) -> Wanted:
        watched = self._outputs.watched()
        if any(listens() for _, listens in self._listeners):
            watched.add(FRAME)
        if values.tasks == [ON_DEMAND]:
            asked = None
        else:
            asked = self._perceiver.tasks if values.tasks == [ALL] else values.tasks
        return self._demand.of_frame(stamp_ns, watched, rates, asked)

    def _check_possible(self, values: PerceptionParameters) -> None:
        """Refuse changes that the network at hand cannot follow."""
        perceiver = self.__dict__.get("_perceiver")
        if perceiver is None:
            return
        perceiver.labels.with_colours(label_colours(values.label_colours))
        absent = [task for task in values.tasks if task in perceiver.tasks_left_out]
        if absent and values.tasks != self._settings.value.tasks:  # those of the start are told of by diagnostics
            raise ValueError(f"task '{absent[0]}': {perceiver.tasks_left_out[absent[0]]}")

    def _failed(self, rig_set: RigSet, error: Exception) -> None:
        if isinstance(error, DroppedFrameError):
            self._drop(rig_set.stamp_ns, str(error), error.category)
        elif isinstance(error, ValueError):
            self._drop(rig_set.stamp_ns, str(error), "unusable frame")
        else:
            self._drop(rig_set.stamp_ns, f"{type(error).__name__}: {error}", "internal error")

    def _drop(self, stamp_ns: int, reason: str, category: str | None = None) -> None:
        self._progress.report_dropped(stamp_ns, reason, category, is_fault=True)
        self.get_logger().error(f"frame {stamp_ns} dropped: {reason}", throttle_duration_sec=_LOG_PERIOD_S)

    def _check_synchronizer(self) -> None:
        if self._input is not None:
            self._input.synchronizer.check()

    def _declare_cameras(self) -> None:
        for name in self._settings.value.cameras:
            if name not in self._camera_parameters:
                self._camera_parameters[name] = Parameters(
                    self, CameraParameters, prefix=f"{name}.", is_configured=lambda: self.is_configured
                )
        for name in self._settings.value.cabin_cameras:
            if name not in self._cabin_parameters:
                self._cabin_parameters[name] = Parameters(
                    self, CabinCameraParameters, prefix=f"cabin.{name}.", is_configured=lambda: self.is_configured
                )

    def _camera_topics(self, name: str) -> CameraTopics:
        values = self._camera_parameters[name].value
        return CameraTopics(name, *values.topics(name), values.compressed, values.rectified)

    def _cabin_input(self, values: PerceptionParameters, lossless: bool) -> CabinInput | None:
        """Subscribe to what is known of the driver, if the network makes anything of it."""
        useful = set(SCENE_TASKS).intersection((*self._perceiver.tasks, *self._perceiver.rehearsed_tasks))
        if not useful or not (values.cabin_cameras or values.cabin_joints_topic):
            return None
        cameras = {name: self._cabin_parameters[name].value for name in values.cabin_cameras}
        topics = [CabinTopics(name, camera.topic(name), camera.compressed) for name, camera in cameras.items()]
        return CabinInput(self, topics, values.cabin_joints_topic, lossless=lossless)

    def _make_perceiver(self, values: PerceptionParameters) -> Perceiver:
        if values.rehearse:
            labels = LabelSpace.load(config_file("labels", "default"))
            return Perceiver.from_preset(values.rehearse, labels, device=values.device, compiled=values.compile)
        return Perceiver.from_checkpoint(values.checkpoint or None, device=values.device, compiled=values.compile)

    def _pose_source(self, values: PerceptionParameters) -> PoseSource | None:
        if values.pose_source == "none":
            return None
        if values.pose_source == "tf":
            assert self._transform_input is not None  # the node is configured
            frames = values.prefixed_world_frame, values.prefixed_base_frame
            return TfPoses(self._transforms, *frames, self._transform_input.gap)
        return TopicPoses(
            self,
            values.pose_source,
            values.odom_topic if values.pose_source == "odom" else values.pose_topic,
            values.prefixed_base_frame,
            self._transforms,
            max_gap_s=values.pose_max_gap,
            max_extrapolation_s=values.pose_max_extrapolation,
            lossless=values.frame_policy == "every",
        )

    def _self_check_status(self) -> Status:
        problems, values = self._self_checks.problems, self._self_checks.values()
        if problems:
            return Status("self-check", Level.WARN, f"the network is probably wrong: {'; '.join(problems)}", values)
        return Status("self-check", Level.OK, "nothing is wrong" if values else "nothing to compare yet", values)

    def _network_status(self) -> Status:
        perceiver = self._perceiver
        values: dict[str, object] = {
            "preset": perceiver.preset,
            "checkpoint": perceiver.checkpoint,
            "device": self._settings.value.device,
            "compiled": self._settings.value.compile,
            "tasks published": perceiver.tasks,
        }
        values |= {f"left out: {task}": why for task, why in perceiver.tasks_left_out.items()}
        published = ", ".join(perceiver.tasks) or "nothing"
        message = f"network {perceiver.preset} ({perceiver.checkpoint}) publishes {published}"
        if perceiver.rehearsed_tasks:
            message += f"; computes {', '.join(perceiver.rehearsed_tasks)} to show what that costs"
        if perceiver.tasks_left_out:
            message += f"; left out: {'; '.join(by_reason(perceiver.tasks_left_out))}"
        return Status("network", Level.OK, message, values)


def main() -> None:
    """Run the node until a signal; whoever manages it makes its transitions."""
    sys.exit(run(lambda context, _finished: [PerceptionNode(context=context)]))


if __name__ == "__main__":
    main()
