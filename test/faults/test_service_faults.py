# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Requests to the services of mapping that lead elsewhere, make no sense, or come at a bad time."""

import math
import os
import threading

import pytest
from fault_map import MapSystem, loaded, save
from geometry_msgs.msg import Point, PointStamped, Pose, Quaternion
from rclpy.serialization import deserialize_message, serialize_message

from mtl_perception_msgs.srv import FindObjects, FindRegion, FindWay, LoadMap, MergeMap, SaveMap

SERVICES = {"save": SaveMap, "load": LoadMap, "merge": MergeMap}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    system = MapSystem(tmp_path_factory.mktemp("maps") / "inside")
    system.start()
    save(system, "good")
    outside = system.folder.parent / "outside"
    outside.mkdir()
    (outside / "letter.txt").write_text("dear")
    (system.folder / "link").symlink_to(outside)
    (system.folder / "circle").symlink_to("circle")
    os.mkfifo(system.folder / "pipe")
    (system.folder / "device").symlink_to("/dev/zero")
    (system.folder / "letter").write_text("dear")
    yield system
    assert [path.name for path in outside.iterdir()] == ["letter.txt"]
    assert sorted(path.name for path in outside.parent.iterdir()) == ["inside", "outside"]
    system.close()


PATHS = [
    ("absolute path", "/etc/map", "is not inside of map_folder"),
    ("path with dots", "good/../../outside", "is not inside of map_folder"),
    ("path is the map folder itself", ".", "is not inside of map_folder"),
    ("path over a link out", "link/map", "is not inside of map_folder"),
    ("path over a link in a circle", "circle/map", "circle"),
    ("path to a pipe", "pipe", "pipe"),
    ("path to a device", "device", "is not inside of map_folder"),
    ("path below a file", "letter/map", "letter"),
    ("path of 10,000 characters", "x" * 10_000, "is too long"),
    ("path with a name of 250 characters", "x" * 250, "has a part of more than 200 bytes"),
    ("path with a line feed", "map\nfatal: all is lost", "characters that cannot be printed"),
    ("hidden path", ".good.previous", "names of maps begin with no dot"),
]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param(
            path,
            text,
            id=name.replace(" ", "_"),
            marks=pytest.mark.fault(
                name, done=f"save, load and merge with {path[:40]!r}", expected="each refused by name, nothing written"
            ),
        )
        for name, path, text in PATHS
    ],
)
def test_path_that_leads_elsewhere(system, case, path, text):
    with system.during(case):
        for name, kind in SERVICES.items():
            fields = {"pose": Pose(orientation=Quaternion(w=1.0))} if name == "merge" else {}
            system.refused(case, system.call(kind, f"mapping/{name}", path=path, **fields), text)


@pytest.mark.fault("path that is no text", done="a path with bytes that are not UTF-8, on the wire", expected="refused")
def test_path_that_is_no_text(system, case):
    raw = serialize_message(SaveMap.Request(path="abcd")).replace(b"bc", b"\xff\xfe")
    with system.during(case):
        answer = system.node._save(deserialize_message(raw, SaveMap.Request), SaveMap.Response())
        system.refused(case, answer, "characters that cannot be printed")


@pytest.mark.fault("path with NUL", done="a path with NUL on the wire", expected="what follows it is not seen; inside")
def test_path_with_nul(system, case):
    raw = serialize_message(SaveMap.Request(path="ab/../..")).replace(b"ab/", b"ab\0")
    with system.during(case):
        answer = system.node._save(deserialize_message(raw, SaveMap.Request), SaveMap.Response())
        assert answer.success and answer.path == str(system.folder / "ab")
        case.saw("saved inside of map_folder, as 'ab'")


@pytest.mark.fault("empty path of a map that is not there", done="load with ''", expected="refused by name")
def test_empty_path(system, case):
    with system.during(case):
        system.refused(case, loaded(system, ""), "inside/map")


def pose(x=0.0, z=0.0, w=1.0):
    return Pose(position=Point(x=x), orientation=Quaternion(z=z, w=w))


POSES = [
    ("merge at NaN", pose(x=math.nan), "nan"),
    ("merge at infinity", pose(x=math.inf), "inf"),
    ("merge at the end of the world", pose(x=1e300), "e+"),
    ("merge a million kilometres away", pose(x=1e9), "maps are at most 100000 m apart"),
    ("merge without an orientation", pose(w=0.0), "quaternion"),
    ("merge with an orientation of NaN", pose(w=math.nan), "quaternion"),
]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        pytest.param(
            at,
            text,
            id=name.replace(" ", "_"),
            marks=pytest.mark.fault(name, done="merge a good map at a pose that is none", expected="refused by value"),
        )
        for name, at, text in POSES
    ],
)
def test_merge_at_a_pose_that_is_none(system, case, at, text):
    with system.during(case):
        system.refused(case, system.call(MergeMap, "mapping/merge", path="good", pose=at), text)


def point(x=0.0, frame=""):
    message = PointStamped(point=Point(x=x))
    message.header.frame_id = frame
    return message


QUESTIONS = [
    ("question at NaN", FindRegion, {"position": point(math.nan)}, "which is not finite"),
    ("question at infinity", FindObjects, {"near": point(math.inf), "radius": 1.0}, "which is not finite"),
    ("question far away", FindWay, {"start": point(1e300)}, "which is farther away than 1e+06 m"),
    ("question in another frame", FindRegion, {"position": point(frame="moon")}, "frame_id is 'moon'"),
    ("question with a radius of NaN", FindObjects, {"radius": math.nan}, "radius is nan"),
    ("question with a negative radius", FindObjects, {"radius": -1.0}, "radius is -1.0"),
    ("question with a clearance of NaN", FindWay, {"least_clearance": math.nan}, "least_clearance is nan"),
    ("question about no class", FindObjects, {"radius": 1.0, "label": "x" * 100}, "there is no class"),
]
NAMES = {FindRegion: "find_region", FindObjects: "find_objects", FindWay: "find_way"}


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        pytest.param(
            kind,
            fields,
            text,
            id=name.replace(" ", "_"),
            marks=pytest.mark.fault(name, done=f"{NAMES[kind]} with it", expected="refused by field and value"),
        )
        for name, kind, fields, text in QUESTIONS
    ],
)
def test_question_that_makes_no_sense(system, case, kind, fields, text):
    with system.during(case):
        system.refused(case, system.call(kind, f"mapping/{NAMES[kind]}", **fields), text)


@pytest.mark.fault("question with an infinite radius", done="find_objects within inf", expected="all objects")
def test_question_with_an_infinite_radius(system, case):
    with system.during(case):
        answer = system.call(FindObjects, "mapping/find_objects", radius=math.inf)
        assert answer.success
        case.saw("answered")


@pytest.mark.fault(
    "services during another one", done="load, merge and questions during a slow save", expected="one after the other"
)
def test_services_during_another_one(system, case, monkeypatch):
    released, mapper = threading.Event(), type(system.node._mapper)
    slow = mapper.save
    monkeypatch.setattr(mapper, "save", lambda self, folder: (released.wait(20.0), slow(self, folder))[1])
    with system.during(case):
        saving = system.ask(SaveMap, "mapping/save", path="slow")
        others = [
            system.ask(LoadMap, "mapping/load", path="good"),
            system.ask(LoadMap, "mapping/load", path="slow"),
            system.ask(FindObjects, "mapping/find_objects", radius=1.0),
        ]
        released.set()
        answers = [answer() for answer in (saving, *others)]
        assert [answer.success for answer in answers] == [True] * 4, [answer.message for answer in answers]
        case.saw("all four answered: saved, loaded, loaded, found")


@pytest.mark.fault(
    "defect in a service", done="saving raises what nobody expects", expected="an answer, and the node goes on"
)
def test_defect_in_a_service(system, case, monkeypatch):
    def fail(*_):
        raise RuntimeError("a defect")

    with system.during(case), monkeypatch.context() as patch:
        patch.setattr(type(system.node._mapper), "save", fail)
        patch.setattr(type(system.node._mapper), "queries", fail)
        for kind, service in ((SaveMap, "save"), (FindObjects, "find_objects")):
            answer = system.call(kind, f"mapping/{service}")
            assert not answer.success and answer.message == "internal error: RuntimeError: a defect"
            case.saw(f"{service}: {answer.message}")


