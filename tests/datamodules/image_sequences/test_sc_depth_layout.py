"""Data sets in SC-Depth's layout: clips of scenes, single test images, and error messages."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datamodules.image_sequences.sc_depth_layout import ScDepthDataModule, read_k
from tests.data.make_frames_video import HEIGHT, WIDTH, true_depth_mm, true_image
from tests.data.make_sc_depth import K, make_sc_depth


def module(root: Path, **changes: Any) -> ScDepthDataModule:
    return ScDepthDataModule(str(root), **({"batch_size": 2, "image_size": (HEIGHT, WIDTH), "window": 3} | changes))


def names(data: ScDepthDataModule, split: str) -> list[str]:
    dataset = data.datasets[split]  # type: ignore[index]
    return [str(dataset[index]["name"]) for index in range(len(dataset))]  # type: ignore[arg-type]


def test_scenes_are_clips_and_test_images_are_single_frames(tmp_path: Path) -> None:
    data = module(make_sc_depth(tmp_path))
    data.prepare_data()
    data.setup()
    assert names(data, "train") == [f"Scene{scene:04d}/{frame:07d}" for scene in (0, 1) for frame in range(1, 5)]
    assert names(data, "val") == [f"Scene0002/{frame:07d}" for frame in range(1, 5)]
    assert names(data, "test") == ["0000", "0001"]
    assert not data.val_is_test

    clip = data.datasets["train"][5]
    for position, frame in enumerate((1, 2, 3)):
        difference = clip["frames"][position].permute(1, 2, 0).numpy() * 255 - true_image(frame, seed=1)
        assert np.abs(difference).mean() < 4  # JPEG
    np.testing.assert_allclose(clip["K"], np.array([[60.0, 0, 32], [0, 62, 24], [0, 0, 1]]))
    assert clip["K_known"]
    assert not clip["depth_mask"].any()

    np.testing.assert_allclose(data.datasets["val"][0]["depth"][0], true_depth_mm(1) / 1000, rtol=1e-6)
    test = data.datasets["test"][1]
    assert "frames" not in test
    np.testing.assert_allclose(test["image"].permute(1, 2, 0), true_image(1, seed=99) / 255, atol=1e-6)
    np.testing.assert_allclose(test["depth"][0], true_depth_mm(101) / 1000, rtol=1e-6)


def test_single_images_use_the_common_k_of_all_scenes(tmp_path: Path) -> None:
    data = module(make_sc_depth(tmp_path), K_convention="corner", default_field_of_view_degrees=90.0)
    np.testing.assert_allclose(data.make_source("test").read(0).K, K)
    assert data.make_source("test").read(0).K_known
    np.savetxt(tmp_path / "Training" / "Scene0001" / "cam.txt", np.array([[70.0, 0, 31.5], [0, 72, 23.5], [0, 0, 1]]))
    guessed = data.make_source("test").read(0)
    np.testing.assert_allclose(guessed.K, [[32, 0, 32], [0, 32, 24], [0, 0, 1]])
    assert not guessed.K_known
    np.savetxt(tmp_path / "Testing" / "cam.txt", K)
    np.testing.assert_allclose(data.make_source("test").read(0).K, K)


def test_single_images_of_another_size_do_not_use_the_k_of_the_scenes(tmp_path: Path) -> None:
    make_sc_depth(tmp_path)
    for folder, pixels in (("color", np.zeros((24, 32, 3), np.uint8)), ("depth", np.ones((24, 32), np.uint16))):
        cv2.imwrite(str(tmp_path / "Testing" / folder / "0000.png"), pixels)
    source = module(tmp_path).make_source("test")
    assert not source.read(0).K_known
    assert source.read(1).image.shape == (HEIGHT, WIDTH, 3)  # single images may differ in size


def test_scenes_without_lists(tmp_path: Path) -> None:
    data = module(make_sc_depth(tmp_path, lists=False))
    data.setup()
    assert len(names(data, "train")) == 12
    assert names(data, "val") == names(data, "test") == ["0000", "0001"]
    assert data.val_is_test
    (tmp_path / "val.txt").write_text("Scene0001\n\n")  # in the root, as some have it
    listed = module(tmp_path)
    listed.setup()
    assert {name.split("/")[0] for name in names(listed, "train")} == {"Scene0000", "Scene0002"}
    assert {name.split("/")[0] for name in names(listed, "val")} == {"Scene0001"}
    assert not listed.val_is_test


def test_folder_of_validation_images(tmp_path: Path) -> None:
    make_sc_depth(tmp_path, lists=False)
    (tmp_path / "Testing").rename(tmp_path / "Validation")
    (tmp_path / "Training").rename(tmp_path / "training")
    data = module(tmp_path)
    data.setup()
    assert names(data, "val") == names(data, "test") == ["0000", "0001"]
    assert data.val_is_test


def test_scenes_of_val_txt_replace_missing_test_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = module(make_sc_depth(tmp_path, tested=0), evaluation="frames", depth_units_per_metre=5000.0)
    data.setup()
    assert names(data, "test") == names(data, "val") == [f"Scene0002/{frame:07d}" for frame in range(6)]
    np.testing.assert_allclose(data.datasets["test"][3]["depth"][0], true_depth_mm(3) / 5000, rtol=1e-6)
    assert data.val_is_test
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} has no folder Testing: testing on what it validates on."
    ]


def test_clips_are_filtered_by_motion_if_limits_are_set(tmp_path: Path) -> None:
    make_sc_depth(tmp_path)
    for frame in range(6):
        cv2.imwrite(str(tmp_path / "Training" / "Scene0000" / f"{frame:07d}.jpg"), true_image(0))
    data = module(tmp_path, min_flow=0.003)
    data.setup("fit")
    assert {name.split("/")[0] for name in names(data, "train")} == {"Scene0001"}


K_TEXTS = {
    "eight numbers": ("1 0 0 0 1 0 0 0", r"cam.txt has to hold the nine finite numbers of K, but it holds \[1.0"),
    "nan": ("60 0 nan 0 60 24 0 0 1", r"nine finite numbers"),
    "words": ("a b c", r"has to hold the nine numbers of K \(could not convert"),
    "another matrix": ("60 0 32 0 60 24 0 0 0", r"is no K, whose lower left is 0 and lower right 1"),
}


@pytest.mark.parametrize("case", K_TEXTS)
def test_wrong_k_has_one_sentence(tmp_path: Path, case: str) -> None:
    text, message = K_TEXTS[case]
    (tmp_path / "cam.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_k(tmp_path / "cam.txt", "centre")


def test_k_may_have_commas(tmp_path: Path) -> None:
    (tmp_path / "cam.txt").write_text("60, 0, 32\n0, 60, 24\n0, 0, 1\n")
    camera = read_k(tmp_path / "cam.txt", "corner")
    np.testing.assert_array_equal(camera.K, [[60, 0, 32], [0, 60, 24], [0, 0, 1]])


def test_wrong_layouts_have_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*Training, in which SC-Depth keeps its scenes"):
        module(tmp_path).prepare_data()
    make_sc_depth(tmp_path, tested=0, lists=False)
    with pytest.raises(
        FileNotFoundError, match=r"has nothing to evaluate on: it needs Testing/color and Testing/depth"
    ):
        module(tmp_path).prepare_data()
    training = tmp_path / "Training"
    (training / "val.txt").write_text("Scene0007\n")
    with pytest.raises(FileNotFoundError, match=r"The scene .*Scene0007 does not exist or holds no images"):
        module(tmp_path).prepare_data()
    (training / "train.txt").write_text("Scene0007\nScene0000\n")
    with pytest.raises(ValueError, match=r"the scene 'Scene0007' is in both train.txt and val.txt"):
        module(tmp_path).prepare_data()
    (training / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"Training has no scene to train on"):
        module(tmp_path).prepare_data()
    (training / "train.txt").write_text("Scene0000\n")
    (training / "Scene0000" / "cam.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no .*Scene0000.cam.txt: every scene needs its 3x3 K"):
        module(tmp_path).prepare_data()


def test_wrong_test_folders_have_one_sentence(tmp_path: Path) -> None:
    make_sc_depth(tmp_path)
    (tmp_path / "Testing" / "depth" / "0001.png").unlink()
    with pytest.raises(ValueError, match=r"by equal names: 1 image has no partner \(0001.png\)"):
        module(tmp_path).prepare_data()
    (tmp_path / "Testing" / "color").rename(tmp_path / "Testing" / "images")
    with pytest.raises(FileNotFoundError, match=r"Testing.color does not exist or holds no images"):
        module(tmp_path).prepare_data()


def test_wrong_arguments_have_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="K_convention 'corners' is not known"):
        module(tmp_path, K_convention="corners")
    with pytest.raises(ValueError, match="is 200 degrees, but has to lie between 5 and 170"):
        module(tmp_path, default_field_of_view_degrees=200.0)
