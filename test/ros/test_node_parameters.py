# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models of all nodes agree with the nodes, with config/perception.yaml and with docs/parameters.md."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import rclpy
import yaml
from pydantic import BaseModel, Field
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.signals import SignalHandlerOptions

from mtl_perception.core.settings import Change, Hertz, Live, ReadOnly
from mtl_perception.nodes.evaluation_node import EvaluationNode
from mtl_perception.nodes.lifecycle_manager import LifecycleManager
from mtl_perception.nodes.mapping_node import MappingNode
from mtl_perception.nodes.perception_node import PerceptionNode
from mtl_perception.nodes.player_node import PlayerNode
from mtl_perception.nodes.world_node import WorldNode
from mtl_perception.resources import config_folder
from mtl_perception.ros import parameters_page as written
from mtl_perception.ros.node_parameters import NODES, NodeParameters, flat
from mtl_perception.ros.parameter_fields import change_of, type_name, unit_of
from mtl_perception.ros.parameters import ParameterError
from mtl_perception.ros.parameters_command import page, page_file
from mtl_perception.ros.process import Spinning, close

KINDS: dict[str, Any] = {
    "perception": PerceptionNode,
    "mapping": MappingNode,
    "evaluation": EvaluationNode,
    "lifecycle_manager": LifecycleManager,
    "world": WorldNode,
}
BY_NAME = {node.node: node for node in NODES}
FIELDS = [(node.node, name, field) for node in NODES for name, field in node.fields().items()]
WHEN = {Change.LIVE: "at once", Change.CONFIGURE: "refused while it is configured", Change.READ_ONLY: "Fixed"}
WAIT_S = 60.0


def configured(file: str) -> dict[str, Any]:
    return flat(yaml.safe_load((config_folder() / file).read_text())["/**"]["ros__parameters"])


def bounds_of(field: Any) -> tuple[float, float]:
    """Return the least and the greatest value, whether they are allowed or just not."""
    signs = ("ge", "gt", "le", "lt")
    found = {sign: getattr(entry, sign) for entry in field.metadata for sign in signs if hasattr(entry, sign)}
    return found.get("ge", found.get("gt")), found.get("le", found.get("lt"))


@pytest.fixture
def context() -> Iterator[Context]:
    """A context that has been given config/perception.yaml, as the launch file and `up` give it."""
    context = Context()
    file = str(config_folder() / "perception.yaml")
    rclpy.init(
        args=["--ros-args", "--params-file", file],
        context=context,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    yield context
    rclpy.shutdown(context=context)


def answered(watcher: Node, kind: Any, service: str, **fields: Any) -> Any:
    client = watcher.create_client(kind, service)
    assert client.wait_for_service(WAIT_S), service
    future = client.call_async(kind.Request(**fields))
    answer = threading.Event()
    future.add_done_callback(lambda _: answer.set())
    assert answer.wait(WAIT_S), service
    return future.result()


def test_the_page_is_what_the_models_say() -> None:
    assert page_file().read_text() == page(), "stale: run python -m mtl_perception parameters --write"


def test_whatever_a_model_says_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(BaseModel):
        rate: Annotated[Hertz, Live] = Field(2.0, gt=0.0, le=30.0, description="How often.")
        bag: Annotated[str, ReadOnly] = Field("", description="For <name>, a file.")
        names: list[str] = Field(["a", "b"], description="Who.")

    monkeypatch.setattr(written, "NODES", (NodeParameters("subject", "subject_node", {"<camera>.": Model}),))
    rows = written.parameters_page({"<camera>.rate": 5.0, "<camera>.names": ["a", "b"]}).splitlines()[-3:]
    assert rows == [
        "| `<camera>.rate` | double | `2.0` (`5.0`) | Hz | more than 0.0, up to 30.0 | live | How often. |",
        '| `<camera>.bag` | string | `""` |  |  | read-only | For &lt;name>, a file. |',
        "| `<camera>.names` | string array | `[a, b]` |  |  | when configured | Who. |",
    ]


def test_the_page_has_every_parameter_once_a_node() -> None:
    sections = page().split("\n## ")[1:]
    assert [section.split()[0] for section in sections] == [node.node for node in NODES]
    for section, node in zip(sections, NODES, strict=True):
        rows = [line for line in section.splitlines() if line.startswith("| `")]
        assert [row.split("`")[1] for row in rows] == list(node.fields())
        assert all(row.count(" | ") == 6 for row in rows)


def test_perception_yaml_names_exactly_the_parameters_of_the_nodes() -> None:
    known = {name for _, name, _ in FIELDS if "<camera>" not in name}
    named = set(configured("perception.yaml"))
    assert named - known == set(), "no node has these"
    assert known - named == set(), "these are missing"


def test_other_parameter_files_name_no_others() -> None:
    known = {name for _, name, _ in FIELDS}
    for file in ("fine_map.yaml",):
        assert set(configured(file)) <= known


def test_a_name_means_the_same_type_for_all_nodes_that_share_it() -> None:
    types: dict[str, set[str]] = {}
    for _, name, field in FIELDS:
        types.setdefault(name, set()).add(type_name(field))
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


@pytest.mark.parametrize(("node", "name", "field"), FIELDS, ids=[f"{node}-{name}" for node, name, _ in FIELDS])
def test_every_parameter_has_a_text_and_every_number_bounds_and_a_unit(node: str, name: str, field: Any) -> None:
    assert field.description and field.description[0] != " " and field.description.endswith(".")
    if type_name(field) not in ("integer", "double"):
        return
    names = {entry for bound in field.metadata for entry in ("ge", "gt", "le", "lt") if hasattr(bound, entry)}
    assert names & {"ge", "gt"} and names & {"le", "lt"}, "both bounds"
    if type_name(field) == "double":
        assert any(type(entry).__name__ == "Unit" for entry in field.metadata), "a unit, Plain for none"
    assert not field.description.rstrip(".").endswith((" metres", " seconds", " Hz", " pixels")), "that is the unit's"


@pytest.mark.parametrize("name", KINDS)
def test_over_dds_a_node_tells_what_its_model_says_and_refuses_what_it_forbids(context: Context, name: str) -> None:
    node = KINDS[name](context=context)
    watcher = Node("asking", context=context, use_global_arguments=False)
    spinning = Spinning(context, [node, watcher])
    try:
        fields = {key.replace("<camera>", "front"): field for key, field in BY_NAME[name].fields().items()}
        fields = {key: field for key, field in fields.items() if not key.startswith("cabin.")}  # there is none
        listed = answered(watcher, ListParameters, f"{name}/list_parameters", depth=0).result.names
        own = {key for key in listed if not key.startswith(("qos_overrides", "use_sim_time", "start_type_description"))}
        assert own == set(fields)
        names = list(fields)
        described = answered(watcher, DescribeParameters, f"{name}/describe_parameters", names=names).descriptors
        assert [descriptor.name for descriptor in described] == names
        for descriptor, field in zip(described, fields.values(), strict=True):
            assert descriptor.description == field.description
            assert descriptor.read_only == (change_of(field) is Change.READ_ONLY)
            assert not unit_of(field) or f"Unit: {unit_of(field)}." in descriptor.additional_constraints
            kind = type_name(field)
            assert WHEN[change_of(field)] in descriptor.additional_constraints
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            assert ", ".join(choices) in descriptor.additional_constraints
            ranges = {"double": descriptor.floating_point_range, "integer": descriptor.integer_range}
            shown = {key: [(each.from_value, each.to_value) for each in found] for key, found in ranges.items()}
            assert shown == {key: [bounds_of(field)] if key == kind else [] for key in ranges}
        values = answered(watcher, GetParameters, f"{name}/get_parameters", names=names).values
        given = configured("perception.yaml")
        for key, value, field in zip(names, values, fields.values(), strict=True):
            expected = given.get(key, field.get_default())
            found = parameter_value_to_python(value)
            assert found == (list(expected) if isinstance(expected, tuple) else expected), key
        numbers = [key for key, field in fields.items() if type_name(field) in ("integer", "double")]
        wrong = [Parameter(key, value=1e300 if type_name(fields[key]) == "double" else -(10**9)) for key in numbers]
        request = [parameter.to_parameter_msg() for parameter in wrong]
        results = answered(watcher, SetParameters, f"{name}/set_parameters", parameters=request).results
        for key, result in zip(numbers, results, strict=True):
            assert not result.successful
            assert f"node '/{name}': parameter '{key}' = " in result.reason
            fixed = change_of(fields[key]) is Change.READ_ONLY
            assert ("it is fixed when the node starts, at " if fixed else " is allowed (") in result.reason
        # A type that does not exist ends a node of plain rclpy.
        request = [ParameterMessage(name=key, value=ParameterValue(type=99)) for key in names]
        results = answered(watcher, SetParameters, f"{name}/set_parameters", parameters=request).results
        service = f"{name}/set_parameters_atomically"
        results.append(answered(watcher, SetParametersAtomically, service, parameters=request).result)
        assert len(results) == len(names) + 1 and not any(result.successful for result in results)
        assert all("' = no value is refused: " in result.reason for result in results)
    finally:
        spinning.stop()
        close([node, watcher])


STRANGE = [
    *(float("nan"), float("inf"), -1e308, 5e-324, 2**63 - 1, -(2**63), True, None, "", "../\x01\n%s{}'", "x" * 10**5),
    *([], [""], ["", "a=#", "=#000000"], ["a", "a"], [b"a"], [True], [1, 2], [0.5]),
]


@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_set_is_taken_or_refused_with_the_reason(context: Context, name: str) -> None:
    node = KINDS[name](context=context)
    try:
        for key in [*node.list_parameters([], 0).names, "", "no.such", "x" * 300]:
            for value in STRANGE:
                parameter = Parameter.from_parameter_msg(Parameter(key, value=value).to_parameter_msg())
                (result,) = node.set_parameters([parameter])
                assert result.successful or result.reason.startswith(f"node '/{name}'"), (key, value)
        for model in node.parameter_models:
            assert type(model.value).model_validate(model.value.model_dump()) == model.value
    finally:
        close([node])


def test_the_player_takes_the_file_too_and_asks_for_a_bag(context: Context) -> None:
    with pytest.raises(ParameterError, match="node '/player': parameter 'bag' is empty"):
        PlayerNode(context=context)


def test_parameters_are_written_into_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from mtl_perception import cli
    from mtl_perception.ros import parameters_command

    assert cli.main(["parameters"]) == 0
    assert capsys.readouterr().out == page()
    monkeypatch.setattr(parameters_command, "page_file", lambda: tmp_path / "parameters.md")
    assert cli.main(["parameters", "--write"]) == 0
    assert (tmp_path / "parameters.md").read_text() == page()
