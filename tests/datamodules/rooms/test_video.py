"""Clips of rooms against the stored arrays: windows, exact poses, exact labels, and label files."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from datamodules.rooms.settings import RoomsSettings, Sequence, plan
from datamodules.rooms.store import Arrays
from datamodules.rooms.trajectory import look
from datamodules.rooms.video import RoomsVideoDataModule
from datamodules.samples.clips import ClipAugmentation
from geometry.camera import unproject
from geometry.normals import normals_from_points
from structures.label_writer import LabelWriter
from tests.data.make_rooms import TINY, render_fake

RENDERER = f"{__name__}:render_turned"


def render_turned(settings: RoomsSettings, sequence: Sequence) -> Arrays:
    """Return random arrays with rotated cameras; the poses of the fake renderer have no rotation."""
    arrays = render_fake(settings, sequence)
    generator = np.random.default_rng(sequence.scene_seed + 1)
    for k in range(sequence.n_frames):
        yaw, pitch, roll = generator.uniform(-1, 1, 3)
        arrays["T_world_camera"][k] = look(generator.normal(size=3), yaw, pitch, roll)
    return arrays


def module(root: Path, **changes: Any) -> RoomsVideoDataModule:
    arguments: dict[str, Any] = {"settings": TINY, "root": str(root), "processes": 0, "renderer": RENDERER}
    arguments |= {"image_size": (24, 32), "batch_size": 2, "window": 5}
    data = RoomsVideoDataModule(**(arguments | changes))
    data.prepare_data()
    return data


def samples(data: RoomsVideoDataModule, split: str) -> list[Any]:
    dataset: Any = data.datasets[split]  # type: ignore[index]
    return [dataset[index] for index in range(len(dataset))]


def videos(split: str) -> list[Sequence]:
    return [s for s in plan(TINY) if s.split == split and s.part == "video"]


@pytest.mark.parametrize(("window", "stride"), [(5, 1), (3, 1), (3, 2)])
def test_clips_stay_in_their_video_and_split(tmp_path: Path, window: int, stride: int) -> None:
    data = module(tmp_path, window=window, stride=stride)
    data.setup()
    reach = (window - 1) * stride
    counts = {}
    for split in ("train", "val", "test"):
        expected = []
        for sequence in videos(split):
            images = render_turned(TINY, sequence)["image"] / 255
            for first in range(TINY.frames_per_clip - reach):
                frames = images[first : first + reach + 1 : stride]
                expected.append((f"{sequence.name}/{first + reach // 2:04d}", frames))
        found = samples(data, split)
        assert [sample["name"] for sample in found] == [name for name, _ in expected]
        for sample, (_, frames) in zip(found, expected, strict=True):
            np.testing.assert_allclose(sample["frames"].permute(0, 2, 3, 1), frames, atol=1e-6)
        counts[split] = len(found)
    per_video = TINY.frames_per_clip - reach
    assert counts == {"train": 2 * per_video, "val": per_video, "test": per_video}


def test_poses_are_those_of_the_store(tmp_path: Path) -> None:
    data = module(tmp_path, window=3)
    data.setup("validate")
    (sequence,) = videos("val")
    T_world_camera = render_turned(TINY, sequence)["T_world_camera"]
    for first, sample in enumerate(samples(data, "val")):
        point = np.array([0.3, -0.2, 2.0, 1.0])  # of the target's camera
        in_world = T_world_camera[first + 1] @ point
        for k in range(3):
            seen = np.linalg.solve(T_world_camera[first + k], in_world)
            np.testing.assert_allclose(sample["T_frame_target"][k].double() @ torch.from_numpy(point), seen, atol=1e-5)
        np.testing.assert_allclose(sample["T_frame_target"][1], np.eye(4), atol=1e-6)
    # Where the poses are no field of the frames there are none.
    without = module(tmp_path, fields=["plain"])
    without.setup("validate")
    assert "T_frame_target" not in samples(without, "val")[0]
    assert "plain" in samples(without, "val")[0]


def test_exact_labels_are_the_truth_and_only_for_training(tmp_path: Path) -> None:
    data = module(tmp_path, exact_semantic=True, exact_vanishing=True, fields=["plain"])
    data.setup()
    arrays = [render_turned(TINY, sequence) for sequence in videos("train")]
    targets = [(video, k) for video in range(2) for k in (2, 3)]
    for (video, k), sample in zip(targets, samples(data, "train"), strict=True):
        np.testing.assert_array_equal(sample["proxy_semantic"], arrays[video]["semantic"][k])
        R_camera_world = np.linalg.inv(arrays[video]["T_world_camera"][k][:3, :3])
        for axis in range(3):
            direction = R_camera_world @ np.eye(3)[axis]
            np.testing.assert_allclose(sample["vanishing"][axis], direction, atol=1e-6)
    for split in ("val", "test"):
        assert not {"proxy_semantic", "semantic", "vanishing"} & samples(data, split)[0].keys()


def test_walls_of_rendered_rooms_stand_on_the_exact_directions(rooms_root: Path) -> None:
    settings = RoomsSettings(height=48, width=64, n_video_scenes=3, n_video_val=1, n_video_test=1, frames_per_clip=7,
                             n_stills=3, n_stills_val=1, n_stills_test=1)  # fmt: skip
    data = RoomsVideoDataModule(
        settings=settings, root=str(rooms_root), processes=0, image_size=(48, 64), exact_vanishing=True,
        exact_semantic=True, augmentation=ClipAugmentation(flip=1.0, jitter=0.0),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    for key in (0, (0, 0)):  # as it is, and mirrored
        sample: Any = data.datasets["train"][key]  # type: ignore[index]
        points = unproject(sample["depth"][None], sample["K"][None])
        normals, defined = normals_from_points(points, radius=2)
        cosines = torch.einsum("ki,ihw->khw", sample["vanishing"], normals[0]).abs().amax(dim=0)
        along = cosines[defined[0, 0]] > 0.99
        assert along.float().mean() > 0.5  # most of a room are its walls, floor and ceiling
        # With the transposed matrix hardly anything would be.
        wrong = torch.einsum("ik,ihw->khw", sample["vanishing"], normals[0]).abs().amax(dim=0)
        assert (wrong[defined[0, 0]] > 0.99).float().mean() < 0.3
        assert sample["proxy_semantic"].unique().numel() > 2


def test_exact_poses_bring_the_frames_of_rendered_rooms_together(rooms_root: Path) -> None:
    settings = RoomsSettings(height=48, width=64, n_video_scenes=3, n_video_val=1, n_video_test=1, frames_per_clip=7,
                             n_stills=3, n_stills_val=1, n_stills_test=1)  # fmt: skip
    data = RoomsVideoDataModule(
        settings=settings, root=str(rooms_root), processes=0, image_size=(48, 64), window=3,
        augmentation=ClipAugmentation(flip=1.0, jitter=0.0),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    for key in (1, (0, 1)):
        sample: Any = data.datasets["train"][key]  # type: ignore[index]
        T, K = sample["T_frame_target"][2], sample["K"]
        points = unproject(sample["depth"][None], K[None])[0].flatten(1)
        seen = K @ (T[:3, :3] @ points + T[:3, 3:])
        grid = (seen[:2] / seen[2:]).T.view(1, 48, 64, 2) / torch.tensor([32.0, 24.0]) - 1
        warped = F.grid_sample(sample["frames"][2:], grid, align_corners=False, padding_mode="border")[0]
        inside = (grid[0].abs() < 1).all(dim=-1)
        moved, still = ((image - sample["image"]).abs().mean(dim=0)[inside] for image in (warped, sample["frames"][2]))
        assert moved.median() < 0.6 * still.median()


def write_labels(
    path: Path, names: list[str], shape: tuple[int, int] = (12, 16), *, finish: bool = True
) -> dict[str, npt.NDArray[np.uint8]]:
    maps = {name: np.random.default_rng(i).integers(0, 9, shape).astype(np.uint8) for i, name in enumerate(names)}
    with LabelWriter(path, kind="semantic", teacher="t", settings={}) as writer:
        for name, values in maps.items():
            writer.write(name, values)
        if finish:
            writer.finish()
    return maps


def test_label_files_are_joined_by_name(tmp_path: Path) -> None:
    names = [f"{s.name}/{k:04d}" for s in reversed(videos("train")) for k in range(TINY.frames_per_clip)]
    maps = write_labels(tmp_path / "l.h5", names)
    data = module(tmp_path, proxy_labels=str(tmp_path / "l.h5"), exact_vanishing=True)
    data.setup("fit")
    for sample in samples(data, "train"):
        np.testing.assert_array_equal(sample["proxy_semantic"], maps[sample["name"]].repeat(2, 0).repeat(2, 1))
        assert "vanishing" in sample
    batch: Any = next(iter(data.train_dataloader()))
    assert batch["proxy_semantic"].dtype == torch.int64
    assert batch["proxy_semantic"].shape == (2, 24, 32)
    assert batch["vanishing"].shape == (2, 3, 3)


def test_wrong_label_files_have_one_sentence(tmp_path: Path) -> None:
    names = [f"{s.name}/{k:04d}" for s in videos("train") for k in range(TINY.frames_per_clip)]
    write_labels(tmp_path / "other.h5", ["frame_0"])
    data = module(tmp_path, proxy_labels=str(tmp_path / "other.h5"))
    data.setup("fit")
    with pytest.raises(ValueError, match=r"other.h5' has nothing for 'video/train/.*make it again"):
        samples(data, "train")
    write_labels(tmp_path / "half.h5", names[:3], finish=False)
    with pytest.raises(FileNotFoundError, match=r"half.h5' is not finished"):
        module(tmp_path, proxy_labels=str(tmp_path / "half.h5")).setup("fit")


@pytest.mark.parametrize(("name", "file"), [("semantic", "proxy_labels"), ("vanishing", "vanishing")])
def test_labels_are_exact_or_from_a_file(tmp_path: Path, name: str, file: str) -> None:
    with pytest.raises(ValueError, match=f"exact_{name} and the file x.h5 exclude each other"):
        RoomsVideoDataModule(root=str(tmp_path), **{f"exact_{name}": True, file: "x.h5"})
    with pytest.raises(ValueError, match="fields holds 'normals', allowed are semantic"):
        RoomsVideoDataModule(root=str(tmp_path), fields=["normals"])  # type: ignore[list-item]


def test_clips_need_the_data_and_enough_frames(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make data"):
        RoomsVideoDataModule(settings=TINY, root=str(tmp_path)).setup("test")
    with pytest.raises(ValueError, match="spans 7 frames, but the longest sequence has 6"):
        module(tmp_path, window=7).setup("test")
