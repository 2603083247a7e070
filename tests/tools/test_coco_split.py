"""Split of a COCO-format file into a training and a validation file."""

import json
from pathlib import Path

import pytest

from datamodules.coco.file import CocoFile
from tests.data.make_coco import make_coco
from tools.coco_split import main


def test_each_image_is_in_one_split_with_its_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_coco(tmp_path, n_train=10) / "annotations/instances_train2017.json"
    assert main(["--json", str(path), "--out", str(tmp_path / "own"), "--val", "0.3"]) == 0
    assert "train.json: 7 images" in capsys.readouterr().out
    whole = json.loads(path.read_text())
    parts = [json.loads((tmp_path / "own" / f"{name}.json").read_text()) for name in ("train", "val")]
    for key in ("images", "annotations"):
        ids = [{record["id"] for record in part[key]} for part in parts]
        assert not ids[0] & ids[1]
        assert ids[0] | ids[1] == {record["id"] for record in whole[key]}
    assert [len(part["images"]) for part in parts] == [7, 3]
    for name, part in zip(("train", "val"), parts, strict=True):
        assert part["categories"] == whole["categories"]
        assert {a["image_id"] for a in part["annotations"]} <= {image["id"] for image in part["images"]}
        CocoFile(tmp_path / "own" / f"{name}.json", keep_masks=True)


def test_the_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = make_coco(tmp_path, n_train=10) / "annotations/instances_train2017.json"
    texts = []
    for number, seed in enumerate((0, 0, 1)):
        assert main(["--json", str(path), "--out", str(tmp_path / str(number)), "--seed", str(seed)]) == 0
        texts.append((tmp_path / str(number) / "val.json").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_data_that_cannot_be_split_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_coco(tmp_path) / "annotations/instances_train2017.json"
    out = tmp_path / "own"
    (tmp_path / "broken.json").write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": "0"'))
    one = json.loads(path.read_text())
    one["annotations"] = [a for a in one["annotations"] if a["image_id"] == 1]
    one["images"] = one["images"][:1]
    (tmp_path / "one.json").write_text(json.dumps(one))
    for arguments, message in (
        (["--json", str(tmp_path / "broken.json"), "--out", str(out)], "iscrowd '0'"),
        (["--json", str(path), "--out", str(out), "--val", "1.5"], "inside (0, 1), got 1.5"),
        (["--json", str(tmp_path / "one.json"), "--out", str(out)], "at least two are needed"),
        (["--json", str(path), "--out", str(path)], "is a file, but a folder is needed"),
    ):
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not out.exists()
    assert main(["--json", str(path), "--out", str(out)]) == 0
    before = (out / "train.json").read_text()
    assert main(["--json", str(path), "--out", str(out), "--seed", "1"]) == 1
    assert "train.json exists already: choose another folder" in capsys.readouterr().err
    assert (out / "train.json").read_text() == before
