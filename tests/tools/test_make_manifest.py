"""From folders to a manifest that the data module reads."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.manifest import ManifestDataModule
from datamodules.manifest_rows import read_manifest
from structures.depth_kind import DepthKind
from tests.data.make_manifest_data import HEIGHT, WIDTH, make_manifest_data, true_depth_mm
from tools.make_manifest import main, parse_split


def arguments(root: Path, out: str, *more: str) -> list[str]:
    return ["--images", f"{root}/color/*.png", "--depths", f"{root}/depth/*.png", "--depth-scale", "1000",
            "--out", str(root / out), *more]  # fmt: skip


@pytest.mark.parametrize("out", ["list.csv", "list.jsonl", "lists/far.csv"])
def test_written_manifest_is_read_with_its_camera_and_splits(tmp_path: Path, out: str) -> None:
    make_manifest_data(tmp_path)
    (tmp_path / "lists").mkdir()
    camera = ["--fx", "30", "--fy", "31", "--cx", "15.5", "--cy", "11.5"]
    assert main(arguments(tmp_path, out, *camera, "--split", "train:0-3,val:4,test:6-7")) == 0
    data = ManifestDataModule(str(tmp_path / out), image_size=(HEIGHT, WIDTH))
    data.setup()
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 4, "val": 1, "test": 2}
    sample = data.datasets["test"][0]
    assert sample["name"] == "006"
    np.testing.assert_allclose(sample["depth"][0], true_depth_mm(6) / 1000, rtol=1e-6)
    np.testing.assert_allclose(sample["K"], [[30, 0, 16], [0, 31, 12], [0, 0, 1]])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "train:0-9"], "has to lie inside the frames 0-7"),
        (["--split", "train:0-4,test:4"], "takes frame 4, which is in 'train' already"),
        (["--split", "learn:0-4"], "cannot be read"),
        (["--fx", "30"], "Give all of --fx"),
        (["--depths", "nothing/*.png"], "'nothing/*.png' finds no file; quote the pattern"),
        (["--kind", "deep"], "kind of truth 'deep' is not known; choose among metric"),
        (["--kind", "ordinal"], "--depth-scale is needed for metric depth, and for no other --kind"),
        (["--masks", "nothing/*.png"], "'nothing/*.png' finds no file; quote the pattern"),
        (["--out", "x.txt"], "has to end in .csv or .jsonl"),
    ],
)
def test_mistakes_cost_one_sentence_and_leave_no_file(tmp_path: Path, capsys, more: list[str], message: str) -> None:
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


def test_bare_split_takes_everything() -> None:
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
