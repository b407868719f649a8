# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The project's files agree with each other and with the code."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
INTERFACES = sorted(path for kind in ("msg", "srv") for path in (ROOT / "mtl_perception_msgs").glob(f"{kind}/*.{kind}"))

# Imports whose rosdep key is not their own name. Every other import must be a key itself.
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "jinja2": "python3-jinja2",
    "markupsafe": "python3-jinja2",  # comes with it
    "matplotlib": "python3-matplotlib",
    "numba": "python3-numba",
    "numpy": "python3-numpy",
    "pydantic": "python3-pydantic",
    "rich": "python3-rich",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
# Imports that no rosdep key gives on every supported distribution, and their name in requirements.in.
WITHOUT_ROSDEP_KEY = {
    "accelerate": "accelerate",
    "backports": "backports.zstd",
    "onnxruntime": "onnxruntime",
    "lz4": "rosbags",  # comes with it
    "open3d": "open3d",
    "ray": "ray",
    "rosbags": "rosbags",
    "safetensors": "safetensors",
    "spark_dsg": "spark-dsg",
    "tensorboard": "tensorboard",
    "torch": "torch",
    "transformers": "transformers",
    "huggingface_hub": "transformers",  # comes with it
}


def test_package_xml_covers_every_import() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for tag in ("depend", "exec_depend") for element in package.findall(tag)}
    imported = third_party_imports([*(ROOT / "mtl_perception").rglob("*.py"), *(ROOT / "launch").rglob("*.py")])
    wanted = {ROSDEP_KEYS.get(name, name): where for name, where in imported.items() if name not in WITHOUT_ROSDEP_KEY}
    assert {key: where for key, where in wanted.items() if key not in declared} == {}


def test_requirements_cover_every_import_of_the_python_index() -> None:
    imported = third_party_imports((ROOT / "mtl_perception").rglob("*.py"))
    setup_py = (ROOT / "setup.py").read_text()
    package_xml = (ROOT / "package.xml").read_text()
    for name in set(imported) & set(WITHOUT_ROSDEP_KEY):
        requirement = WITHOUT_ROSDEP_KEY[name]
        assert requirement in requirements("requirements.in"), f"{name}, imported in {imported[name]}"
        assert f'"{requirement}"' in setup_py, f"{requirement} is missing in install_requires"
        assert requirement in package_xml, f"package.xml does not say that {requirement} has no rosdep key"


def test_interface_package_depends_on_what_its_interfaces_use() -> None:
    package = ElementTree.parse(ROOT / "mtl_perception_msgs" / "package.xml").getroot()
    used = {name for path in INTERFACES for name in re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE)}
    assert used == {element.text for element in package.findall("depend")}


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_and_constant_carries_a_comment(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# "), "the interface itself is not described"
    for number, line in enumerate(lines):
        if line and not line.startswith("#") and line != "---":
            assert number > 1 and lines[number - 1].startswith("# "), f"{path.name}:{number + 1} has no comment: {line}"


def test_every_interface_is_built() -> None:
    cmake = (ROOT / "mtl_perception_msgs" / "CMakeLists.txt").read_text()
    built = set(re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', cmake))
    assert built == {str(path.relative_to(ROOT / "mtl_perception_msgs")) for path in INTERFACES}


def test_setup_py_installs_every_launch_and_config_file(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "install_data", "--install-dir", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True)
    share = tmp_path / "share" / "mtl_perception"
    installed = {str(path.relative_to(share)): path.read_bytes() for path in share.rglob("*") if path.is_file()}
    sources = [path for folder in ("launch", "config") for path in (ROOT / folder).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)): path.read_bytes() for path in sources if "__pycache__" not in path.parts}
    assert installed == {**expected, "package.xml": (ROOT / "package.xml").read_bytes()}
    assert (tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "mtl_perception").is_file()


def test_setup_py_includes_the_checkpoints(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path]
    subprocess.run([*command, "build_py", "--build-lib", tmp_path / "lib"], cwd=ROOT, check=True)
    package = tmp_path / "lib" / "mtl_perception"
    checkpoints = {path.name for path in (ROOT / "mtl_perception" / "checkpoints").glob("*.safetensors")}
    assert {path.name for path in (package / "checkpoints").glob("*.safetensors")} == checkpoints
    modules = {path.relative_to(ROOT / "mtl_perception") for path in (ROOT / "mtl_perception").rglob("*.py")}
    assert {path.relative_to(package) for path in package.rglob("*.py")} == modules
    assert (package / "py.typed").is_file()


def test_versions_agree() -> None:
    packages = [ROOT / "package.xml", ROOT / "mtl_perception_msgs" / "package.xml"]
    versions = {ElementTree.parse(path).getroot().findtext("version") for path in packages}
    for path in (ROOT / "setup.py", ROOT / "mtl_perception" / "__init__.py"):
        versions |= set(re.findall(r'^\s*(?:__version__ = |version=)"([^"]+)"', path.read_text(), re.MULTILINE))
    assert len(versions) == 1


def test_lock_holds_every_requirement_exactly() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = [line.split(" ; ")[0] for line in lock.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[^=<>~,+]+", pin) for pin in pins)
    assert "://" not in lock
    locked = {pin.split("==")[0] for pin in pins}
    assert (requirements("requirements.in") | requirements("requirements-ros.in")) <= locked


def test_environment_can_be_entered_from_any_folder(tmp_path: Path) -> None:
    environment = {name: os.environ[name] for name in ("HOME", "PATH", "ROS_DISTRO") if name in os.environ}
    code = "import mtl_perception, mtl_perception_msgs.srv, rclpy, tf2_ros; print(mtl_perception.__version__)"
    script = f'set -e; . "{ROOT}/tools/env.sh"; python -c "{code}"'
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", result.stdout)


def test_with_a_distribution_its_python_finds_the_libraries_of_the_virtual_environment(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "tools").mkdir(parents=True)
    (checkout / "tools" / "env.sh").write_text((ROOT / "tools" / "env.sh").read_text())
    libraries = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    libraries.mkdir(parents=True)
    (checkout / ".venv" / "bin").mkdir()
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    script = f'set -eu; . "{checkout}/tools/env.sh"; . "{checkout}/tools/env.sh"; echo "$PYTHONPATH"'
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/opt/ros/kilted/lib"}
    result = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, f"/opt/ros/kilted/lib:{libraries}\n"), result.stderr


def test_fast_dds_takes_the_profile_and_its_shared_memory_segment() -> None:
    code = """
import os, rclpy
before = set(os.listdir("/dev/shm"))
rclpy.init()
node = rclpy.create_node("profile_test")
segments = set(os.listdir("/dev/shm")) - before
print(max(os.stat(f"/dev/shm/{name}").st_size for name in segments if name.startswith("fast")))
rclpy.shutdown()
"""
    profile = str(ROOT / "config" / "fastdds.xml")
    old = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    environment = {**os.environ, f"{'FASTRTPS' if old else 'FASTDDS'}_DEFAULT_PROFILES_FILE": profile}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) >= 64 * 1024 * 1024


def third_party_imports(paths: Iterable[Path]) -> dict[str, str]:
    """Return the top-level names that the files import, neither standard library nor ours, and one place of each."""
    names: dict[str, str] = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                modules = [node.module]
            for name in {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"mtl_perception"}:
                names.setdefault(name, f"{path.relative_to(ROOT)}:{node.lineno}")
    return names


def requirements(file: str) -> set[str]:
    """Return the names in a requirements file, without versions and extras."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return {re.split(r"[\[<>=~ ]", line.lower())[0] for line in lines if line}
