"""Writing: interrupted and continued, in processes, refused where it would mix data; litdata reads the result."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.coco.datamodule import CocoDataModule
from datamodules.shards.items import decode_instances
from datamodules.shards.stored import StoredInstances
from tests.datamodules.shards.conftest import READERS, original, settings, write
from tests.datamodules.shards.test_datamodule import assert_equal, batches
from tools import shards as tool

Folder = Callable[[str], Path]


def contents(folder: Path) -> dict[str, bytes]:
    """Content of all files but the description, which holds a random identity."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del files["shards.json"]
    return files


class StoppedError(Exception):
    """Stands for a killed process: nothing of the writer runs after it."""


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_interrupted_writing_goes_on_with_the_same_files(
    stop: int, data_root: Folder, shards: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = StoredInstances.__getitem__

    def stopping(self: StoredInstances, index: int) -> tuple[str, bytes]:
        if index == stop:
            raise StoppedError
        return read(self, index)

    monkeypatch.setattr(StoredInstances, "__getitem__", stopping)
    with pytest.raises(StoppedError):
        write(original("instances", data_root("instances")), tmp_path / "out", "instances")
    assert not (tmp_path / "out" / "shards.json").exists()
    monkeypatch.undo()
    # What a kill during a write leaves: a torn shard that no line of the progress file names, and half a line.
    progress = tmp_path / "out" / "train" / "progress.jsonl"
    lines = [json.loads(line) for line in progress.read_text().splitlines()]
    complete = len(lines)
    (tmp_path / "out" / "train" / f"chunk-0-{complete}.bin").write_bytes(b"torn")
    with progress.open("a") as file:
        file.write('{"filename": "chu')
    begun: list[int] = []
    monkeypatch.setattr(StoredInstances, "__getitem__", lambda self, index: begun.append(index) or read(self, index))
    write(original("instances", data_root("instances")), tmp_path / "out", "instances")
    assert len(begun) == 6 + 3 - sum(line["chunk_size"] for line in lines)  # complete shards are not read again
    assert complete > 0 or stop < 4
    assert contents(tmp_path / "out") == contents(shards("instances"))


def test_writing_in_processes_gives_the_same_files(data_root: Folder, shards: Folder, tmp_path: Path) -> None:
    write(original("instances", data_root("instances")), tmp_path / "out", "instances", workers=2)
    assert contents(tmp_path / "out") == contents(shards("instances"))


def test_a_finished_folder_is_left_as_it_is(data_root: Folder, shards: Folder) -> None:
    before = contents(shards("mixed"))
    assert write(original("mixed", data_root("mixed")), shards("mixed"), "mixed").endswith("complete already\n")
    assert contents(shards("mixed")) == before
    with pytest.raises(ValueError, match="holds shards of other settings: choose another folder"):
        write(original("mixed", data_root("mixed")), shards("mixed"), "mixed", settings="b")


def test_other_folders_are_refused(data_root: Folder, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="full is not empty: choose a new folder"):
        write(original("mixed", data_root("mixed")), tmp_path / "full", "mixed")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "writing.json").write_text(json.dumps({"settings": "b", "identity": "0" * 16}))
    with pytest.raises(ValueError, match="beginning of shards of other settings"):
        write(original("mixed", data_root("mixed")), tmp_path / "begun", "mixed")
    with pytest.raises(ValueError, match="train_subset is 3, but shards hold all samples"):
        write(original("depth", data_root("depth"), train_subset=3), tmp_path / "subset", "depth")


def test_a_shard_that_was_changed_since_is_noticed(data_root: Folder, shards: Folder, tmp_path: Path) -> None:
    out = Path(shutil.copytree(shards("instances"), tmp_path / "out"))
    index = json.loads((out / "train" / "index.json").read_text())
    lines = [json.dumps(chunk | {"names": []}) for chunk in index["chunks"]]
    (out / "train" / "progress.jsonl").write_text("\n".join(lines) + "\n")
    (out / "train" / "index.json").unlink()
    (out / "shards.json").rename(out / "writing.json")
    (out / "writing.json").write_text(json.dumps({"settings": "a", "identity": "0" * 16}))
    (out / "train" / "chunk-0-0.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"chunk-0-0.bin has 1 bytes, but \d+ were written: delete the folder"):
        write(original("instances", data_root("instances")), out, "instances")


def test_reduced_frames_are_smaller_and_give_the_same_batches(
    data_root: Folder, shards: Folder, tmp_path: Path
) -> None:
    changes = {"oversampling": 2.0, "aspect": "crop"}
    write(original("depth", data_root("depth"), **changes), tmp_path / "out", "depth", reduced=True)
    wanted = batches(original("depth", data_root("depth"), **changes))
    assert_equal(batches(READERS["depth"](str(tmp_path / "out"), **(settings("depth") | changes))), wanted)
    size = sum(len(content) for content in contents(tmp_path / "out").values())
    assert size < 0.2 * sum(len(content) for content in contents(shards("depth")).values())


def test_litdata_reads_the_same_samples(shards: Folder, data_root: Folder) -> None:
    litdata = pytest.importorskip("litdata", reason="the extra `shards` is not installed")
    stream = litdata.StreamingDataset(str(shards("instances") / "train"))
    data = original("instances", data_root("instances"))
    assert isinstance(data, CocoDataModule)
    data.setup("fit")
    source = data.make_instances("train")
    assert len(stream) == len(source)
    for index in range(len(source)):
        found, wanted = decode_instances(bytes(stream[index]), masks=True), source.read(index, masks=True)
        assert found.name == wanted.name
        assert np.array_equal(found.image, wanted.image)
        assert np.array_equal(found.boxes, wanted.boxes)


def test_command_writes_what_its_yaml_says(
    data_root: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--data",
        "datamodules.coco.datamodule.CocoDataModule",
        "--data.init_args.root",
        str(data_root("instances")),
    ]
    assert tool.main([*words, "--out", str(tmp_path / "out"), "--shard-mb", "0.02"]) == 0
    assert "train 6 in " in capsys.readouterr().out
    assert (
        tool.main([*words, "--out", str(tmp_path / "out"), "--shard-mb", "0.02", "--data.init_args.batch_size", "3"])
        == 0
    )
    assert "complete already" in capsys.readouterr().out
    assert tool.main([*words, "--out", str(tmp_path / "out"), "--shard-mb", "0.5"]) == 1
    assert "shards of other settings" in capsys.readouterr().err
    assert tool.main([*words, "--out", str(tmp_path / "x"), "--shard-mb", "5000"]) == 2
    assert "a shard has up to 4000 MB" in capsys.readouterr().err
