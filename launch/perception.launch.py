# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts perception, mapping and their manager.

With `bag:=...` also a player, and ends when the bag ends; with `evaluation:=true` what scores the predictions.
Arguments that Nav2 has, too, are called and work as there.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    GroupAction,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node, PushROSNamespace, SetParameter, SetRemap
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from mtl_perception.running.parameter_files import unknown_parameters

PACKAGE = "mtl_perception"
RESPAWN_DELAY_S = 2.0


def generate_launch_description() -> LaunchDescription:
    """Return the launch description; `ros2 launch mtl_perception perception.launch.py -s` lists its arguments."""
    share = Path(get_package_share_directory(PACKAGE))
    with_bag = PythonExpression(["'", LaunchConfiguration("bag"), "' != ''"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace",
                default_value="",
                description="Namespace of all nodes and topics; TF goes below it, too, unless there is a frame_prefix.",
            ),
            DeclareLaunchArgument(
                "frame_prefix",
                default_value="",
                description="Put before the frames that parameters name, e.g. a/ for a/base_link, where several robots "
                "share one /tf; by default as the parameter file says.",
            ),
            DeclareLaunchArgument(
                "bag", default_value="", description="Recording to play; the launch ends when it has been processed."
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value=with_bag, description="Follow /clock; by default with a bag."
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(share / "config" / "perception.yaml"),
                description="ROS 2 parameter file of all nodes.",
            ),
            DeclareLaunchArgument(
                "autostart", default_value="true", description="Configure and activate the nodes, or leave it to you."
            ),
            DeclareLaunchArgument("composed", default_value="true", description="Older name of use_composition."),
            DeclareLaunchArgument(
                "use_composition",
                default_value=LaunchConfiguration("composed"),
                description="Perception and mapping in one process, or in two.",
            ),
            DeclareLaunchArgument(
                "use_respawn",
                default_value="false",
                description="Start perception, mapping and the manager again when they die; the map is then saved "
                "every 30 s, and continued from there.",
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="Log level of all nodes."),
            DeclareLaunchArgument(
                "evaluation", default_value="false", description="Score what is perceived against ground truth."
            ),
            DeclareLaunchArgument(
                "report", default_value="", description="With evaluation: folder to write its report to at the end."
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="Start RViz with all outputs."),
            # Fast DDS's default shared memory is smaller than one VGA image.
            SetEnvironmentVariable(
                profiles_variable(), os.environ.get(profiles_variable()) or str(share / "config" / "fastdds.xml")
            ),
            OpaqueFunction(function=group, args=[share]),
        ]
    )


def profiles_variable() -> str:
    """Return the name of the variable that points Fast DDS to its profiles: version 3 has renamed it."""
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    return "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"


def group(context: LaunchContext, share: Path) -> list[GroupAction]:
    """Return all nodes with what holds for each: namespace, TF below it as in Nav2, and the clock."""
    bag = LaunchConfiguration("bag").perform(context)
    for line in unknown_parameters(Path(LaunchConfiguration("params_file").perform(context))):
        get_logger("mtl_perception").warning(line)
    of_bag: dict[str, object] = {}
    if bag and LaunchConfiguration("params_file").perform(context) == str(share / "config" / "perception.yaml"):
        # Only here: `ros2 launch` runs in the distribution's Python, which may lack what reading a bag needs.
        from mtl_perception.data.bags import bag_cameras

        # Nobody has said how to play it: every frame of every camera.
        of_bag = {"cameras": bag_cameras(bag), "frame_policy": "every"}
    prefix = LaunchConfiguration("frame_prefix").perform(context)
    # As text whatever they look like: an empty one would become nothing, a number no name.
    of_robot = {"frame_prefix": ParameterValue(prefix, value_type=str)} if prefix else {}
    if is_true(context, "use_respawn"):
        # The same for each life of a node: by it mapping knows the map that it has saved itself.
        of_robot["run_id"] = ParameterValue(uuid.uuid4().hex, value_type=str)
    # Without evaluation, as the parameter file says.
    managed: dict[str, object] = {}
    waits: dict[str, object] = {}
    scoring: list[Node] = []
    if is_true(context, "evaluation"):
        names = ["perception", "mapping", "evaluation"]
        managed = {"node_names": names}
        waits = {"wait_for": [f"{name}/progress" for name in names], "clock_listeners": names}
        report = ParameterValue(LaunchConfiguration("report"), value_type=str)
        called = {"report_name": Path(bag).resolve().stem} if bag else {}
        scoring = [evaluation({**of_bag, **called, "report_folder": report})]
    return [
        GroupAction(
            [
                PushROSNamespace(LaunchConfiguration("namespace")),
                *([] if prefix else [SetRemap("/tf", "tf"), SetRemap("/tf_static", "tf_static")]),
                SetParameter("use_sim_time", LaunchConfiguration("use_sim_time")),
                *nodes(share, {**of_bag, **of_robot}, managed),
                *scoring,
                *(player({**of_bag, **waits, "bag": bag}) if bag else []),
            ]
        )
    ]


def nodes(share: Path, parameters: dict[str, object], managed: dict[str, object]) -> list[Node]:
    """Return the nodes; `managed` are parameters of their manager.

    None has `name=`, which would give one name to all nodes of a composed process.
    """
    composed = LaunchConfiguration("use_composition")
    respawn = {"respawn": LaunchConfiguration("use_respawn"), "respawn_delay": RESPAWN_DELAY_S}
    return [
        node("perception_and_mapping", parameters, condition=IfCondition(composed), **respawn),
        node("perception_node", parameters, condition=UnlessCondition(composed), **respawn),
        node("mapping_node", parameters, condition=UnlessCondition(composed), **respawn),
        node("lifecycle_manager", {"autostart": LaunchConfiguration("autostart"), **managed}, **respawn),
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", str(share / "config" / "rviz" / "perception.rviz")],
            condition=IfCondition(LaunchConfiguration("rviz")),
        ),
    ]


def evaluation(parameters: dict[str, object]) -> Node:
    """Return the node that scores; at the end it needs time for its report."""
    return node("evaluation_node", parameters, sigterm_timeout="120", sigkill_timeout="10")


def player(parameters: dict[str, object]) -> list[Node | RegisterEventHandler]:
    """Return the player and what ends the launch after it."""
    playing = node("player_node", parameters)

    def end(event: ProcessExited, _context: LaunchContext) -> EmitEvent:
        failed = f"the player has failed with exit code {event.returncode}"
        return EmitEvent(event=Shutdown(reason=failed if event.returncode else "the bag has ended"))

    return [playing, RegisterEventHandler(OnProcessExit(target_action=playing, on_exit=end))]


def is_true(context: LaunchContext, argument: str) -> bool:
    """Return whether a launch argument says yes, as conditions read it."""
    return LaunchConfiguration(argument).perform(context).strip().lower() in ("true", "1")


def node(executable: str, *parameters: dict[str, object], **options: object) -> Node:
    """Return a node of this package with the shared parameter file, and `parameters` on top; `options` are Node's."""
    return Node(
        package=PACKAGE,
        executable=executable,
        output="screen",
        parameters=[LaunchConfiguration("params_file"), *(values for values in parameters if values)],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        **options,
    )
