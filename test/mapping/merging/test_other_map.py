# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps that cannot be merged, because they do not fit or are broken."""

import json
from dataclasses import replace

import pytest

from mtl_perception.mapping import MapFormatError, Mapper, MappingError
from test.mapping.merging.conftest import CONFIG, SELF_FROM_OTHER, unchanged


def test_a_broken_folder_is_refused_whole(world, loaded, labels, tmp_path):
    folder = loaded(world.other).save(tmp_path / "broken")
    content = bytearray((folder / "blocks.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "blocks.zip").write_bytes(content)
    mapper = loaded(world.one)
    for path in (folder, tmp_path / "nothing"):
        with pytest.raises(MapFormatError, match=r"damaged|no readable map"):
            mapper.merge(path, SELF_FROM_OTHER)
    unchanged(mapper, world.one, loaded)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (CONFIG.model_copy(update={"voxel_size": 0.05}), r"other was made with voxel_size 0\.1, this map has 0\.05"),
        (CONFIG.model_copy(update={"object_gap": 0.3}), r"other was made with object_gap 0\.2, this map has 0\.3"),
    ],
)
def test_maps_of_other_voxels_do_not_fit(world, labels, config, text):
    with pytest.raises(MappingError, match=text):
        Mapper(config, labels).merge(world.other, SELF_FROM_OTHER)


def test_maps_of_other_classes_do_not_fit(world, labels):
    named = tuple(replace(label, name="thing") if label.name == "sign" else label for label in labels.labels)
    with pytest.raises(MappingError, match=r"made with the classes \[.*'sign'.*\], this map has \[.*'thing'"):
        Mapper(CONFIG, replace(labels, labels=named)).merge(world.other, SELF_FROM_OTHER)


def test_a_manifest_of_an_older_version_is_refused(world, labels, loaded, tmp_path):
    folder = loaded(world.other).save(tmp_path / "old")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 3}))
    with pytest.raises(MapFormatError, match="version 3, this program reads"):
        Mapper(CONFIG, labels).merge(folder, SELF_FROM_OTHER)
