# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
#
# Enter the environment that `make setup` has made, from bash or zsh and from any folder:  . tools/env.sh
# With a ROS 2 distribution, source its own set-up first.

_mtl_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)
_mtl_venv=$_mtl_root/.venv

if [ -x "$_mtl_venv/bin/python" ]; then
    export VIRTUAL_ENV=$_mtl_venv
    case ":$PATH:" in
        ":$_mtl_venv/bin:"*) ;;
        *) export PATH="$_mtl_venv/bin:$PATH" ;;
    esac

    # ROS from wheels: the virtual environment itself is the ament prefix.
    if [ -d "$_mtl_venv/share/rclpy" ]; then
        case ":${AMENT_PREFIX_PATH:-}:" in
            *":$_mtl_venv:"*) ;;
            *) export AMENT_PREFIX_PATH="$_mtl_venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}" ;;
        esac
        case ":${LD_LIBRARY_PATH:-}:" in
            *":$_mtl_venv/lib:"*) ;;
            *) export LD_LIBRARY_PATH="$_mtl_venv/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;;
        esac
    fi

    # What colcon has built: this package, its messages, and what replaces missing ROS packages.
    if [ -f "$_mtl_root/install/local_setup.sh" ]; then
        COLCON_CURRENT_PREFIX=$_mtl_root/install
        . "$_mtl_root/install/local_setup.sh"
        unset COLCON_CURRENT_PREFIX
    fi

    # With a distribution its own `ros2`, and what colcon has installed, run in the distribution's Python: the libraries
    # that it lacks are in the virtual environment, and come last.
    if [ ! -d "$_mtl_venv/share/rclpy" ]; then
        for _mtl_libraries in "$_mtl_venv"/lib/python3*/site-packages; do
            case ":${PYTHONPATH:-}:" in
                *":$_mtl_libraries:"*) ;;
                *) export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$_mtl_libraries" ;;
            esac
        done
        unset _mtl_libraries
    fi

    # Shared memory with room for images (see config/fastdds.xml), where the machine has that room: a container often
    # has 64 MiB for all, and every process takes 64 MiB. Fast DDS 3 has renamed the variable and warns of the old one.
    if [ "$(df --output=avail --block-size=1M /dev/shm 2>/dev/null | tail -n 1 || echo 0)" -ge 512 ]; then
        case "${ROS_DISTRO:-}" in
            humble | iron | jazzy)
                export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_mtl_root/config/fastdds.xml}" ;;
            *)
                export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$_mtl_root/config/fastdds.xml}" ;;
        esac
    fi
    unset _mtl_root _mtl_venv
else
    echo "env.sh: $_mtl_venv does not exist; run 'make setup' first" >&2
    unset _mtl_root _mtl_venv
    false
fi
