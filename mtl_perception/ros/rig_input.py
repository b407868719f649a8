# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that goes into perception: images, CameraInfo, poses and transforms, made into `RigFrame`s."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from message_filters import SimpleFilter
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mtl_perception.core import Camera, Rig, RigFrame
from mtl_perception.core.transforms import Transform
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.images import image_to_array
from mtl_perception.messages.raw_images import Announced, ImageError
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros import qos
from mtl_perception.ros.camera_infos import CameraInfos
from mtl_perception.ros.camera_topics import CameraTopics
from mtl_perception.ros.diagnostics import Level, Status, TopicMonitor
from mtl_perception.ros.losses import Losses
from mtl_perception.ros.pose_history import NoPoseError, NotYetError
from mtl_perception.ros.poses import PoseSource
from mtl_perception.ros.synchronizer import RigSet, RigSynchronizer
from mtl_perception.ros.transforms import Transforms
from mtl_perception.ros.worker import STOPPED

_POLL_S = 0.005  # how often something that has not arrived yet is looked for
_BAD_CALIBRATION = "unusable CameraInfo"
_NO_POSE = "no pose or transform"
_UNMATCHED = 3  # so many images of a camera in a row that are in no frame are worth a warning
_LACK_SHOWS_S = 1.0  # diagnostics warn of a camera that was missing from a frame for so long
_OTHER_CLOCK_S = 10.0  # stamps that are so far from the node's clock are of another clock


@dataclass(frozen=True)
class _View:
    camera: Camera
    image: NDArray[np.uint8]
    stamp_ns: int
    world_from_camera: Transform | None


class DroppedFrameError(Exception):
    """A frame cannot be used; `category` is what it is counted under, the text says all."""

    def __init__(self, category: str, text: str) -> None:
        """Keep both."""
        super().__init__(text)
        self.category = category


class RigInput:
    """Subscribes to all cameras of a rig, synchronises them and makes a frame of each set."""

    def __init__(
        self,
        node: Node,
        cameras: Sequence[CameraTopics],
        *,
        base_frame: str,
        transforms: Transforms,
        poses: PoseSource | None,
        companions: Mapping[str, SimpleFilter],
        on_set: Callable[[RigSet], None],
        on_reference_dropped: Callable[[int, str], None],
        on_time_set_back: Callable[[int], None] = lambda stamp_ns: None,
        slop_s: float,
        sync_timeout_s: float,
        pose_timeout_s: float,
        min_cameras: int,
        lossless: bool,
    ) -> None:
        """Subscribe.

        Args:
            node: has the subscriptions.
            cameras: the rig's cameras in order; the first is the reference.
            base_frame: the robot's frame.
            transforms: tells where each camera sits.
            poses: tells where the robot is; None: perception without poses.
            companions: by name, what else is to be in a set; see `RigSynchronizer`.
            on_set: called with each synchronised set, from a callback: it must only queue.
            on_reference_dropped: called with stamp and reason for a reference image that will never be in a set.
            on_time_set_back: called with the stamp of a reference image that tells that time was set back.
            slop_s, sync_timeout_s, min_cameras: see `RigSynchronizer`.
            pose_timeout_s: how long a frame waits for a pose, transform or CameraInfo that is not there yet.
            lossless: subscribe reliably, and take what a player that waits for each frame has sent.
        """
        self._node = node
        self._topics = {camera.name: camera for camera in cameras}
        self._base_frame = base_frame
        self._transforms = transforms
        self._poses = poses
        self._pose_timeout_s = pose_timeout_s
        self._infos = {camera.name: CameraInfos() for camera in cameras}
        self._cameras: dict[str, tuple[CameraInfo, Camera]] = {}  # per name, what the camera was made from
        self._used: dict[str, Camera] = {}  # per name, as it was when an image of its could be used
        self._worst_gap_ns = 0
        self._behind_clock_s = 0.0  # the newest frame's stamp when its last image arrived
        self._lacked: dict[str, float] = {}  # per camera, when a frame was last without it
        self._matched: dict[str, tuple[int, Counter[str]]] = {}  # per camera, its frames, and its drops at the last
        self._no_pose = ""  # why the newest frame that was asked for has none
        self.lacks: Counter[str] = Counter()  # per camera, how many frames were without it
        self.bad_images: dict[str, str] = {}  # per camera, what is wrong with its newest image
        self.refused: Counter[tuple[str, str]] = Counter()  # (camera, reason) -> how many images
        profile = qos.sensor_input(lossless=lossless)
        self._subscriptions: list[Any] = []

        def watch(message_type: Any, topic: str, callback: Callable[[Any], object], **options: Any) -> TopicMonitor:
            losses = Losses()
            subscription = node.create_subscription(
                message_type, topic, losses.watching(callback), profile, qos_overriding_options=qos.overridable()
            )
            self._subscriptions.append(subscription)
            return TopicMonitor(node, subscription, paced=lossless, losses=losses, **options)

        images = {camera.name: SimpleFilter() for camera in cameras}
        self._image_monitors = {
            camera.name: watch(
                CompressedImage if camera.compressed else Image,
                camera.image_topic,
                images[camera.name].signalMessage,
                advice=camera.advice(),
            )
            for camera in cameras
        }
        self._info_monitors = {
            camera.name: watch(CameraInfo, camera.info_topic, self._info_callback(camera.name), once=True)
            for camera in cameras
        }
        for name, source in images.items():
            source.registerCallback(self._image_monitors[name].arrived)
        self.synchronizer = RigSynchronizer(
            images,
            companions=companions,
            slop_s=slop_s,
            timeout_s=sync_timeout_s,
            min_cameras=min_cameras,
            wait_for_nearer=not lossless,
            clock_ns=lambda: int(node.get_clock().now().nanoseconds),
            on_reference_dropped=on_reference_dropped,
            on_time_set_back=on_time_set_back,
        )
        self.synchronizer.registerCallback(self._note)
        self.synchronizer.registerCallback(on_set)

    def close(self, reason: str = STOPPED) -> None:
        """Unsubscribe; images that still wait for their frame are dropped with a reason."""
        self.synchronizer.close(reason)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._poses is not None:
            self._poses.close()

    def jump_back(self, clock_ns: int) -> None:
        """Forget what belongs to the time before the clock jumped back to `clock_ns`."""
        self.synchronizer.jump_back(clock_ns)
        for infos in self._infos.values():
            infos.jump_back()
        if self._poses is not None:
            self._poses.jump_back(clock_ns)

    def frame(self, rig_set: RigSet, give_up: Callable[[], bool]) -> RigFrame:
        """Make a frame of a set; waits (on the worker's thread) for poses and transforms that are not there yet.

        A camera whose image cannot be used is left out, and `bad_images` says why.

        Raises:
            DroppedFrameError: there is no pose, or no camera is left.
        """
        world_from_base = None
        if self._poses is not None:
            world_from_base = self._base_pose(rig_set, give_up)
        world_frame = self._poses.world_frame if self._poses is not None else ""
        views: dict[str, _View] = {}
        problems: dict[str, str] = {}
        for name, message in rig_set.messages.items():
            try:
                views[name] = self._view(name, message, rig_set, give_up)
            except (DroppedFrameError, ValueError) as error:
                problems[name] = str(error)
                self.refused[name, _reason(error)] += 1
        self.bad_images = problems
        if not views:
            raise DroppedFrameError("bad image", "; ".join(problems.values()))
        if self._poses is not None and self._poses.world_frame != world_frame:
            raise DroppedFrameError(
                _NO_POSE, f"the poses' frame changed from '{world_frame}' to '{self._poses.world_frame}' meanwhile"
            )
        self._used |= {name: view.camera for name, view in views.items()}
        return RigFrame(
            rig=Rig(tuple(self._used[name] for name in self._topics if name in self._used), self._base_frame),
            stamp_ns=rig_set.stamp_ns,
            images={name: view.image for name, view in views.items()},
            image_stamps_ns={name: view.stamp_ns for name, view in views.items()},
            world_from_camera={
                name: view.world_from_camera for name, view in views.items() if view.world_from_camera is not None
            },
            world_from_base=world_from_base,
            world_frame=world_frame,
        )

    def statuses(self) -> Iterable[Status]:
        """Return what diagnostics say about the inputs."""
        monitors = [*self._image_monitors.values(), *self._info_monitors.values()]
        if self._poses is not None:
            monitors += self._poses.monitors
        found = [*(monitor.problem() for monitor in monitors), *self._transform_problems()]
        problems = list(dict.fromkeys(filter(None, found)))
        losing = list(filter(None, (monitor.losing() for monitor in monitors)))
        rivals = list(filter(None, (monitor.rivals() for monitor in monitors)))
        level = Level.ERROR if problems else Level.WARN if losing or rivals else Level.OK
        message = "; ".join([*problems, *losing, *rivals]) or f"{len(monitors)} topics arrive"
        yield Status("inputs", level, message, {monitor.topic: monitor.summary for monitor in monitors})
        yield self._image_status()
        yield self._synchronisation()
        if self._poses is not None:
            yield self._pose_status(self._poses)

    def _pose_status(self, poses: PoseSource) -> Status:
        missing = [self._no_pose]
        noted = poses.notices.take()
        level = Level.ERROR if any(missing) else Level.WARN if noted else Level.OK
        message = "; ".join(filter(None, dict.fromkeys(missing + noted))) or f"in frame '{poses.world_frame}'"
        return Status("poses", level, message, poses.notices.counts)

    def _image_status(self) -> Status:
        counts = {f"refused, {camera}: {reason}": count for (camera, reason), count in sorted(self.refused.items())}
        bad, doubtful = "; ".join(self.bad_images.values()), "; ".join(self._rectified_twice())
        level = Level.ERROR if bad else Level.WARN if doubtful else Level.OK
        return Status("images", level, bad or doubtful or "all images can be used", counts)

    def _rectified_twice(self) -> Iterable[str]:
        for name, camera in self._used.items():
            topic = self._image_monitors[name].topic
            if not camera.is_rectified and any("rect" in part.split("_") for part in topic.split("/")):
                yield f"topic '{topic}' sounds rectified, but is being rectified: set {name}.rectified if it is"

    def _synchronisation(self) -> Status:
        synchronizer = self.synchronizer
        values: dict[str, object] = {
            "complete frames": synchronizer.complete,
            "partial frames": synchronizer.partial,
            "worst stamp gap ms": self._worst_gap_ns * 1e-6,
        }
        for (camera, reason), count in sorted(synchronizer.drops.items()):
            values[f"dropped, {camera}: {reason}"] = count
        for camera, count in synchronizer.waiting.items():
            values[f"waiting, {camera}"] = count
        for camera, count in sorted(self.lacks.items()):
            values[f"frames without {camera}"] = count
        doubts = self._synchronisation_doubts()
        message = f"{synchronizer.complete} complete, {synchronizer.partial} partial frames"
        return Status("synchronisation", Level.WARN if doubts else Level.OK, "; ".join(doubts) or message, values)

    def _synchronisation_doubts(self) -> list[str]:
        now = time.monotonic()
        lacking = [name for name in self._topics if now - self._lacked.get(name, float("-inf")) < _LACK_SHOWS_S]
        doubts = [f"frames come without camera {', '.join(lacking)}"] if lacking else []
        doubts += self._unmatched()
        if abs(self._behind_clock_s) > _OTHER_CLOCK_S:
            side = "behind" if self._behind_clock_s > 0 else "ahead of"
            doubts.append(
                f"stamps are {abs(self._behind_clock_s):.0f} s {side} the node's clock: set use_sim_time for a "
                "recording, else bring the clocks together"
            )
        return doubts

    def _unmatched(self) -> Iterable[str]:
        """Tell of cameras whose images come without getting into a frame."""
        synchronizer = self.synchronizer
        frames, drops, waiting = synchronizer.complete + synchronizer.partial, synchronizer.drops, synchronizer.waiting
        for name in self._topics:
            used = frames - self.lacks[name]
            reasons = Counter({reason: count for (camera, reason), count in drops.items() if camera == name})
            if used != self._matched.get(name, (-1, reasons))[0]:
                self._matched[name] = used, reasons
            new = reasons - self._matched[name][1]
            if new.total() + waiting[name] >= _UNMATCHED:
                why = new.most_common(1)[0][0] if new else "they wait for frames of their time"
                yield f"'{name}': the last {new.total() + waiting[name]} images are in no frame: {why}"

    def _transform_problems(self) -> Iterable[str]:
        for name, infos in self._infos.items():
            if infos.newest is None or not infos.newest.header.frame_id:
                continue
            problem = self._transforms.problem(self._base_frame, infos.newest.header.frame_id)
            if problem:
                yield f"camera '{name}': {problem}"
        if self._poses is not None:
            yield self._poses.problem()

    def _view(self, name: str, message: Any, rig_set: RigSet, give_up: Callable[[], bool]) -> _View:
        stamp_ns = stamp_ns_from(message.header.stamp)
        camera = self._wait(rig_set, give_up, lambda wait: self._camera(name, message, stamp_ns, wait))
        image = self._image(camera, message)
        if self._poses is None:
            return _View(camera, image, stamp_ns, None)
        world_from_base = self._wait(rig_set, give_up, lambda wait: self._pose(stamp_ns, wait))
        return _View(camera, image, stamp_ns, world_from_base @ camera.base_from_camera)

    def _base_pose(self, rig_set: RigSet, give_up: Callable[[], bool]) -> Transform:
        try:
            pose: Transform = self._wait(rig_set, give_up, lambda wait: self._pose(rig_set.stamp_ns, wait))
        except DroppedFrameError as error:
            if self._poses is not None and not give_up():
                self._no_pose = str(error)
                self._poses.notices.note("frames without a pose", self._no_pose)
            raise
        self._no_pose = ""
        return pose

    def _wait(self, rig_set: RigSet, give_up: Callable[[], bool], look: Callable[[bool], Any]) -> Any:
        deadline = rig_set.arrived_steady_ns * 1e-9 + self._pose_timeout_s
        while True:
            waiting = time.monotonic() < deadline and not give_up()
            try:
                return look(waiting)
            except NotYetError as error:
                if not waiting:
                    raise DroppedFrameError(_NO_POSE, str(error)) from error
            except NoPoseError as error:
                raise DroppedFrameError(_NO_POSE, str(error)) from error
            time.sleep(_POLL_S)

    def _pose(self, stamp_ns: int, wait: bool) -> Transform:
        assert self._poses is not None  # only called with a source
        return self._poses.world_from_base(stamp_ns, wait=wait)

    def _camera(self, name: str, message: Any, stamp_ns: int, wait: bool) -> Camera:
        topic = self._info_monitors[name].topic
        try:
            info = self._infos[name].at(stamp_ns, wait=wait)
        except NotYetError as error:
            raise NotYetError(f"topic '{topic}': {error}") from error
        frame_id = info.header.frame_id or message.header.frame_id
        if not frame_id:
            raise ValueError(f"topic '{topic}': header.frame_id is empty, and so is the image's")
        base_from_camera = self._transforms.target_from_source(self._base_frame, frame_id, stamp_ns)
        made_from, camera = self._cameras.get(name, (None, None))
        if camera is None or made_from is not info or not np.array_equal(camera.base_from_camera, base_from_camera):
            rectified = self._topics[name].rectified
            camera = camera_from_info(name, info, base_from_camera, f"topic '{topic}'", rectified=rectified)
            self._cameras[name] = (info, camera)
        return camera

    def _image(self, camera: Camera, message: Any) -> NDArray[np.uint8]:
        announced = Announced(camera.width, camera.height, f"'{self._info_monitors[camera.name].topic}'")
        return image_to_array(message, f"topic '{self._image_monitors[camera.name].topic}'", announced)

    def _info_callback(self, name: str) -> Callable[[CameraInfo], None]:
        def receive(info: CameraInfo) -> None:
            self._info_monitors[name].arrived()
            self._infos[name].insert(info)

        return receive

    def _note(self, rig_set: RigSet) -> None:
        self._worst_gap_ns = max(self._worst_gap_ns, rig_set.worst_gap_ns)
        # Simulated time that nothing has told of is 0, which is no clock to compare with.
        behind_ns = rig_set.arrived_clock_ns - rig_set.stamp_ns if rig_set.arrived_clock_ns else 0
        self._behind_clock_s = behind_ns * 1e-9
        for name in rig_set.missing:
            self._lacked[name] = time.monotonic()
            self.lacks[name] += 1


def _reason(error: Exception) -> str:
    """Return what an image that cannot be used is counted under."""
    if isinstance(error, ImageError):
        return error.reason
    return error.category if isinstance(error, DroppedFrameError) else _BAD_CALIBRATION
