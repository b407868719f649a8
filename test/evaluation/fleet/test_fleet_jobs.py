# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which bags are meant by folders and lists, and what they are called."""

import pickle
import shutil
from pathlib import Path

import pytest

from mtl_perception.data.errors import BagError
from mtl_perception.evaluation.fleet import BagJob, bags_in


@pytest.fixture
def tree(bag: Path, tmp_path: Path) -> Path:
    """Bags of all kinds: monday/run, monday/single.mcap, tuesday/run, tuesday/deep/other; and what is none."""
    for name in ("tuesday/run", "monday/run", "tuesday/deep/other", "monday/.hidden/run"):
        shutil.copytree(bag, tmp_path / name)
    shutil.copy(next(bag.glob("*.mcap")), tmp_path / "monday" / "single.mcap")
    # Bags within bags are parts of them.
    shutil.copytree(bag, tmp_path / "monday" / "run" / "part")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "metadata.yaml").write_text("author: somebody\n")
    (tmp_path / "results" / "notes.txt").write_text("text\n")
    return tmp_path


def test_a_folder_is_searched_in_order(tree: Path) -> None:
    jobs = bags_in([tree])
    assert jobs == (
        BagJob("monday_run", tree / "monday" / "run"),
        BagJob("single", tree / "monday" / "single.mcap"),
        BagJob("other", tree / "tuesday" / "deep" / "other"),
        BagJob("tuesday_run", tree / "tuesday" / "run"),
    )
    assert pickle.loads(pickle.dumps(jobs)) == jobs


def test_single_bags_are_taken_once_and_in_the_order_given(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    jobs = bags_in([Path("tuesday/run"), Path("monday/single.mcap"), tree / "tuesday"])
    assert [(job.name, job.path) for job in jobs] == [
        ("run", tree / "tuesday/run"),
        ("single", tree / "monday/single.mcap"),
        ("other", tree / "tuesday/deep/other"),
    ]


def test_a_list_names_bags_and_folders_relative_to_itself(tree: Path) -> None:
    (tree / "lists").mkdir()
    (tree / "lists" / "bags.txt").write_text(f"# runs\n\n  ../monday/run \n../tuesday/deep\n{tree}/tuesday/run\n")
    assert [job.name for job in bags_in([tree / "lists" / "bags.txt"])] == ["monday_run", "other", "tuesday_run"]


def test_links_are_bags_of_their_own_and_circles_end(tree: Path) -> None:
    (tree / "linked").mkdir()
    (tree / "linked" / "first").symlink_to(tree / "monday" / "run")
    (tree / "linked" / "second").symlink_to(tree / "monday" / "run")
    (tree / "linked" / "round").symlink_to(tree / "linked")
    assert [job.name for job in bags_in([tree / "linked"])] == ["first", "second"]


def test_names_are_as_short_as_they_can_be_and_never_the_same(tree: Path, bag: Path) -> None:
    single = next(bag.glob("*.mcap"))
    for name in ("a/x.mcap", "a/x.db3", "b/x.mcap", "a_c/d.mcap", "a/c_d.mcap", "c/q/run.mcap"):
        (tree / "names" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(single, tree / "names" / name)
    names = [job.name for job in bags_in([tree / "names", tree / "monday" / "run"])]
    assert names == ["c_d", "x.db3", "a_x.mcap", "d", "b_x.mcap", "run.mcap", "monday_run"]
    assert names == [job.name for job in bags_in([tree / "names", tree / "monday" / "run"])]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("../monday/run\n../nothing\n", r"bags.txt, line 2: .*/nothing does not exist"),
        ("../results/notes.txt\n", r"line 1: .*notes.txt is not a bag"),
        ("# nothing\n", "no bag is given"),
    ],
)
def test_a_list_with_what_is_no_bag(tree: Path, content: str, text: str) -> None:
    (tree / "lists").mkdir()
    (tree / "lists" / "bags.txt").write_text(content)
    with pytest.raises(BagError, match=text):
        bags_in([tree / "lists" / "bags.txt"])


def test_what_is_no_bag_is_named(tree: Path) -> None:
    (tree / "old.bag").write_bytes(b"#ROSBAG V2.0\n\0\0")
    (tree / "latin").write_bytes("stra\xdfe\n".encode("latin-1"))
    for path, text in [
        (tree / "nothing", "/nothing does not exist"),
        (tree / "results", "/results is not a bag, and there is none below it"),
        (tree / "old.bag", "/old.bag is neither a bag nor a list of bags"),
        (tree / "latin", "/latin is neither a bag nor a list of bags"),
    ]:
        with pytest.raises(BagError, match=text):
            bags_in([path])
    with pytest.raises(BagError, match="no bag"):
        bags_in([])
