"""Manifest data module: samples, orientation, table formats and error messages."""

import codecs
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.manifest.rows import read_manifest, read_records
from tests.data.make_manifest_data import HEIGHT, WIDTH, make_manifest_data, true_depth_mm, true_image, write_rows


def module(path: Path, **changes: Any) -> ManifestDataModule:
    return ManifestDataModule(str(path), **({"batch_size": 2, "image_size": (HEIGHT, WIDTH)} | changes))


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
@pytest.mark.parametrize("cache", [True, False])
def test_samples_equal_the_written_files(tmp_path: Path, name: str, cache: bool) -> None:
    make_manifest_data(tmp_path, name=name)
    data = module(tmp_path, cache=cache)  # a folder stands for its manifest
    data.prepare_data()
    data.setup()
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 5, "val": 3, "test": 3}
    for _ in range(2):
        sample = data.datasets["test"][1]
        np.testing.assert_allclose(sample["image"].permute(1, 2, 0), true_image(6) / 255, atol=1e-6)
        np.testing.assert_allclose(sample["depth"][0], true_depth_mm(6) / 1000, rtol=1e-6)
        assert torch.equal(sample["depth_mask"], sample["depth"] > 0)
        # Intrinsics are relative to pixel centres by default (OpenCV): 0.5 is added.
        np.testing.assert_allclose(sample["K"], [[30, 0, 16], [0, 31, 12], [0, 0, 1]])
        assert sample["K_known"]
        assert sample["name"] == "color/006"
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].shape == (2, 3, HEIGHT, WIDTH)


def test_corner_convention_and_other_depth_files(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    metres = true_depth_mm(0).astype(np.float64) / 1000
    np.save(tmp_path / "depth" / "metres.npy", metres)
    write_rows(path, [{"image": "color/000.png", "depth": "depth/metres.npy", "split": "test"}])
    data = module(path, file_units_per_metre=1.0, intrinsics=(30, 30, 16, 12), K_convention="corner")
    data.setup("test")
    np.testing.assert_allclose(data.datasets["test"][0]["depth"][0], metres, rtol=1e-6)
    np.testing.assert_allclose(data.datasets["test"][0]["K"], [[30, 0, 16], [0, 30, 12], [0, 0, 1]])


def test_unknown_camera_has_an_assumed_field_of_view(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    write_rows(path, [{"image": "color/000.png", "depth": "depth/000.png", "split": "test", "depth_scale": 1000}])
    data = module(path, default_field_of_view_degrees=90.0)
    data.setup("test")
    sample = data.datasets["test"][0]
    assert not sample["K_known"]
    np.testing.assert_allclose(sample["K"], [[16, 0, 16], [0, 16, 12], [0, 0, 1]], rtol=1e-6)  # tan 45 deg = 1


def good_row(**changes: Any) -> dict[str, Any]:
    row = {"image": "color/000.png", "depth": "depth/000.png", "split": "test", "depth_scale": 1000}
    return {key: value for key, value in (row | changes).items() if value is not None}


BAD_ROWS = {
    "no image column": (good_row(image=None), r"line 2: column 'image' is missing"),
    "no depth scale": (good_row(depth_scale=None), r"column 'depth_scale' .* is missing; add it, or set .*units_per"),
    "missing file": (good_row(depth="depth/999.png"), r"line 2: the depth file .*999.png does not exist"),
    "unknown column": (good_row(foo=1), r"column 'foo' is not known; the columns are image"),
    "unknown split": (good_row(split="dev"), r"split 'dev' is not known; use train, val or test"),
    "negative scale": (good_row(depth_scale=-1), r"depth_scale .* positive, got -1"),
    "scale in words": (good_row(depth_scale="mm"), r"depth_scale has to be a finite number, but it is 'mm'"),
    "half a camera": (good_row(fx=30, fy=30), r"cx, cy missing; give all of fx, fy, cx and cy or none"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_wrong_rows_are_refused_before_anything_starts(tmp_path: Path, case: str) -> None:
    row, message = BAD_ROWS[case]
    path = make_manifest_data(tmp_path)
    write_rows(path, [row])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        module(path).prepare_data()


def test_wrong_manifests_are_refused(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    write_rows(path, [good_row(), good_row()])
    with pytest.raises(ValueError, match=r"line 3: the name 'color/000' was used before \(.*line 2\)"):
        module(path).prepare_data()
    path.write_text("image,depth\n")
    with pytest.raises(ValueError, match="has no rows"):
        module(path).prepare_data()
    path.write_text("image,depth\na.png,b.png,c.png\n")
    with pytest.raises(ValueError, match="line 2: there are more values than columns"):
        read_records(path)
    with pytest.raises(FileNotFoundError, match=r"no manifest at .*nowhere.csv: .*tools.make_manifest"):
        module(tmp_path / "nowhere.csv").prepare_data()
    (tmp_path / "list.txt").write_text("x")
    with pytest.raises(ValueError, match=r"ends in .csv, .tsv or .jsonl, but this one is called list.txt"):
        module(tmp_path / "list.txt").prepare_data()
    (tmp_path / "list.jsonl").write_text('{"image": 1}\n\n{broken\n')
    with pytest.raises(ValueError, match=r"line 3: this is no JSON object"):
        module(tmp_path / "list.jsonl").prepare_data()
    write_rows(path, [good_row(split="train")])
    with pytest.raises(ValueError, match=r"no row of split 'test'"):
        module(path).setup("test")
    with pytest.raises(ValueError, match="K_convention 'corners' is not known"):
        module(path, K_convention="corners")


def depth_with(value: float) -> np.ndarray:
    depth = true_depth_mm(0).astype(np.float32)
    depth[3, 4] = value
    return depth


BAD_FILES: dict[str, tuple[dict[str, Any], np.ndarray | bytes | None, str]] = {
    "nan": ({}, depth_with(np.nan), r"line 2 .*depth holds 1 NaN or infinite"),
    "infinite": ({}, depth_with(np.inf), r"depth holds 1 NaN or infinite"),
    "negative": ({}, depth_with(-5.0), r"depth goes down to -0.005 m"),
    "all zero": ({}, np.zeros((HEIGHT, WIDTH)), r"depth is 0 \(unknown\) in every pixel"),
    "other size": ({}, np.ones((HEIGHT, WIDTH - 2)), r"image is 32x24 but the depth has shape \(24, 30\)"),
    "two channels": ({}, np.ones((HEIGHT, WIDTH, 2)), r"expected one channel of numbers"),
    "empty": ({}, np.ones((0, WIDTH)), r"000.npy is an empty array of shape \(0, 32\)"),
    "text": ({}, np.full((HEIGHT, WIDTH), "near"), r"holds <U4 values of shape \(24, 32\), expected one channel of"),
    "garbage": ({}, b"not an array", r"no readable .npy array"),
    "outside": ({"fx": 30, "fy": 30, "cx": 40, "cy": 12}, None, r"point \(40.5, 12.5\) lies outside the 32x24 image"),
    "no focal": ({"fx": 0, "fy": 30, "cx": 16, "cy": 12}, None, r"focal lengths are in pixels and positive"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_wrong_content_names_file_and_row(tmp_path: Path, case: str) -> None:
    changes, content, message = BAD_FILES[case]
    path = make_manifest_data(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "depth" / "000.npy").write_bytes(content)
    elif content is not None:
        np.save(tmp_path / "depth" / "000.npy", content)
    row = good_row(**({"depth": "depth/000.npy"} if content is not None else {}), **changes)
    write_rows(path, [row])
    data = module(path)

    def read() -> None:
        data.setup("test")  # invalid cameras are refused here
        data.datasets["test"][0]

    with pytest.raises(ValueError, match=message) as caught:
        read()
    assert f"{path}, line 2" in str(caught.value)


def test_unreadable_and_8_bit_files_are_named(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    write_rows(path, [good_row()])
    data = module(path)
    data.setup("test")
    cv2.imwrite(str(tmp_path / "depth" / "000.png"), np.ones((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(ValueError, match=r"line 2: cannot read .*000.png' .* only 8 bits"):
        data.datasets["test"][0]
    (tmp_path / "depth" / "000.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(ValueError, match=r"line 2: cannot read .*depth.000.png' as a 16-bit .*; repair the file or"):
        data.datasets["test"][0]
    (tmp_path / "color" / "000.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"line 2: cannot read .*color.000.png' as an image: .*; repair the file or"):
        data.datasets["test"][0]


def test_truncated_jpeg_is_refused_and_not_filled_with_grey(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    write_rows(path, [good_row(image="color/000.jpg")])
    cv2.imwrite(str(tmp_path / "color" / "000.jpg"), true_image(0))
    whole = (tmp_path / "color" / "000.jpg").read_bytes()
    (tmp_path / "color" / "000.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    data = module(path)
    data.setup("test")
    with pytest.raises(ValueError, match=r"manifest.csv, line 2: cannot read .*000.jpg' as an image: .*truncated"):
        data.datasets["test"][0]


@pytest.mark.parametrize("depth_lies", ["stored", "upright"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_image_depth_mask_and_k_are_turned_upright_together(
    tmp_path: Path, orientation: int, depth_lies: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_manifest_data(tmp_path)
    quarter = orientation in (6, 8)
    # Row 2 is a quarter turn whose size tells how depth lies, for row 1 where it may not.
    rows = [good_row(mask="mask.png", fx=30, fy=31, cx=12.5, cy=11.5)]
    rows += [good_row(image="color/001.png", depth="depth/001.png")] if depth_lies == "upright" else []
    write_rows(path, rows)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:5, 3:9] = 1
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    upright = {
        name: np.rot90(stored, turns)
        for name, stored in (("image", true_image(0)), ("depth", true_depth_mm(0)), ("mask", mask))
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(true_image(0)).save(tmp_path / "color" / "000.png", exif=exif)
    exif[0x0112] = 6
    Image.fromarray(true_image(1)).save(tmp_path / "color" / "001.png", exif=exif)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    if depth_lies == "upright":
        cv2.imwrite(str(tmp_path / "depth" / "000.png"), np.ascontiguousarray(upright["depth"]))
        cv2.imwrite(str(tmp_path / "depth" / "001.png"), np.ascontiguousarray(np.rot90(true_depth_mm(1), -1)))
        cv2.imwrite(str(tmp_path / "mask.png"), np.ascontiguousarray(upright["mask"]))
    frame = module(path).make_source("test").read(0)
    np.testing.assert_array_equal(frame.image, upright["image"])
    np.testing.assert_allclose(frame.depth * 1000, upright["depth"] * (upright["mask"] > 0), rtol=1e-6)
    # The principal point (13, 12) of 32x24: a quarter turn shows that it is of the stored image; for half a turn depth
    # decides.
    expected = {1: (30, 31, 13, 12), 3: (30, 31, 19, 12), 6: (31, 30, 12, 13), 8: (31, 30, 12, 19)}[orientation]
    if orientation == 3 and depth_lies == "upright":
        expected = (30, 31, 13, 12)
    assert (frame.K[0, 0], frame.K[1, 1], frame.K[0, 2], frame.K[1, 2]) == expected
    assert ("taken to lie as stored" in caplog.text) == (orientation == 3 and depth_lies == "stored")
    assert frame.image.shape[:2] == ((WIDTH, HEIGHT) if quarter else (HEIGHT, WIDTH))


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.jsonl"])
def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    path = make_manifest_data(tmp_path, name=name)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    data = module(path)
    data.setup()
    assert len(data.datasets["train"]) == 5


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_manifest_of_another_encoding_is_one_sentence(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes("image,depth\nKüche.png,Küche_d.png\n".encode(encoding))
    with pytest.raises(
        ValueError, match=r"^.*manifest.csv is not UTF-8 text \(byte 0x.*\): save it as UTF-8"
    ) as caught:
        module(path).prepare_data()
    assert "\n" not in str(caught.value)


def test_manifest_without_test_rows_is_refused_before_training(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    write_rows(path, [good_row(split="train"), good_row(split="val", name="b")])
    sentence = r"manifest.csv has no row of split 'test', on which .*--split train:0-99,test:100-139"
    with pytest.raises(ValueError, match=sentence):
        module(path).prepare_data()
    with pytest.raises(ValueError, match=sentence):
        module(path).setup("fit")


def test_validation_on_test_rows_is_reported(tmp_path: Path) -> None:
    path = make_manifest_data(tmp_path)
    data = module(path)
    data.setup("fit")
    assert data.val_is_test
    assert [frame["name"] for frame in (data.datasets["val"][i] for i in range(3))] == [
        f"color/00{i}" for i in (5, 6, 7)
    ]
    write_rows(path, [good_row(split=split, name=split) for split in ("train", "val", "test")])
    data = module(path)
    data.setup("fit")
    assert not data.val_is_test
    assert data.datasets["val"][0]["name"] == "val"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "image;depth;depth_scale;fx;fy;cx;cy\r\na.png;a_d.png;1000;525,5;526;31,5;23,5\r\n;;;;;;\r\n"),
        ("utf-8", "sep=;\nimage;depth;depth_scale;fx;fy;cx;cy\na.png;a_d.png;1000;525,5;526;31,5;23,5\n"),
        ("utf-16", "image\tdepth\tdepth_scale\tfx\tfy\tcx\tcy\na.png\ta_d.png\t1000\t525,5\t526\t31,5\t23,5\n"),
        ("utf-8", "image, depth, depth_scale, fx, fy, cx, cy\na.png, a_d.png, 1e3, 525.5, 526, 31.5, 23.5\n"),
        ("utf-8", "image;depth;depth_scale;fx;fy;cx;cy\na.png;a_d.png;1000;525.5;526;31.5;23.5\n"),
    ],
)
def test_tables_of_any_spreadsheet_are_read(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    for name in ("a.png", "a_d.png"):
        (tmp_path / name).touch()
    (row,) = read_manifest(path)
    assert row.intrinsics == (525.5, 526.0, 31.5, 23.5)
    assert row.depth_scale == 1000
    assert (row.image, row.depth) == (tmp_path / "a.png", tmp_path / "a_d.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image;depth;depth_scale\na;b;5,5\nc;d;1.000\n",
            r"line 2: depth_scale is '5,5' with a dec.* line 3 has '1.000'",
        ),
        ("image;depth;depth_scale\na;b;1.525,5\n", r"line 2: depth_scale has to be .*, but it is '1.525,5' \(write it"),
        ('image,depth,depth_scale\na,b,"525,5"\n', r"line 2: depth_scale has to be .*, but it is '525,5' \(write it"),
        ("image;depth\na;b;c\n", r"line 2: there are more values than columns in the head"),
    ],
)
def test_numbers_that_could_mean_two_things_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        read_manifest(path, depth_scale=1000.0)


def test_names_with_accents_match_however_they_are_encoded(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFD", name) for name in ("küche/büro.png", "küche/büro_d.png")]
    (tmp_path / names[0]).parent.mkdir()
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "manifest.csv").write_text(
        unicodedata.normalize("NFC", "image,depth\nküche/büro.png,küche/büro_d.png\n"), encoding="utf-8"
    )
    (row,) = read_manifest(tmp_path / "manifest.csv", depth_scale=1000.0)
    assert [row.image, row.depth] == [tmp_path / name for name in names]


def test_tables_of_different_spreadsheets_give_equal_rows(tmp_path):
    """Excel's "CSV (Macintosh)" ends lines with a carriage return; names may have capitals, values spaces around."""
    path = make_manifest_data(tmp_path)
    wanted = read_manifest(path)
    lines = path.read_text().split("\n")
    lines[0] = lines[0].title()
    path.write_bytes("\r".join(line.replace(",", " ; ") for line in lines).encode())
    assert read_manifest(path) == wanted


def test_headers_without_known_columns_or_with_duplicates_are_refused(tmp_path):
    path = make_manifest_data(tmp_path)
    head, rows = path.read_text().split("\n", 1)
    path.write_text(rows)
    with pytest.raises(ValueError, match=r"the first line has to name the columns \(image, depth"):
        read_manifest(path)
    path.write_text(f"{head},image\n{rows}")
    with pytest.raises(ValueError, match="the column 'image' occurs twice"):
        read_manifest(path)


def test_images_in_both_training_and_test_are_reported(tmp_path, caplog):
    path = make_manifest_data(tmp_path)
    read_manifest(path)
    assert not caplog.messages
    path.write_text(path.read_text().replace("color/006.png", "color/../color/001.png"))
    read_manifest(path)
    assert "of split 'test' is trained on too (line 3); 1 validation or test rows have such an image" in caplog.text
    assert "line 8: the image 001.png" in caplog.text
