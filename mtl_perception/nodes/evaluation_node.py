# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation node: predictions and ground truth in; metrics so far out, and a report at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.messages.evaluation import to_evaluation_metrics
from mtl_perception.resources import config_file
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import Level, Status, TopicMonitor
from mtl_perception.ros.evaluation_parameters import EvaluationParameters
from mtl_perception.ros.evaluation_topics import FRAME, prediction_topics, truth_topics
from mtl_perception.ros.jobs import Jobs
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.live_evaluation import DATASET, LiveEvaluation, LiveSettings, network_facts
from mtl_perception.ros.parameters import Parameters
from mtl_perception.ros.perception_parameters import CameraParameters
from mtl_perception.ros.player import header_stamp_ns
from mtl_perception.ros.process import run
from mtl_perception.ros.progress import FrameClock, ProgressReporter, frame_status
from mtl_perception_msgs.msg import EvaluationMetrics, Progress

_DEPTH = 100  # messages of a topic that wait for this node
_WAITING = 2000  # messages of all topics that wait for the worker
_PERIOD_S = 0.2
_LOG_PERIOD_S = 5.0


class EvaluationNode(ManagedNode):
    """Queues serialised messages; one thread puts frames together, scores them and publishes the metrics."""

    _live: LiveEvaluation
    _metrics: Any
    _progress: ProgressReporter
    _jobs: Jobs | None = None
    _monitor: TopicMonitor | None = None

    def __init__(self, **node_arguments: Any) -> None:
        """Make an unconfigured node called `evaluation`; see rclpy.node.Node for the arguments.

        Raises:
            ParameterError: a parameter has a value that cannot be used.
        """
        super().__init__("evaluation", **node_arguments)
        self._settings = Parameters(self, EvaluationParameters, is_configured=lambda: self.is_configured)
        self._camera_parameters: dict[str, Parameters[CameraParameters]] = {}
        self._cameras = self._declared_cameras()
        self._inputs: dict[str, Any] = {}  # subscriptions by topic
        self._services_made: list[Any] = []
        self._forget()

    def configure(self) -> None:
        """Make the scores, the publishers and the services."""
        values = self._settings.value
        self._cameras = self._declared_cameras()
        settings = LiveSettings(
            info_topics={name: camera.topics(name)[1] for name, camera in self._cameras.items()},
            rectified=frozenset(name for name, camera in self._cameras.items() if camera.rectified),
            odom_topic=values.odom_topic,
            options=values.score_options(),
            max_frames=values.max_frames,
            timeout_s=values.truth_timeout,
            pictures=bool(values.report_folder),
        )
        labels = LabelSpace.load(config_file("labels", values.labels))
        self._live = LiveEvaluation(settings, labels, self._is_published, self._predicted)
        self._forget()
        self._metrics = self.create_output(EvaluationMetrics, "evaluation/metrics")
        progress = self.create_output(Progress, "evaluation/progress", qos.progress())
        self._progress = ProgressReporter(progress, "evaluation")
        self._jobs = Jobs("evaluation", waiting=_WAITING, on_lost=self._lose)
        self._services_made = [
            self.create_service(Trigger, "evaluation/save", self._save),
            self.create_service(Trigger, "evaluation/reset", self._reset),
        ]
        self._timer = self.create_steady_timer(_PERIOD_S, self._tend_soon)

    def activate(self) -> None:
        """Begin to listen."""
        values = self._settings.value
        lossless = values.frame_policy == "every"
        for topic, kind in prediction_topics(values.cameras).items():
            self._listen(topic, kind, qos.output(_DEPTH))
        calibrations = {camera.topics(name)[1]: CameraInfo for name, camera in self._cameras.items()}
        for topic, kind in (truth_topics(values.cameras) | calibrations).items():
            self._listen(topic, kind, qos.sensor_input(_DEPTH, lossless=lossless))
        self._listen(values.odom_topic, Odometry, qos.sensor_input(10 * _DEPTH, lossless=lossless))
        self._listen(DATASET, String, qos.latched())
        for topic in ("perception/progress", "mapping/progress"):
            self._inputs[topic] = self.create_subscription(Progress, topic, self._reported, qos.progress())
        self._inputs["/diagnostics"] = self.create_subscription(
            DiagnosticArray, "/diagnostics", self._diagnosed, _DEPTH
        )
        self._monitor = TopicMonitor(self, self._inputs[FRAME], paced=lossless)

    def deactivate(self) -> None:
        """Stop listening, score what has come, write the report; the scores stay."""
        inputs, self._inputs, self._monitor = self._inputs, {}, None
        try:
            if self._jobs is not None:
                self._jobs.ask(self._finish).result()
        finally:
            for subscription in inputs.values():
                self.destroy_subscription(subscription)

    def cleanup(self) -> None:
        """Give everything back."""
        if self._jobs is not None and not self._jobs.stop():
            self.get_logger().error("the frame at hand does not come to its end")
        self._jobs = None
        for service in self._services_made:
            self.destroy_service(service)
        self._services_made = []
        if "_timer" in self.__dict__:
            self.destroy_timer(self._timer)
        for name in ("_live", "_metrics", "_progress", "_timer"):
            self.__dict__.pop(name, None)

    def clock_jumped_back(self, clock_ns: int) -> None:
        """Score what has come; the messages of the time before are forgotten, the scores are kept."""
        if self._jobs is not None:
            self._jobs.submit(self._live.restart)

    def statuses(self) -> Iterable[Status]:
        """Return what diagnostics show."""
        assert self._jobs is not None  # the node is configured
        problem = self._monitor.problem() if self._monitor is not None else ""
        yield Status("input", Level.ERROR if problem else Level.OK, problem or f"{FRAME} arrives")
        yield frame_status(self._progress, self._jobs.waiting)
        lost = {f"lost: {reason}": count for reason, count in self._lost.items()}
        trouble = self._trouble or ", ".join(lost)
        yield Status("scores", Level.WARN if trouble else Level.OK, trouble or self._summary, self._facts | lost)

    def _forget(self) -> None:
        self._published_frames = self._saved_frames = 0
        self._published_s = float("-inf")
        self._lost: Counter[str] = Counter()
        self._facts: dict[str, object] = {}  # what diagnostics show
        self._is_to_be_tended = False
        self._summary, self._trouble = "no frame has been scored", ""

    def _listen(self, topic: str, kind: Any, profile: Any) -> None:
        def receive(data: bytes) -> None:
            if self._monitor is not None and topic == FRAME:
                self._monitor.arrived()
            self._submit(lambda: self._live.take(topic, 0 if topic == DATASET else header_stamp_ns(data), data))

        self._inputs[topic] = self.create_subscription(
            kind, topic, receive, profile, raw=True, qos_overriding_options=qos.overridable()
        )

    def _reported(self, progress: Progress) -> None:
        self._submit(partial(self._live.note, progress))

    def _diagnosed(self, array: DiagnosticArray) -> None:
        name = f"{self.get_namespace()}/perception: network".lstrip("/")
        for status in array.status:
            if status.name == name:
                facts = network_facts({entry.key: entry.value for entry in status.values})
                self._submit(partial(setattr, self._live, "network", facts))

    def _predicted(self, prediction: Prediction) -> None:
        # A frame whose truth is still to come does not keep a player waiting, who may have sent all there is.
        clock = FrameClock(prediction.stamp_ns, self.clock_ns, time.monotonic_ns())
        self._progress.report_used(clock)

    def _is_published(self, topic: str) -> bool:
        subscription = self._inputs.get(topic)
        return subscription is not None and subscription.get_publisher_count() > 0

    def _tend_soon(self) -> None:
        if not self._is_to_be_tended:  # one at a time: a busy thread has enough to do
            self._is_to_be_tended = True
            self._submit(self._tend)

    def _tend(self) -> None:
        """Score frames that have waited long enough, publish the metrics when it is time."""
        self._is_to_be_tended = False
        values = self._settings.value
        self._live.queue.timeout_s = values.truth_timeout
        self._live.advance()
        due = time.monotonic() - self._published_s >= 1.0 / max(values.metrics_rate, 1e-9)
        if values.metrics_rate > 0 and due:
            self._publish_metrics()
        self._facts, self._trouble = self._live.facts(), self._live.trouble

    def _publish_metrics(self) -> None:
        frames = self._live.frames
        if frames != self._published_frames:
            metrics = self._live.metrics()
            self._summary = f"{frames} frames scored: " + ", ".join(
                f"{score.task} {score.key} {metrics[score.task][score.key]:.3g}"
                for score in self._live.scores
                if score.key in metrics.get(score.task, {})
            )
            self._metrics.publish(to_evaluation_metrics(metrics, frames, self._live.newest_ns))
            self._published_frames, self._published_s = frames, time.monotonic()

    def _finish(self) -> None:
        self._live.advance(at_once=True)
        self._publish_metrics()
        if self._live.frames == self._saved_frames:
            return
        if not self._settings.value.report_folder:
            self.get_logger().info(self._summary)
            return
        try:
            self._write()
        except (ValueError, OSError) as error:  # the node has stopped all the same
            self._trouble = f"no report was written: {error}"
            self.get_logger().error(self._trouble)

    def _write(self) -> str:
        values = self._settings.value
        if not values.report_folder:
            raise ValueError("parameter 'report_folder' is empty: it says where to write the report")
        report = self._live.save(Path(values.report_folder).expanduser(), values.report_name)
        self._saved_frames = self._live.frames
        self.get_logger().info(f"report of {self._saved_frames} frames: {report}")
        return str(report)

    def _save(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def save() -> str:
            self._live.advance(at_once=True)
            self._publish_metrics()
            return self._write()

        response.success, response.message = self._answer(save)
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def reset() -> str:
            self._live.reset()
            self._forget()
            return "the scores are empty"

        response.success, response.message = self._answer(reset)
        return response

    def _answer(self, action: Callable[[], str]) -> tuple[bool, str]:
        if self._jobs is None:
            return False, "the node is not configured"
        try:
            return True, self._jobs.ask(action).result()
        except (ValueError, OSError) as error:
            self.get_logger().error(str(error))
            return False, str(error)
        except CancelledError:
            return False, "the node was cleaned up"

    def _submit(self, action: Callable[[], Any]) -> None:
        if self._jobs is not None:
            self._jobs.submit(action)

    def _lose(self, reason: str) -> None:
        self._lost[reason] += 1
        self._is_to_be_tended = False  # that may be what was lost
        self.get_logger().error(f"a message could not be used: {reason}", throttle_duration_sec=_LOG_PERIOD_S)

    def _declared_cameras(self) -> dict[str, CameraParameters]:
        cameras = {}
        for name in self._settings.value.cameras:
            if name not in self._camera_parameters:
                self._camera_parameters[name] = Parameters(
                    self, CameraParameters, prefix=f"{name}.", is_configured=lambda: self.is_configured
                )
            cameras[name] = self._camera_parameters[name].value
        return cameras


def main() -> None:
    """Run the node until a signal; whoever manages it makes its transitions."""
    sys.exit(run(lambda context, _finished: [EvaluationNode(context=context)]))


if __name__ == "__main__":
    main()
