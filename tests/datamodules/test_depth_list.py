"""Evaluation lists of ScanNet and InteriorNet: layouts, units, sizes and invalid files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.depth_list import DepthListDataModule
from tests.data.make_depth_list import make_depth_list, written_depth, written_image


def module(root: Path, layout: str = "interiornet", **changes) -> DepthListDataModule:
    return DepthListDataModule(str(root), layout=layout, **({"batch_size": 2} | changes))


@pytest.mark.parametrize("flat", [False, True])
def test_scannet_depth_is_enlarged_to_its_images(tmp_path: Path, flat: bool) -> None:
    make_depth_list(tmp_path, "scannet", flat=flat)
    data = module(tmp_path, "scannet")
    data.setup("test")
    source = data.make_source("test")
    for number in range(2):
        frame = source.read(number)
        assert frame.name == f"scene0011_{number:02d}/color/1860"
        assert not frame.K_known
        assert frame.image.shape == (968, 1296, 3)
        assert np.abs(frame.image.astype(int) - written_image("scannet", number)).mean() < 2  # a JPEG
        # Millimetres 4 x + 3 y of the small map, at the pixel that holds the image's: at most half of it away.
        y, x = (np.mgrid[:968, :1296] + 0.5) * np.array([480 / 968, 640 / 1296])[:, None, None] - 0.5
        measured = frame.depth > 0
        assert measured[97:].all()
        assert not measured[:96].any()
        off = 1000 * frame.depth - (1000 + 500 * number + 4 * x + 3 * y)
        assert np.abs(off[measured]).max() <= 3.5 + 1e-3
        assert abs(off[measured].mean()) < 0.1  # a shift of half a pixel would make it 1 or more
    (batch,) = data.test_dataloader()
    assert batch["image"].shape == (2, 3, 288, 384)
    assert batch["depth"].min() == 0
    # The mask is depth > 0; depth is 0 (unknown) in the first tenth of the rows.
    np.testing.assert_array_equal(batch["depth_mask"], batch["depth"] > 0)
    assert 0.89 < batch["depth_mask"].float().mean() < 0.91


def test_interiornet_frames_are_read_as_they_are(tmp_path: Path) -> None:
    make_depth_list(tmp_path, "interiornet")
    source = module(tmp_path).make_source("val")
    frame = source.read(1)
    assert frame.name == "3FO4IF0OYUX1_Study/cam0/data/1"
    np.testing.assert_array_equal(frame.image, written_image("interiornet", 1))
    np.testing.assert_allclose(frame.depth, written_depth("interiornet", 1) / 1000, rtol=1e-6)


def test_pairs_units_and_camera_are_taken_from_the_arguments(tmp_path: Path) -> None:
    make_depth_list(tmp_path, "interiornet", count=1)
    image, depth = (f"3FO4IF0OYUX0_Study/{part}/data/1.png" for part in ("cam0", "depth0"))
    (tmp_path / "own.txt").write_text(f"{image} {depth}\n")
    for layout in ("pairs", "scannet"):  # two paths a line are taken as they stand
        data = module(
            tmp_path,
            layout,
            frame_list="own.txt",
            file_units_per_metre=500,
            intrinsics=(600.0, 610.0, 319.5, 239.5),
            image_size=(240, 320),
        )
        data.setup("test")
        sample = data.datasets["test"][0]
        assert sample["K_known"]
        # The corner convention first, then half the size.
        np.testing.assert_allclose(sample["K"], [[300, 0, 160], [0, 305, 120], [0, 0, 1]])
        assert sample["depth"].max() == pytest.approx(written_depth("interiornet", 0)[1::2, 1::2].max() / 500, rel=1e-6)


def test_validation_is_the_test_and_training_is_refused(tmp_path: Path) -> None:
    data = module(make_depth_list(tmp_path, "interiornet"))
    assert data.val_is_test
    data.setup("validate")
    assert len(data.val_dataloader()) == 1
    with pytest.raises(ValueError, match=r"test.txt are there to evaluate on: use validate or test"):
        data.setup("fit")


def test_broken_lists_name_the_line(tmp_path: Path) -> None:
    make_depth_list(tmp_path, "interiornet")
    path = tmp_path / "test.txt"
    first, second = path.read_text().split()

    def read(content: str, layout: str = "interiornet") -> None:
        path.write_text(content)
        module(tmp_path, layout).setup("test")

    with pytest.raises(ValueError, match=r"test.txt, line 2: it holds 3 paths, expected an image, or an image and"):
        read(f"{first}\n{second} a b\n")
    with pytest.raises(ValueError, match=r"test.txt, line 1: it holds 1 paths, expected an image and its depth"):
        read(first, layout="pairs")
    with pytest.raises(ValueError, match=r"line 1: .* lies in no folder 'color', in whose place 'depth' has the depth"):
        read(first, layout="scannet")
    with pytest.raises(ValueError, match=r"line 3: the image .* stands in line 1 already"):
        read(f"{first}\n\n{first}\n")
    with pytest.raises(FileNotFoundError, match=r"line 2: .*Attic/cam0/9.png does not exist: set data.init_args.root"):
        read(f"{first}\nAttic/cam0/9.png\n")
    with pytest.raises(ValueError, match=r"test.txt is empty"):
        read("")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no list of test images at .*test.txt"):
        module(tmp_path).setup("test")


def test_broken_files_name_the_line(tmp_path: Path) -> None:
    make_depth_list(tmp_path, "interiornet", count=1)
    image, depth = (tmp_path / f"3FO4IF0OYUX0_Study/{part}/data/1.png" for part in ("cam0", "depth0"))
    source = module(tmp_path).make_source("test")
    whole = depth.read_bytes()
    depth.write_bytes(whole[:2000])
    with pytest.raises(ValueError, match=r"test.txt, line 1: cannot read .*depth0.* copy the file again"):
        source.read(0)
    cv2.imwrite(str(depth), np.ones((480, 640), np.uint8))
    with pytest.raises(ValueError, match=r"line 1: cannot read .*only 8 bits"):
        source.read(0)
    cv2.imwrite(str(depth), np.ones((480, 480), np.uint16))
    with pytest.raises(ValueError, match=r"line 1: the image is 640x480 and the depth 480x480; .* same proportions"):
        source.read(0)
    cv2.imwrite(str(depth), np.zeros((480, 640), np.uint16))
    with pytest.raises(ValueError, match=r"line 1 \(1.png\): the depth is 0 \(unknown\) in every pixel"):
        source.read(0)
    depth.write_bytes(whole)
    image.write_bytes(image.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"test.txt, line 1: cannot read .*cam0"):
        source.read(0)


def test_unknown_layout_and_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Layout 'kitti' is not known; choose one of scannet, interiornet, pairs"):
        module(Path("unused"), "kitti")
    with pytest.raises(ValueError, match=r"file_units_per_metre has to be positive and finite, got 0"):
        module(Path("unused"), file_units_per_metre=0)
