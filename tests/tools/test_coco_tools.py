"""The check of a COCO-format data set, and the export of rooms to COCO format."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datamodules.coco.datamodule import CocoDataModule
from datamodules.files.run_lengths import decode_masks
from datamodules.rooms.instances import RoomsInstanceDataModule
from tests.data.make_coco import make_coco
from tests.data.make_room_objects import RENDERER, SETTINGS
from tools import coco_check, rooms_coco


def check(root: Path, *more: str) -> int:
    json_path = root / "annotations/instances_train2017.json"
    return coco_check.main(
        ["--json", str(json_path), "--images", str(root / "train2017"), "--out", str(root / "check.png"), *more]
    )


def test_check_counts_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def edit(split: str, content: dict) -> None:
        content["annotations"][0]["bbox"] = [3, 3, 0, 9]
        content["categories"] = [*content["categories"], {"id": 91, "name": "cup"}]

    root = make_coco(tmp_path, edit=edit)
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "6 images, 12 boxes, 4 classes" in out
    assert "boxes without area: 1 (left out); first: the annotation 10, bbox [3, 3, 0, 9]" in out
    assert "1 images without boxes" in out
    assert "cup (91): 0  <- none" in out
    sheet = np.asarray(Image.open(root / "check.png"))
    assert sheet.shape == (2 * coco_check.CELL[0], 3 * coco_check.CELL[1], 3)
    assert (sheet > 200).any()


def test_check_fails_where_a_training_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_coco(tmp_path)
    images = sorted((root / "train2017").iterdir())
    images[0].write_bytes(b"no image")
    images[1].unlink()
    assert check(root, "--decode") == 1
    captured = capsys.readouterr()
    assert "2 of 6 images cannot be used" in captured.err
    assert "An image is broken" in captured.err
    assert "There is no image" in captured.err
    (root / "annotations/instances_train2017.json").write_text("{}")
    assert check(root) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_check_lists_every_kind_of_fault_that_training_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def edit(split: str, content: dict) -> None:
        for annotation in content["annotations"][:3]:
            annotation["iscrowd"] = "0"
        content["annotations"][5]["category_id"] = "90"

    root = make_coco(tmp_path, edit=edit)
    assert check(root) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3
    assert err[0].endswith("the annotation 10 has the iscrowd '0', but 0 or 1 is needed. There are 3 like it.")
    assert "has the category '90'" in err[1]
    assert err[2] == "Training refuses the file for each of these 2 kinds of fault."
    assert not (root / "check.png").exists()


def test_check_reports_and_applies_the_exif_orientation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_coco(tmp_path)
    path = root / "train2017/000000000002.png"  # 40x40: the size does not reveal the orientation
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert check(root) == 0
    sheet = np.asarray(Image.open(root / "check.png"))
    assert "1 of 6 images have an EXIF orientation and are read upright, but no size shows" in capsys.readouterr().out
    assert check(root, "--exif", "stored") == 0
    assert "are read as they are stored, lying on their side or head, as set by exif: stored" in capsys.readouterr().out
    assert (sheet != np.asarray(Image.open(root / "check.png"))).any()


def test_picture_goes_below_runs_unless_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_coco(tmp_path / "coco")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    arguments = ["--json", str(root / "annotations/instances_train2017.json"), "--images", str(root / "train2017")]
    assert coco_check.main(arguments) == 0
    picture = Path("runs/coco_check/annotations_instances_train2017.png")
    assert f"samples drawn in {picture}" in capsys.readouterr().out
    assert picture.is_file()
    assert [path.name for path in Path().iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--json": "train2017"}, "is a folder, but the path of a COCO-format JSON is needed"),
        ({"--json": "nowhere.json"}, "There is no annotation file"),
        ({"--images": "nowhere"}, "nowhere, does not exist"),
        ({"--images": "annotations/instances_val2017.json"}, "is a file, but the folder of the images is needed"),
        ({"--out": "train2017"}, "is a folder, but the path of a picture is needed"),
        (
            {"--out": "annotations/instances_val2017.json/a.png"},
            "is a file, but a folder is needed: choose another path",
        ),
    ],
)
def test_check_of_wrong_paths_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    root = make_coco(tmp_path)
    places = {"--json": "annotations/instances_train2017.json", "--images": "train2017", "--out": "check.png"} | changes
    assert coco_check.main([word for flag, place in places.items() for word in (flag, str(root / place))]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Errno" not in captured.err


def test_export_into_a_file_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    data = tmp_path / "data.yaml"
    class_path = f"{RoomsInstanceDataModule.__module__}.{RoomsInstanceDataModule.__name__}"
    data.write_text(yaml.safe_dump({"class_path": class_path, "init_args": {"root": str(tmp_path / "rooms")}}))
    assert rooms_coco.main(["--data", str(data), "--out", str(tmp_path / "file" / "coco")]) == 1
    assert "file' is a file, but a folder is needed: choose another path" in capsys.readouterr().err
    assert not (tmp_path / "rooms").exists()


def test_rooms_are_exported_as_coco_and_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {name: getattr(SETTINGS, name) for name in ("height", "width", "n_video_scenes", "n_video_val",
                "n_video_test", "frames_per_clip", "n_stills", "n_stills_val", "n_stills_test")}  # fmt: skip
    data = tmp_path / "data.yaml"
    init_args = {"settings": settings, "root": str(tmp_path), "renderer": RENDERER, "processes": 0,
                 "min_box_side": 4, "min_area": 10}  # fmt: skip
    class_path = f"{RoomsInstanceDataModule.__module__}.{RoomsInstanceDataModule.__name__}"
    data.write_text(yaml.safe_dump({"class_path": class_path, "init_args": init_args}))
    out = tmp_path / "coco"
    assert rooms_coco.main(["--data", str(data), "--out", str(out)]) == 0
    assert "instances_train.json: 18 images, 36 objects" in capsys.readouterr().out
    module = CocoDataModule(
        root=str(out), train_json="annotations/instances_train.json", train_images="train", mask_share=1.0,
        val_json="annotations/instances_val.json", val_images="val", image_size=(24, 32),
    )  # fmt: skip
    module.setup("fit")
    rooms = RoomsInstanceDataModule(**(init_args | {"settings": SETTINGS}), image_size=(24, 32), mask_share=1.0)
    rooms.setup("fit")
    assert module.class_names == rooms.class_names
    assert module.category_ids == rooms.category_ids
    ours, theirs = rooms.datasets["train"].source.source, module.datasets["train"].source
    for index in range(3):
        one, two = ours.read(index, masks=True), theirs.read(index, masks=True)
        for name in ("image", "boxes", "labels", "masks", "image_id"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    truth = module.datasets["val"][0]["truth"]
    assert truth["crowd"].tolist() == [False, False, True]  # the small object is ignored
    assert decode_masks(truth["masks"], (24, 32)).sum(axis=(1, 2)).tolist() == [48, 204, 6]
    record = json.loads((out / "annotations/instances_val.json").read_text())["annotations"][0]
    assert record["camouflaged"] is True


def test_only_rooms_with_instances_are_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "datamodules.coco.datamodule.CocoDataModule", "--out", str(tmp_path)]
    assert rooms_coco.main(arguments) == 1
    assert "CocoDataModule cannot be exported" in capsys.readouterr().err
