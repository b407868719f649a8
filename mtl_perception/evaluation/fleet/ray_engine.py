# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags evaluated on a Ray cluster (https://www.ray.io), by one actor a worker.

Nodes need what this process has: the same Python environment with this package, started with the environment variables
of `tools/env.sh` (`AMENT_PREFIX_PATH`, `LD_LIBRARY_PATH`, `PYTHONPATH`), the bags under the same paths, and the files
that `make_work` reads. A cluster that is started here has all of it. Results come back through Ray, not through files.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from mtl_perception.data.processes import available_cores
from mtl_perception.evaluation.fleet.engine import (
    Crew,
    Done,
    Engine,
    Event,
    Failed,
    Failure,
    Gone,
    MakeWork,
    Ready,
    Work,
    WorkerAdvanced,
    attempt,
)
from mtl_perception.evaluation.fleet.jobs import BagJob
from mtl_perception.evaluation.fleet.local import THREADS
from mtl_perception.evaluation.result import BagResult

_ASK_EVERY_S = 0.5
_START_S = 600.0
_REACH_S = 10.0
_OBJECT_STORE_BYTES = 256 * 2**20  # results pass through it; what does not fit is written to disk
_LONGEST_REASON = 300
# Read when ray is imported, and by the processes that it starts.
_QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "^A worker died or was killed"}  # it is told as the reason of a retry
# The second one makes Ray listen on the loopback interface only, on any system: whoever reaches its ports can run what
# he likes.
_LOCAL_CLUSTER = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class RayEngine(Engine):
    """So many bags at a time on a Ray cluster.

    A connection to a cluster that this process already has is used whatever the address, and left as it is.

    Attributes:
        address: `local` starts a cluster of this machine for the run; `auto` is the cluster that runs on this machine;
            or `host:port`, or `ray://host:port`.
        workers: how many; None: as many as the cluster has room for.
        cores: what each worker takes of a node, and computes with.
        gpus: what each worker takes of a node's GPUs, e.g. 0.5 for two workers a GPU. 0: workers see none.
    """

    address: str = "local"
    workers: int | None = None
    cores: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: there would be no worker, or no core for it.
        """
        if (self.workers is not None and self.workers < 1) or self.cores < 1 or self.gpus < 0:
            raise ValueError(f"no worker can run: {self}")

    def start(self, make_work: MakeWork, advanced: WorkerAdvanced) -> Crew:
        """See Engine.

        Raises:
            ModuleNotFoundError: Ray is not installed.
            ConnectionError: there is no such cluster, or it cannot be used from here.
        """
        if find_spec("ray") is None:
            raise ModuleNotFoundError("ray is not installed: pip install ray")
        return _Actors(self, make_work, advanced)


@dataclass(eq=False)
class _Hired:
    """A worker, as seen from here."""

    actor: Any
    doing: Any = None  # reference to the answer that is awaited
    is_ready: bool = False
    how_far: Any = None  # reference to the answer to the question how far it is
    asked_s: float = 0.0


class _Actors(Crew):
    """Actors on the nodes of a cluster."""

    def __init__(self, engine: RayEngine, make_work: MakeWork, advanced: WorkerAdvanced) -> None:
        self._engine, self._advanced = engine, advanced
        self._workers: dict[int, _Hired] = {}
        self._ask_next_s = 0.0
        self._hired = 0
        self._end = ExitStack()
        try:
            self._end.enter_context(_environment({**_QUIET, **(_LOCAL_CLUSTER if engine.address == "local" else {})}))
            import ray

            self._ray = ray
            if not ray.is_initialized():
                self._end.callback(ray.shutdown)
                _connect(engine)
            room = _room(engine, ray.cluster_resources())
            self.size = engine.workers or room
            if room < 1:
                raise ConnectionError(f"the Ray cluster '{engine.address}' has no room for a worker: {engine}")
            self._make_work = ray.cloudpickle.dumps(make_work)
            options: dict[str, Any] = {
                "num_cpus": engine.cores,
                "num_gpus": engine.gpus,
                "max_restarts": 0,
                "max_concurrency": 2,  # it can say how far it is while it evaluates
                "scheduling_strategy": "SPREAD",
            }
            self._actor: Any = ray.remote(**options)(_Worker)
        except BaseException:
            self.close()
            raise

    def hire(self) -> int:
        actor = self._actor.remote()
        self._hired += 1
        self._workers[self._hired] = _Hired(actor, actor.set_up.remote(self._make_work, self._engine.cores))
        return self._hired

    def dismiss(self, worker: int) -> None:
        self._ray.kill(self._workers.pop(worker).actor)

    def give(self, worker: int, job: BagJob) -> None:
        hired = self._workers[worker]
        hired.doing = hired.actor.run.remote(job)

    def wait(self) -> Sequence[Event]:
        began_s = time.monotonic()
        while True:
            busy = {hired.doing: worker for worker, hired in self._workers.items() if hired.doing is not None}
            done, _ = self._ray.wait(list(busy), timeout=_ASK_EVERY_S)
            if time.monotonic() >= self._ask_next_s:  # also while many short bags end one after the other
                self._ask_next_s = time.monotonic() + _ASK_EVERY_S
                self._ask_how_far()
            events = [self._answered(busy[reference]) for reference in done]
            if events:
                return events
            if not any(hired.is_ready for hired in self._workers.values()) and time.monotonic() - began_s > _START_S:
                raise ChildProcessError(
                    f"no worker could be started within {_START_S:.0f} s on the Ray cluster '{self._engine.address}'"
                )

    def close(self) -> None:
        try:
            for hired in self._workers.values():
                self._ray.kill(hired.actor)
            self._workers.clear()
        finally:
            self._end.close()

    def _answered(self, worker: int) -> Event:
        hired = self._workers[worker]
        reference, hired.doing = hired.doing, None
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self.dismiss(worker)
            return Gone(worker, _why(error))
        match answer:
            case str():
                hired.is_ready = True
                return Ready(worker, answer)
            case Failure():
                return Failed(worker, answer)
            case _:
                return Done(worker, answer)

    def _ask_how_far(self) -> None:
        """Take the answers that are there, and ask the workers that are evaluating and have not been asked."""
        asked = {hired.how_far: worker for worker, hired in self._workers.items() if hired.how_far is not None}
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0) if asked else ([], [])
        for reference in answered:
            worker = asked[reference]
            self._workers[worker].how_far = None
            try:
                done, known = self._ray.get(reference)
            except self._ray.exceptions.RayError:
                continue  # what it was asked while it was evaluating says more
            if known and self._workers[worker].doing is not None:
                self._advanced(worker, done, known)
        for hired in self._workers.values():
            if hired.is_ready and hired.doing is not None and hired.how_far is None:
                hired.how_far = hired.actor.how_far.remote()


class _Worker:
    """A worker, in its own process on a node."""

    def __init__(self) -> None:
        self._work: Work | None = None
        self._how_far = (0, 0)

    def set_up(self, make_work: bytes, threads: int) -> str | Failure:
        """Get ready; return the node."""
        os.environ.update(dict.fromkeys(THREADS, str(threads)))  # before the libraries are imported that read them
        import ray

        try:
            self._work = ray.cloudpickle.loads(make_work)()
        except Exception as error:  # whatever it is, who asked must hear of it
            return Failure.of(error)
        return ray.get_runtime_context().get_node_id()

    def run(self, job: BagJob) -> BagResult | Failure:
        """Evaluate a bag."""
        assert self._work is not None
        self._how_far = (0, 0)
        return attempt(self._work, job, self._advanced)

    def how_far(self) -> tuple[int, int]:
        """Return how many frames of the present bag are done, and of how many; (0, 0) where that is not known."""
        return self._how_far

    def _advanced(self, done: int, known: int) -> None:
        self._how_far = (done, known)


def _connect(engine: RayEngine) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if engine.address == "local":
            ray.init(
                address="local",
                num_cpus=engine.cores * engine.workers if engine.workers else available_cores(),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            _reach(engine.address)
            ray.init(address=engine.address, **quiet)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ConnectionError(
            f"the Ray cluster '{engine.address}' cannot be used: {text} "
            "(one that was started with token authentication needs RAY_AUTH_MODE=token here, too)"
        ) from error


def _reach(address: str) -> None:
    """Find out soon that nobody listens there: Ray itself takes minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


def _room(engine: RayEngine, resources: Mapping[str, float]) -> int:
    room = int(resources.get("CPU", 0.0) / engine.cores)
    return min(room, int(resources.get("GPU", 0.0) / engine.gpus)) if engine.gpus else room


def _why(error: Exception) -> str:
    """Return, in one line, why Ray has no answer."""
    text = " ".join(str(error).split())
    detail = text.partition("Worker exit detail: ")[2].partition(" Some common causes")[0]
    return f"its Ray worker is gone (perhaps for want of memory): {(detail or text)[:_LONGEST_REASON]}"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
