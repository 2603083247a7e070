"""Manifests written from folders, and read by the data module."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.manifest.rows import read_manifest
from structures.depth_kind import DepthKind
from tests.data.make_manifest_data import HEIGHT, WIDTH, make_manifest_data, true_depth_mm
from tools.make_manifest import main, parse_split, time_split


def arguments(root: Path, out: str, *more: str) -> list[str]:
    return ["--images", f"{root}/color/*.png", "--depths", f"{root}/depth/*.png", "--depth-scale", "1000",
            "--out", str(root / out), *more]  # fmt: skip


@pytest.mark.parametrize("out", ["list.csv", "list.jsonl", "lists/far.csv"])
def test_written_manifest_is_read_with_its_camera_and_splits(tmp_path: Path, out: str) -> None:
    make_manifest_data(tmp_path)
    (tmp_path / "lists").mkdir()
    camera = ["--fx", "30", "--fy", "31", "--cx", "15.5", "--cy", "11.5"]
    assert main(arguments(tmp_path, out, *camera, "--split", "train:0-3,val:4,test:6-7")) == 0
    elsewhere = str(tmp_path) if out == "lists/far.csv" else None  # the images are not below the manifest
    data = ManifestDataModule(str(tmp_path / out), image_size=(HEIGHT, WIDTH), files_root=elsewhere)
    data.setup()
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 4, "val": 1, "test": 2}
    sample = data.datasets["test"][0]
    assert sample["name"] == "006"
    np.testing.assert_allclose(sample["depth"][0], true_depth_mm(6) / 1000, rtol=1e-6)
    np.testing.assert_allclose(sample["K"], [[30, 0, 16], [0, 31, 12], [0, 0, 1]])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "train:0-9"], "has to lie within the frames 0-7"),
        (["--split", "train:0-4,test:4"], "contains frame 4, which is in 'train' already"),
        (["--split", "learn:0-4"], "cannot be read"),
        (["--fx", "30"], "Give all of --fx"),
        (["--depths", "nothing/*.png"], "'nothing/*.png' matches no file; quote the pattern"),
        (["--kind", "deep"], "kind of ground truth 'deep' is not known; choose among metric"),
        (["--kind", "ordinal"], "--depth-scale is needed for metric depth, and for no other --kind"),
        (["--masks", "nothing/*.png"], "'nothing/*.png' matches no file; quote the pattern"),
        (["--split", "time"], "8 frames are too few for shares of 0.7, 0.1, 0.2 with gaps of 10 frames"),
        (["--gap", "3"], "--shares and --gap belong to --split time"),
        (["--out", "x.txt"], "has to end in .csv or .jsonl"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_no_file(tmp_path: Path, capsys, more: list[str], message: str) -> None:
    make_manifest_data(tmp_path, name="other.csv")
    assert main(arguments(tmp_path, "manifest.csv", *more)) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*manifest*"))


def test_manifest_without_test_rows_is_written_with_a_warning(tmp_path: Path, capsys) -> None:
    make_manifest_data(tmp_path, name="other.csv")
    assert main(arguments(tmp_path, "manifest.csv")) == 0
    assert "training refuses that: add rows of split 'test'" in capsys.readouterr().err
    assert main(arguments(tmp_path, "manifest.csv", "--split", "train:0-3,test:4-7")) == 0
    assert "refuses" not in capsys.readouterr().err


def test_a_split_without_a_range_has_all_frames() -> None:
    assert parse_split("test", 3) == ["test"] * 3


def test_kind_and_masks_are_written(tmp_path: Path, capsys) -> None:
    make_manifest_data(tmp_path, name="other.csv")
    given = ["--images", f"{tmp_path}/color/*.png", "--depths", f"{tmp_path}/depth/*.png", "--kind", "affine_disparity"]
    given += ["--masks", f"{tmp_path}/color/*.png", "--out", str(tmp_path / "list.csv")]
    assert main(given) == 0
    assert "refuses" not in capsys.readouterr().err
    rows = read_manifest(tmp_path / "list.csv")
    assert {row.kind for row in rows} == {DepthKind.AFFINE_DISPARITY}
    assert {row.depth_scale for row in rows} == {1.0}
    assert rows[3].mask == tmp_path / "color" / "003.png"
    assert main(given[:-4] + given[-2:]) == 0
    assert read_manifest(tmp_path / "list.csv")[0].mask is None


def write_pair(root: Path, image: str, depth: str, number: int) -> None:
    for name, pixels in ((image, np.full((4, 5, 3), 20 + 8 * number, np.uint8)), (depth, depth_mm(number))):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), pixels)


def depth_mm(number: int) -> np.ndarray:
    return np.full((4, 5), 100 * (number + 1), np.uint16)


def read_back(manifest: Path, split: str = "train") -> list[tuple[int, int]]:
    """Grey level and millimetres of each row, as numbers of frames."""
    source = ManifestDataModule(str(manifest)).make_source(split)  # type: ignore[arg-type]
    frames = [source.read(index) for index in range(len(source))]
    return [(round((int(f.image[0, 0, 0]) - 20) / 8), round(float(f.depth[0, 0]) * 10) - 1) for f in frames]


def test_equal_numbers_are_paired_in_temporal_order(tmp_path: Path, capsys) -> None:
    for number in range(12):
        write_pair(tmp_path, f"color/frame_{number}.png", f"depth/{number:05d}.png", number)
    assert main(arguments(tmp_path, "m.csv", "--split", "train:0-9,test:10-11")) == 0
    assert read_back(tmp_path / "m.csv") == [(number, number) for number in range(10)]
    assert read_back(tmp_path / "m.csv", "test") == [(10, 10), (11, 11)]
    assert (
        "12 images and depths paired by equal numbers: first frame_0.png + 00000.png, middle frame_6.png + 00006.png, "
        "last frame_11.png + 00011.png.\n"
    ) in capsys.readouterr().err


def test_time_stamps_are_paired_within_a_tolerance_that_is_printed(tmp_path: Path, capsys) -> None:
    # As in TUM RGB-D: unequal time stamps, trailing zeros omitted, and a frame without a partner on each side.
    for number in range(20):
        stamp = 1305031102.1 + number / 30
        write_pair(tmp_path, f"color/{stamp:.6f}".rstrip("0") + ".png", f"depth/{stamp + 0.0073:.6f}.png", number)
        write_pair(tmp_path, "color/x.png", f"mask/{stamp + 0.0073:.6f}.png", number)
    (tmp_path / "color" / "x.png").unlink()
    sorted((tmp_path / "color").iterdir())[5].unlink()
    sorted((tmp_path / "depth").iterdir())[12].unlink()
    split = ["--split", "train:0-15,test:16-17", "--masks", f"{tmp_path}/mask/*.png"]
    assert main(arguments(tmp_path, "m.csv", *split)) == 0
    expected = [number for number in range(20) if number not in (5, 12)]
    assert read_back(tmp_path / "m.csv") == [(number, number) for number in expected[:16]]
    assert read_back(tmp_path / "m.csv", "test") == [(18, 18), (19, 19)]
    err = capsys.readouterr().err
    assert "18 images and depths paired by nearest time stamps (largest gap 0.0073 s, tolerance 0.02 s); without" in err
    assert "a partner and left out: 1 image (1305031102.5.png), 1 depth (1305031102.273967.png)" in err
    rows = read_manifest(tmp_path / "m.csv")
    assert all(row.mask is not None and row.mask.name == row.depth.name for row in rows)
    assert main(arguments(tmp_path, "n.csv", "--tolerance", "0.005")) == 1
    assert "nearest time stamps are 0.007299 s apart, which is beyond the tolerance" in capsys.readouterr().err


def test_integers_are_time_stamps_with_a_time_unit(tmp_path: Path, capsys) -> None:
    for number in range(6):
        write_pair(tmp_path, f"color/{33 * number}.png", f"depth/{33 * number + 2}.png", number)
    assert main(arguments(tmp_path, "m.csv")) == 1
    assert "6 images have no partner (0.png, 33.png, 66.png, ...)" in capsys.readouterr().err
    split = ["--split", "train:0-3,test:4-5"]
    assert main(arguments(tmp_path, "m.csv", "--time-unit", "ms", *split)) == 0
    assert read_back(tmp_path / "m.csv") == [(number, number) for number in range(4)]


def test_scenes_are_paired_within_their_folders(tmp_path: Path) -> None:
    for scene in (1, 2, 10):
        for number in range(3):
            image, depth = f"scene{scene}/color/{number}.png", f"scene{scene}/depth/{number:04d}.png"
            write_pair(tmp_path, image, depth, scene + number)
    given = ["--images", f"{tmp_path}/*/color/*.png", "--depths", f"{tmp_path}/**/depth/*.png"]
    given += ["--depth-scale", "1000", "--out", str(tmp_path / "m.csv"), "--split", "train:0-5,test:6-8"]
    assert main(given) == 0
    assert read_back(tmp_path / "m.csv") == [(n, n) for n in (1, 2, 3, 2, 3, 4)]
    assert read_back(tmp_path / "m.csv", "test") == [(10, 10), (11, 11), (12, 12)]


def test_files_that_cannot_be_paired_are_one_sentence(tmp_path: Path, capsys) -> None:
    for number in range(6):
        write_pair(tmp_path, f"color/f{number}.png", f"depth/f{number}.png", number)
    both = arguments(tmp_path, "m.csv", "--depths", f"{tmp_path}/color/*.png")
    assert main(both) == 1
    assert "both match" in capsys.readouterr().err
    (tmp_path / "depth" / "f3.png").unlink()
    assert main(arguments(tmp_path, "m.csv")) == 1
    assert "cannot be paired one to one by equal names: 1 image has no partner (f3.png);" in capsys.readouterr().err
    for side, names in (("color", "abcdef"), ("depth", "uvwxy")):
        for path, name in zip(sorted((tmp_path / side).iterdir()), names, strict=True):
            path.rename(path.with_name(f"{name}.png"))
    (tmp_path / "color" / "f.png").unlink()
    assert main(arguments(tmp_path, "m.csv")) == 1
    assert "their order alone is no evidence; give partners the same name or number" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.csv"))


def test_the_folder_of_the_manifest_is_made_unless_a_file_has_its_name(tmp_path: Path, capsys) -> None:
    make_manifest_data(tmp_path, name="other.csv")
    assert main(arguments(tmp_path, "new/folder/m.csv")) == 0
    assert len(read_manifest(tmp_path / "new/folder/m.csv", files_root=tmp_path)) == 8
    assert f"data.init_args.files_root {tmp_path}" in capsys.readouterr().err
    assert main(arguments(tmp_path, "other.csv/m.csv")) == 1
    assert "other.csv of the manifest cannot be made: " in capsys.readouterr().err
    (tmp_path / "folder.csv").mkdir()
    assert main(arguments(tmp_path, "folder.csv")) == 1
    assert "folder.csv is a folder, but the manifest is a file: give --out a path in it" in capsys.readouterr().err


def test_a_split_in_time_has_the_shares_and_the_gaps() -> None:
    splits = parse_split(time_split(100, shares=(3, 1, 1), gap=5), 100)
    assert [splits.count(name) for name in ("train", "val", "test")] == [54, 18, 18]
    assert splits == ["train"] * 54 + [None] * 5 + ["val"] * 18 + [None] * 5 + ["test"] * 18
    assert time_split(12, shares=(0.5, 0, 0.5), gap=2) == "train:0-4,test:7-11"
    assert time_split(3, shares=(1, 1, 1), gap=0) == "train:0-0,val:1-1,test:2-2"


def test_a_split_in_time_that_is_impossible_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"20 frames are too few for shares of 0\.7, 0\.1, 0\.2 with gaps of 10"):
        time_split(20, shares=(0.7, 0.1, 0.2), gap=10)
    with pytest.raises(ValueError, match="--gap is -1, but a number of frames of at least 0 is needed"):
        time_split(20, shares=(0.7, 0.1, 0.2), gap=-1)
    for shares in ((0, 0.5, 0.5), (0.5, 0.5, 0), (0.7, -0.1, 0.4), (float("nan"), 0, 1)):
        with pytest.raises(ValueError, match="those of training and test have to be above 0"):
            time_split(20, shares=shares, gap=1)


def test_a_split_in_time_is_written_and_printed(tmp_path: Path, capsys) -> None:
    make_manifest_data(tmp_path)
    assert main(arguments(tmp_path, "list.csv", "--split", "time", "--shares", "4", "1", "1", "--gap", "1")) == 0
    assert "Split in time: train:0-3,val:5-5,test:7-7." in capsys.readouterr().err
    assert [(row.name, row.split) for row in read_manifest(tmp_path / "list.csv")] == [
        *((f"{index:03}", "train") for index in range(4)), ("005", "val"), ("007", "test"),
    ]  # fmt: skip
