"""Orientation of images in COCO-format files: boxes stay on their objects for all EXIF entries."""

import json
import logging
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from datamodules.coco.datamodule import CocoDataModule
from datamodules.coco.image import CocoImage
from datamodules.coco.images import read_image
from datamodules.files.image_heads import read_head
from structures.label_writer import LabelWriter

RED, GREY = (220, 30, 30), (90, 90, 90)
BOX = (8, 5, 12, 20)
"""x, y, width, height of the red object in the upright image."""

ORIENTATIONS = tuple(range(1, 9))
STORE = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
         8: "ROTATE_270"}  # fmt: skip
"""Rotation from the upright to the stored image, the inverse of that of the EXIF entry."""


def write(path: Path, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Write an image with a red object and an EXIF entry, and return the box of the object in the stored pixels."""
    height, width = size
    upright = np.full((height, width, 3), GREY, dtype=np.uint8)
    x, y, w, h = BOX
    upright[y : y + h, x : x + w] = RED
    picture = Image.fromarray(upright)
    if orientation in STORE:
        picture = picture.transpose(Image.Transpose[STORE[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, quality=95)
    return (np.asarray(picture).astype(int)[..., 0] - np.asarray(picture)[..., 1]) > 100


def make(root: Path, kinds: list[tuple[tuple[int, int], int, str]], name: str = "train") -> Path:
    """Write a data set with one object per image, given upright size, EXIF entry and orientation of the box."""
    folder = root / name
    folder.mkdir(parents=True)
    content: dict = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}]}
    for number, (size, orientation, drawn) in enumerate(kinds, start=1):
        file_name = f"{number}_exif{orientation}.jpg"
        stored = write(folder / file_name, size, orientation)
        box, shape = list(BOX), size
        if drawn == "stored":
            y, x = np.flatnonzero(stored.any(axis=1)), np.flatnonzero(stored.any(axis=0))
            box = [int(x[0]), int(y[0]), len(x), len(y)]
            shape = stored.shape
        content["images"].append({"id": number, "file_name": file_name, "height": shape[0], "width": shape[1]})
        content["annotations"].append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "iscrowd": 0})
    (root / f"{name}.json").write_text(json.dumps(content))
    return root


def module(root: Path, train: str = "train", val: str = "train", **changes) -> CocoDataModule:
    return CocoDataModule(
        root=str(root), train_json=f"{train}.json", train_images=train, val_json=f"{val}.json", val_images=val,
        batch_size=1, image_size=(48, 64), **changes,
    )  # fmt: skip


def redness(data: CocoDataModule, split: str = "train") -> list[float]:
    """Return the red share of each box: 1 if the box lies on the object."""
    source = data.make_instances(split)
    shares = []
    for index in range(len(source)):
        frame = source.read(index, masks=False)
        x1, y1, x2, y2 = frame.boxes[0].astype(int)
        inside = frame.image[y1:y2, x1:x2].astype(int)
        shares.append(float((inside[..., 0] - inside[..., 1] > 100).mean()))
    return shares


LANDSCAPE, SQUARE = (48, 64), (56, 56)


@pytest.mark.parametrize("drawn", ["stored", "upright"])
def test_all_orientations_follow_the_convention_shown_by_sizes(tmp_path: Path, drawn: str, caplog) -> None:
    kinds = [(size, orientation, drawn) for size in (LANDSCAPE, SQUARE) for orientation in ORIENTATIONS]
    data = module(make(tmp_path, kinds))
    with caplog.at_level(logging.WARNING):
        shares = redness(data)
    assert min(shares) > 0.95, shares
    how = {"stored": "as they are stored, lying", "upright": "upright, as the sizes"}[drawn]
    assert f"14 of 16 images have an EXIF orientation and are read {how}" in caplog.text
    assert "as the sizes of 4 of them in the JSON show" in caplog.text


def test_teacher_and_training_read_the_same_pixels(tmp_path: Path) -> None:
    data = module(make(tmp_path, [(LANDSCAPE, 6, "stored"), (SQUARE, 6, "stored"), (LANDSCAPE, 3, "stored")]))
    frames, source = data.make_source("train"), data.make_instances("train")
    for index in range(3):
        np.testing.assert_array_equal(frames.read(index).image, source.read(index, masks=False).image)


def test_ambiguous_images_are_read_upright_by_default(tmp_path: Path, caplog) -> None:
    kinds = [(LANDSCAPE, 3, "stored"), (SQUARE, 6, "stored"), (LANDSCAPE, 1, "stored")]
    root = make(tmp_path, kinds)
    with caplog.at_level(logging.WARNING):
        assert redness(module(root))[:2] != [1.0, 1.0]
    assert "2 of 3 images have an EXIF orientation and are read upright, but no size shows" in caplog.text
    assert "set exif: stored if boxes are misplaced" in caplog.text
    assert min(redness(module(root, exif="stored"))) > 0.95
    assert max(redness(module(root, exif="upright"))[:2]) < 0.6


def test_ambiguous_file_follows_the_other_splits(tmp_path: Path) -> None:
    make(tmp_path, [(LANDSCAPE, 6, "stored")])
    make(tmp_path, [(LANDSCAPE, 3, "stored"), (SQUARE, 8, "stored")], name="val")
    assert min(redness(module(tmp_path, val="val"), split="val")) > 0.95


def test_contradictions_are_refused_and_named(tmp_path: Path) -> None:
    root = make(tmp_path, [(LANDSCAPE, 6, "stored"), (LANDSCAPE, 8, "upright"), (SQUARE, 3, "upright")])
    with pytest.raises(
        ValueError, match=r"two conventions of orientation: 2_exif8.jpg are given as upright pictures, 1_"
    ):
        module(root).setup("fit")
    root = make(tmp_path / "other", [(LANDSCAPE, 6, "stored")])
    with pytest.raises(ValueError, match=r"exif is 'upright', but the sizes .* show the other for 1_exif6.jpg"):
        module(root, exif="upright").setup("fit")
    with pytest.raises(ValueError, match=r"exif is 'sideways', but must be one of auto, upright, stored"):
        module(root, exif="sideways")


def test_files_without_orientation_log_nothing(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert min(redness(module(make(tmp_path, [(LANDSCAPE, 1, "upright"), (SQUARE, 1, "upright")])))) > 0.95
    assert "EXIF" not in caplog.text


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_header_gives_size_and_orientation_and_pixels_are_read_both_ways(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, exif=exif)
    head = read_head(path)
    assert (head.stored, head.orientation) == ((16, 24), orientation)
    assert head.upright == ((24, 16) if orientation > 4 else (16, 24))
    with Image.open(path) as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    upright = read_image(CocoImage(1, path.name, *head.upright), tmp_path, upright=True)
    np.testing.assert_array_equal(upright, expected)
    stored = read_image(CocoImage(1, path.name, 16, 24), tmp_path, upright=False)
    if ending != "jpg":
        np.testing.assert_array_equal(stored, pixels)


def test_png_is_decoded_for_its_orientation_only_if_exif_follows_the_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 16)).save(tmp_path / "behind.png")
    content, entry = (tmp_path / "behind.png").read_bytes(), b"eXIf" + exif.tobytes()[6:]
    chunk = (len(entry) - 4).to_bytes(4, "big") + entry + zlib.crc32(entry).to_bytes(4, "big")
    (tmp_path / "behind.png").write_bytes(content[:-12] + chunk + content[-12:])
    assert read_head(tmp_path / "behind.png").orientation == 6
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"IDAT")
    (tmp_path / "a.png").write_bytes(content[: start + 200])  # not decodable
    assert read_head(tmp_path / "a.png").stored == (80, 80)


def test_pseudo_depth_of_the_other_orientation_is_refused(tmp_path: Path) -> None:
    make(tmp_path, [(SQUARE, 3, "stored"), (SQUARE, 6, "stored")])
    teacher = module(tmp_path)  # without exif: stored, so that it sees them upright
    names = teacher.make_source("train").names
    path = tmp_path / "depth.h5"
    settings = {"data": teacher.content_key}
    with LabelWriter(path, kind="depth", teacher="t", settings=settings) as writer:
        for name in names:
            writer.write(name, np.ones((4, 4), dtype=np.float32))
        writer.finish()
    depth = {"pseudo_depth": "file", "pseudo_depth_file": str(path)}
    module(tmp_path, **depth).setup("fit")
    with pytest.raises(ValueError, match=r"orientation read as upright, not .* read as stored"):
        module(tmp_path, exif="stored", **depth).setup("fit")
