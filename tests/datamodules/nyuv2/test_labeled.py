"""Labelled part of NYU Depth v2: reversed axes, both splits and invalid files."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from datamodules.nyuv2.labeled import NyuV2LabeledDataModule, camera, read_split
from datamodules.samples.transforms import DepthAugmentation
from tests.data.make_nyuv2_labeled import make_nyuv2_labeled, true_depth, true_image


def module(root: Path, **changes) -> NyuV2LabeledDataModule:
    return NyuV2LabeledDataModule(str(root), **({"batch_size": 2, "split": "795/654"} | changes))


def test_frames_are_upright_in_metres_and_numbered_from_one(tmp_path: Path) -> None:
    make_nyuv2_labeled(tmp_path, frames=6)
    data = module(tmp_path, image_size=(480, 640))
    data.prepare_data()
    data.setup("test")
    assert [data.datasets["test"][i]["name"] for i in range(3)] == ["0001", "0003", "0005"]
    sample = data.datasets["test"][1]
    np.testing.assert_allclose(sample["image"].permute(1, 2, 0), true_image(2) / 255, atol=1e-6)
    np.testing.assert_allclose(sample["depth"][0], true_depth(2))
    np.testing.assert_allclose(sample["K"], [[518.8579, 0, 326.08245], [0, 519.46961, 254.23617], [0, 0, 1]], rtol=1e-6)
    raw = module(tmp_path, image_size=(480, 640), raw_depth=True)
    raw.setup("test")
    assert not raw.datasets["test"][1]["depth_mask"][0, :40].any()
    assert raw.datasets["test"][1]["depth_mask"][0, 40:].all()


def test_camera_agrees_with_the_crop_and_resize_of_a_published_pipeline() -> None:
    # 16 px cropped on each side, then 608x448 -> 384x288; the published numbers count from pixel centres throughout,
    # so the principal point differs by half a pixel before and after.
    K = camera()
    sx, sy = 384 / 608, 288 / 448
    np.testing.assert_allclose([K[0, 0] * sx, K[1, 1] * sy], [327.700, 333.945], atol=1e-3)
    np.testing.assert_allclose([(K[0, 2] - 0.5 - 16) * sx, (K[1, 2] - 0.5 - 16) * sy], [195.526, 152.830], atol=1e-3)


def test_seeded_split_equals_the_code_of_its_readme() -> None:
    train, test = read_split(Path("unused"), "1111/338", 1449)
    assert test == sorted(np.random.default_rng(338).permutation(1449)[:338].tolist())
    assert (len(train), len(test)) == (1111, 338)
    assert sorted(train + test) == list(range(1449))


def test_report_setting_loads_a_batch(tmp_path: Path) -> None:
    make_nyuv2_labeled(tmp_path)
    data = module(tmp_path, split="1111/338", augmentation=DepthAugmentation(), depth_scale="image_max")
    data.setup("fit")
    assert len(data.train_dataloader()) == 1111 // 2
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 128, 128)
    assert len(data.datasets["val"]) == 338
    scaled = batch["depth"] / batch["depth_scale_m"][:, None, None, None]
    assert scaled.amax(dim=(1, 2, 3)).tolist() == [1.0, 1.0]
    # A 480x480 crop resized to 128x128 scales both focal lengths by 128/480.
    np.testing.assert_allclose(batch["K"][:, 0, 0], 518.8579 * 128 / 480, rtol=2e-3)


def test_held_out_images_are_taken_from_training_only(tmp_path: Path) -> None:
    make_nyuv2_labeled(tmp_path, frames=20)
    data = module(tmp_path, held_out=3)
    parts = {part: set(data._indices(part)) for part in ("train", "val", "test")}
    assert {part: len(values) for part, values in parts.items()} == {"train": 7, "val": 3, "test": 10}
    assert not parts["train"] & parts["val"]
    assert parts["train"] | parts["val"] == set(range(1, 20, 2))
    assert set(module(tmp_path)._indices("val")) == set(range(0, 20, 2))


def test_validation_on_the_test_split_is_reported(tmp_path: Path) -> None:
    make_nyuv2_labeled(tmp_path, frames=20)
    for held_out, shared in ((0, True), (3, False)):
        data = module(tmp_path, held_out=held_out)
        data.setup("fit")
        data.setup("test")
        names = [{data.datasets[part][i]["name"] for i in range(len(data.datasets[part]))} for part in ("val", "test")]
        assert data.val_is_test is shared
        assert (names[0] == names[1]) is shared


def test_no_split_depends_on_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_nyuv2_labeled(tmp_path, frames=20)
    first = {part: module(tmp_path, held_out=4, seed=0)._indices(part) for part in ("train", "val", "test")}
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    for seed in (None, 5):
        data = module(tmp_path, held_out=4, seed=seed)
        assert {part: data._indices(part) for part in ("train", "val", "test")} == first


def test_a_split_of_other_sizes_than_the_official_one_is_refused(tmp_path: Path) -> None:
    make_nyuv2_labeled(tmp_path)
    numbers = np.arange(1, 1450)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": numbers[:1111], "testNdxs": numbers[1111:]})
    with pytest.raises(ValueError, match=r"has 1111 training and 338 test frames, not 795 and 654"):
        module(tmp_path).prepare_data()


def test_missing_truncated_and_foreign_files_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no .*labeled.mat: download .* set data.init_args.root"):
        module(tmp_path).prepare_data()
    path = make_nyuv2_labeled(tmp_path, frames=6)
    (tmp_path / "splits.mat").rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match=r"official split needs .*splits.mat"):
        module(tmp_path).prepare_data()
    (tmp_path / "splits.mat").write_text("no MATLAB file")
    with pytest.raises(ValueError, match=r"is not the data set's splits.mat"):
        module(tmp_path).prepare_data()
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": [1, 2], "testNdxs": [2, 9]})
    with pytest.raises(ValueError, match=r"frames 1 to 6 without overlap"):
        module(tmp_path).prepare_data()
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": [1, 2], "testNdxs": [3, 6]})
    with pytest.raises(ValueError, match=r"not the official split: 2 of 6 frames are in no part"):
        module(tmp_path).prepare_data()
    with pytest.raises(ValueError, match=r"belongs to 1449 frames, but .* holds 6"):
        module(tmp_path, split="1111/338").prepare_data()
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"truncated or no HDF5 file"):
        module(tmp_path).prepare_data()
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 480, 640, 3), np.uint8)
        file["depths"] = np.zeros((2, 480, 640), np.float32)
    with pytest.raises(ValueError, match=r"shape \(2, 480, 640, 3\) .* expected \(frames, 3, 640, 480\)"):
        module(tmp_path).prepare_data()
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(ValueError, match=r"no data set 'images'"):
        module(tmp_path).prepare_data()


def test_impossible_depth_names_the_frame(tmp_path: Path) -> None:
    path = make_nyuv2_labeled(tmp_path, frames=6)
    with h5py.File(path, "r+") as file:
        file["depths"][2, 5, 5] = np.nan
    data = module(tmp_path)
    data.setup("test")
    with pytest.raises(ValueError, match=r"frame 3: the depth holds 1 NaN"):
        data.datasets["test"][1]


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Split '1000/449' is not known; choose one of 1111/338, 795/654"):
        module(Path("unused"), split="1000/449")
