"""Shards of strangers: nothing is unpickled or imported, no file leads out of the folder, damage is one sentence."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.shards.datamodule import ShardDepthDataModule, ShardInstanceDataModule
from datamodules.shards.encoding import DamagedSampleError, encode
from datamodules.shards.items import decode_frame
from tests.datamodules.shards.conftest import settings

Folder = Callable[[str], Path]


@pytest.fixture
def copied(shards: Folder, tmp_path: Path) -> Path:
    """A copy of the shards of instances, to be damaged."""
    return Path(shutil.copytree(shards("instances"), tmp_path / "copy"))


def read_all(root: Path) -> None:
    data = ShardInstanceDataModule(str(root), **settings("instances"))
    data.setup("fit")
    list(data.train_dataloader())


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_undamaged_copy_is_read(copied: Path) -> None:
    read_all(copied)


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_shards_with_pickles_are_refused_without_running_them(copied: Path, tmp_path: Path) -> None:
    """litdata itself falls back to pickle for types that it does not know, and runs it when it reads."""
    writer = pytest.importorskip("litdata.streaming.writer", reason="the extra `shards` is not installed")
    folder = tmp_path / "pickled"
    shards = writer.BinaryWriter(str(folder), chunk_bytes=100_000)
    for index in range(4):
        shards.add_item(index, Trap(tmp_path / "ran"))
    shards.done()
    shards.merge()
    assert json.loads((folder / "index.json").read_text())["config"]["data_format"] == ["pickle"]
    for path in folder.iterdir():
        shutil.copy(path, copied / "train" / path.name)
    with pytest.raises(ValueError, match=r"declares samples of the type \['pickle'\], but only plain bytes are read"):
        read_all(copied)
    # The same content, declared as bytes.
    edit(copied / "train" / "index.json", lambda content: content["config"].update(data_format=["bytes"]))
    edit(copied / "train" / "samples.json", lambda content: content.update(names=["a", "b", "c", "d"]))
    with pytest.raises(
        ValueError, match=r"chunk-0-0.bin: sample \d .* holds data that are no encoded sample \(a pickle"
    ):
        read_all(copied)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()  # it would have run


@pytest.mark.parametrize("spec", ['[1, {"type": "collections.defaultdict", "context": ["os", "system"]}]', None, 3])
def test_types_to_import_are_refused(copied: Path, spec: object) -> None:
    edit(copied / "train" / "index.json", lambda content: content["config"].update(data_spec=spec))
    with pytest.raises(ValueError, match="only plain bytes are read"):
        read_all(copied)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "chunk-0-0.bin/../x", "..", 7, None])
def test_file_names_may_not_leave_the_folder(copied: Path, name: object) -> None:
    edit(copied / "train" / "index.json", lambda content: content["chunks"][0].update(filename=name))
    with pytest.raises(ValueError, match=r"names the file .*, but shards are called chunk-0-0.bin and lie beside it"):
        read_all(copied)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", "a\\b", "a\0"])
def test_names_of_samples_may_not_lead_out_of_the_folder_of_predictions(name: str) -> None:
    arrays: dict[str, Any] = {
        "image": np.zeros((4, 5, 3), np.uint8), "depth": np.ones((4, 5), np.float32), "K": np.eye(3),
    }  # fmt: skip
    assert decode_frame(encode(arrays, {"kind": "frame", "name": "a/b..c"})).name == "a/b..c"
    with pytest.raises(DamagedSampleError, match="has the name"):
        decode_frame(encode(arrays, {"kind": "frame", "name": name}))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"depth": np.ones((4, 6), np.float32)}, r"float32 \(4, 6\) as 'depth', but float32 \(4, 5\) is expected"),
        ({"K": np.eye(3, dtype=np.float32)}, "as 'K'"),
        ({"image": np.zeros((4, 5), np.uint8)}, "as 'image'"),
        ({"label:semantic": np.ones((3, 5), np.int64)}, "maps of another size"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change: dict[str, Any], match: str) -> None:
    arrays: dict[str, Any] = {
        "image": np.zeros((4, 5, 3), np.uint8), "depth": np.ones((4, 5), np.float32), "K": np.eye(3),
    }  # fmt: skip
    with pytest.raises(DamagedSampleError, match=match):
        decode_frame(encode(arrays | change, {"kind": "frame", "name": "a"}))


def first_shard(root: Path) -> Path:
    return root / "train" / "chunk-0-0.bin"


def test_a_torn_shard_is_one_sentence(copied: Path) -> None:
    size = first_shard(copied).stat().st_size
    os.truncate(first_shard(copied), size // 2)
    with pytest.raises(
        ValueError, match=rf"chunk-0-0.bin is torn: it has {size // 2} bytes, but its index says {size};"
    ):
        read_all(copied)


def test_a_missing_shard_is_one_sentence(copied: Path) -> None:
    first_shard(copied).unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*chunk-0-0.bin'"):
        read_all(copied)


@pytest.mark.parametrize("where", ["header", "middle"])
def test_a_changed_byte_is_one_sentence(copied: Path, where: str) -> None:
    content = bytearray(first_shard(copied).read_bytes())
    content[1 if where == "header" else len(content) // 2] ^= 1
    first_shard(copied).write_bytes(content)
    with pytest.raises(ValueError, match=r"chunk-0-0.bin: sample \d .*damaged.*; copy the shard again"):
        read_all(copied)


@pytest.mark.parametrize("name", ["index.json", "samples.json"])
def test_torn_lists_are_one_sentence(copied: Path, name: str) -> None:
    path = copied / "train" / name
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=rf"train/{name} is torn or no JSON"):
        read_all(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "../../x"},
        {"kind": "other"},
        {"splits": ["../x"]},
        {"values": []},
        {"format": "x"},
        {"val_is_test": 1},
    ],
    ids=str,
)
def test_invalid_descriptions_are_refused(copied: Path, change: dict[str, Any]) -> None:
    edit(copied / "shards.json", lambda content: content.update(change))
    with pytest.raises(ValueError, match=r"shards.json (lacks a value or holds|has the format)"):
        read_all(copied)


def test_clips_may_not_leave_the_split(shards: Folder, tmp_path: Path) -> None:
    from datamodules.shards.datamodule import ShardVideoDataModule

    root = Path(shutil.copytree(shards("video"), tmp_path / "copy"))
    edit(root / "train" / "samples.json", lambda content: content.update(windows=[[0, 1, 10_000]]))
    with pytest.raises(ValueError, match="holds no valid clips"):
        ShardVideoDataModule(str(root), **settings("video")).setup("fit")


def test_the_wrong_kind_of_sample_is_refused(shards: Folder, copied: Path) -> None:
    edit(copied / "shards.json", lambda content: content.update(kind="depth", values={}))
    data = ShardDepthDataModule(str(copied), **settings("depth"))
    data.setup("fit")
    with pytest.raises(ValueError, match='holds "instances", but frame is expected'):
        data.datasets["train"][0]  # type: ignore[index]
