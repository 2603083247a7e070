"""Raw video of NYU Depth v2: undistortion, K under crop, resize and flip, the clip list, and damaged files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datamodules.nyuv2.raw import NyuV2RawDataModule, read_list, undistort
from datamodules.samples.clips import ClipAugmentation
from tests.data.make_nyuv2_raw import OFFSETS, make_nyuv2_raw, write_ppm, written_image, written_path

FX, FY, CX, CY = 518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465
K1, K2, P1, P2, K3 = (
    0.20796615318809061,
    -0.58613825163911781,
    7.2231363135888329e-4,
    1.0479627195765181e-3,
    0.49856986684705107,
)
FLIPPED = ClipAugmentation(flip=1.0, jitter=0.0)


def brown(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distorted points of the plane z = 1 (Brown, 1966: radial and tangential distortion)."""
    r2 = x**2 + y**2
    radial = 1 + K1 * r2 + K2 * r2**2 + K3 * r2**3
    return (
        x * radial + 2 * P1 * x * y + P2 * (r2 + 2 * x**2),
        y * radial + P1 * (r2 + 2 * y**2) + 2 * P2 * x * y,
    )


def module(root: Path, **changes) -> NyuV2RawDataModule:
    return NyuV2RawDataModule(str(root), **({"batch_size": 2} | changes))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nyuv2_raw(tmp_path_factory.mktemp("nyuv2_raw"))


def test_undistortion_is_the_closed_form_of_the_lens() -> None:
    # Bilinear interpolation of a ramp is exact, so what is read says where it was read, up to OpenCV's 1/32 pixel.
    rows, columns = np.mgrid[:480, :640].astype(np.float32)
    seen_x, seen_y = undistort(columns), undistort(rows)  # type: ignore[arg-type]
    x, y = brown((columns.astype(float) - CX) / FX, (rows.astype(float) - CY) / FY)
    expected_x, expected_y = FX * x + CX, FY * y + CY
    inside = (expected_x > 1) & (expected_x < 638) & (expected_y > 1) & (expected_y < 478)
    assert inside[16:-16, 16:-16].all()
    assert np.abs(expected_x - columns)[16:-16, 16:-16].max() > 5  # the distortion is not negligible
    np.testing.assert_allclose(seen_x[inside], expected_x[inside], atol=1 / 30)
    np.testing.assert_allclose(seen_y[inside], expected_y[inside], atol=1 / 30)


def test_undistortion_agrees_with_opencv() -> None:
    image = written_image(0, 0)
    K, lens = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]]), np.array([[K1, K2, P1, P2, K3]])
    np.testing.assert_array_equal(undistort(image), cv2.undistort(image, K, lens))


def test_camera_of_the_samples_is_converted_cropped_scaled_and_flipped(root: Path) -> None:
    data = module(root, augmentation=FLIPPED)
    data.setup("fit")
    plain, flipped = data.datasets["train"][0]["K"], data.datasets["train"][0, 0]["K"]
    cx = (CX + 0.5 - 16) * 384 / 608
    cy = (CY + 0.5 - 16) * 288 / 448
    assert cx == pytest.approx(195.84, abs=5e-3)
    np.testing.assert_allclose(plain, [[327.700, 0, cx], [0, 333.945, cy], [0, 0, 1]], atol=1e-3)
    np.testing.assert_allclose(flipped, [[327.700, 0, 384 - cx], [0, 333.945, cy], [0, 0, 1]], atol=1e-3)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_point_in_space_is_found_where_the_camera_projects_it(tmp_path: Path, mirrored: bool) -> None:
    make_nyuv2_raw(tmp_path, scenes=1, targets=1, tests=1)
    point = np.array([-0.7, 0.45, 2.0])
    # The raw image: the point through the lens, drawn as a soft dot; pixel (0, 0) of OpenCV is the first centre.
    x, y = brown(point[0] / point[2], point[1] / point[2])
    rows, columns = np.mgrid[:480, :640]
    dot = np.exp(-((columns - (FX * x + CX)) ** 2 + (rows - (FY * y + CY)) ** 2) / (2 * 4**2))
    write_ppm(tmp_path / written_path(0, 4), np.repeat((250 * dot).astype(np.uint8)[..., None], 3, axis=2))
    data = module(tmp_path, augmentation=FLIPPED)
    data.setup("fit")
    sample = data.datasets["train"][(0, 0) if mirrored else 0]
    light = sample["image"][0].double().numpy()
    rows, columns = np.mgrid[:288, :384] + 0.5
    found = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    K = sample["K"].double().numpy()
    seen = K @ (point * (-1 if mirrored else 1, 1, 1))
    np.testing.assert_allclose(found, seen[:2] / seen[2], atol=0.1)


def test_samples_are_undistorted_and_cut_by_sixteen_pixels(root: Path) -> None:
    data = module(root, image_size=(448, 608))
    data.setup("fit")
    sample = data.datasets["train"][1]
    expected = undistort(written_image(0, 5))[16:-16, 16:-16]
    np.testing.assert_allclose(sample["image"].permute(1, 2, 0), expected / 255, atol=1e-6)
    assert sample["name"] == written_path(0, 5).removesuffix(".ppm")
    assert not sample["depth_mask"].any()


@pytest.mark.parametrize(
    ("window", "stride", "steps"), [(5, 1, (-2, -1, 0, 1, 2)), (3, 1, (-1, 0, 1)), (3, 4, (-4, 0, 4)), (1, 1, (0,))]
)
def test_clips_are_the_neighbours_in_temporal_order(
    root: Path, window: int, stride: int, steps: tuple[int, ...]
) -> None:
    data = module(root, window=window, stride=stride)
    data.setup("fit")
    dataset = data.datasets["train"]
    assert len(dataset) == 4  # two lines for each of two scenes
    for clip, (scene, target) in enumerate([(0, 4), (0, 5), (1, 4), (1, 5)]):
        sample = dataset[clip]
        blue = np.array([40 * scene + 5 * (target + step) for step in steps]) / 255
        images = sample["frames"] if window > 1 else sample["image"][None]
        assert ("frames" in sample) == (window > 1)
        np.testing.assert_allclose(images[:, 2].median(dim=-1).values.median(dim=-1).values, blue, atol=1e-6)
        torch.testing.assert_close(images[window // 2], sample["image"])


def test_frames_shared_by_clips_are_read_once(root: Path) -> None:
    data = module(root)
    source = data.make_source("train")
    assert len(source) == 2 * 6  # targets 4 and 5 with the frames 2 to 7
    assert len({source.read(index).name for index in range(len(source))}) == 12


def test_test_images_are_lone_cropped_frames(root: Path) -> None:
    data = module(root, image_size=(427, 561))
    data.setup("validate")
    data.setup("test")
    assert data.val_is_test
    for split in ("val", "test"):
        dataset = data.datasets[split]
        assert len(dataset) == 2
        assert "frames" not in dataset[0]
        np.testing.assert_allclose(dataset[0]["K"][:2, 2], [CX + 0.5 - 40, CY + 0.5 - 44], rtol=1e-6)
        mask = dataset[0]["depth_mask"][0]
        assert not mask[:10, :20].any()
        assert mask.sum() == mask.numel() - 200
    (batch,) = data.test_dataloader()
    assert batch["image"].shape == (2, 3, 427, 561)


def test_testing_needs_no_training_frames(tmp_path: Path) -> None:
    make_nyuv2_raw(tmp_path, scenes=1, targets=1, tests=1)
    (tmp_path / "train.txt").unlink()
    data = module(tmp_path)
    data.prepare_data()
    data.setup("test")
    assert len(data.test_dataloader()) == 1
    elsewhere = module(tmp_path / "elsewhere", test_root=str(tmp_path / "test"))  # an absolute path stands for itself
    elsewhere.setup("test")
    assert len(elsewhere.test_dataloader()) == 1


def test_batches_are_the_same_with_workers_and_memory(root: Path) -> None:
    common = {"augmentation": ClipAugmentation(), "seed": 3, "keypoints": True}
    data = module(root, **common)
    data.setup("fit")
    (first, second) = data.train_dataloader()
    assert first["frames"].shape == first["frames_jittered"].shape == (2, 5, 3, 288, 384)
    assert first["keypoints"].shape == (2, 1, 288, 384)
    assert 1000 < first["keypoints"][0].sum() < 2000  # 1773 wanted of 448x608 pixels, some meet when made smaller
    other = module(root, num_workers=1, cache=True, **common)
    other.setup("fit")
    for a, b in zip((first, second), other.train_dataloader(), strict=True):
        torch.testing.assert_close(a["frames_jittered"], b["frames_jittered"], rtol=0, atol=0)
        assert a["name"] == b["name"]


def test_a_part_of_the_list_may_be_trained_on(root: Path) -> None:
    data = module(root, train_subset=3)
    data.setup("fit")
    assert len(data.datasets["train"]) == 3


def test_broken_lists_name_the_line(tmp_path: Path) -> None:
    make_nyuv2_raw(tmp_path, scenes=1, targets=1, tests=1)
    path = tmp_path / "train.txt"
    line = path.read_text().strip()
    path.write_text(f"{line}\n\n{line.rsplit(' ', 1)[0]}\n")
    with pytest.raises(ValueError, match=r"train.txt, line 3: it holds 8 paths, expected 9: .* 0, -4, -3, -2, -1, 1,"):
        module(tmp_path).setup("fit")
    path.write_text(f"{line}\n{line.replace('bedroom_0000/r-1315251255', 'bedroom_0000/r-99')}\n")
    with pytest.raises(FileNotFoundError, match=r"train.txt, line 2: .*r-99.* does not exist: download"):
        module(tmp_path).setup("fit")
    path.write_text(line.replace("bedroom_0000", "bedroom_9"))
    with pytest.raises(FileNotFoundError, match=r"line 1: .*bedroom_9.* does not exist"):
        module(tmp_path).setup("fit")
    path.write_text("\n \n")
    with pytest.raises(ValueError, match=r"train.txt is empty"):
        module(tmp_path).setup("fit")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"train.txt is no UTF-8 text"):
        module(tmp_path).setup("fit")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no list of training frames at .*train.txt: set .*frame_list"):
        module(tmp_path).setup("fit")


def test_neighbours_that_are_not_used_need_not_exist(tmp_path: Path) -> None:
    make_nyuv2_raw(tmp_path, scenes=1, targets=1, tests=1)
    for frame in (0, 1, 7, 8):
        (tmp_path / written_path(0, frame)).unlink()
    data = module(tmp_path)
    data.setup("fit")
    assert data.datasets["train"][0]["frames"].shape == (5, 3, 288, 384)


@pytest.mark.parametrize("suffix", [".ppm", ".jpg"])
def test_broken_frames_name_file_and_line(tmp_path: Path, suffix: str) -> None:
    make_nyuv2_raw(tmp_path, scenes=1, targets=1, tests=1)
    path = (tmp_path / written_path(0, 3)).with_suffix(suffix)
    if suffix == ".jpg":
        cv2.imwrite(str(path), written_image(0, 3))
        listed = tmp_path / "train.txt"
        listed.write_text(listed.read_text().replace(written_path(0, 3), written_path(0, 3).replace(".ppm", ".jpg")))
    data = module(tmp_path)
    data.setup("fit")
    assert data.datasets["train"][0]["frames"].shape[0] == 5
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=rf"train.txt, line 1: cannot read .*{suffix}.*truncated"):
        data.datasets["train"][0]
    path.unlink()
    with pytest.raises(ValueError, match=rf"train.txt, line 1: cannot read .*{suffix}.*No such file"):
        data.datasets["train"][0]
    cv2.imwrite(str(path), written_image(0, 3)[:240])
    with pytest.raises(ValueError, match=r"train.txt, line 1: .* is 640x240, but the raw frames have 640x480"):
        data.datasets["train"][0]


def test_clips_beyond_the_listed_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clip of 5 frames with stride 3 reaches 6 steps .* up to 4 steps away"):
        module(Path("unused"), window=5, stride=3)


def test_list_keeps_the_order_of_the_offsets(root: Path) -> None:
    listed = read_list(root / "train.txt")
    assert listed[0].where.endswith("train.txt, line 1")
    assert tuple(listed[0].paths) == OFFSETS
    assert listed[3].paths == {offset: written_path(1, 5 + offset) for offset in OFFSETS}
