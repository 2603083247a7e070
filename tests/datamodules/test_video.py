"""Base class of video data modules: clips, labels, and number of reads per frame."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.base import Split
from datamodules.samples.clips import ClipAugmentation, Window, clip_windows
from datamodules.samples.frame import Frame, FrameSource
from datamodules.video import VideoDataModule
from structures.label_writer import LabelWriter

LENGTHS = {"train": 9, "val": 5, "test": 6}
SIZE = (16, 24)


class Walk:
    """Frames of one split whose red level is their index, with a count of reads."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.reads: Counter[int] = Counter()

    def __len__(self) -> int:
        return LENGTHS[self.split]

    def read(self, index: int) -> Frame:
        self.reads[index] += 1
        image = np.random.default_rng(index).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        image[..., 0] = index
        K = np.array([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]])
        return Frame(image, np.full(SIZE, index + 1, np.float32), K, name=f"{self.split}/{index}")


class WalkModule(VideoDataModule):
    def make_source(self, split: Split) -> FrameSource:
        self.source = Walk(split)
        return self.source

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        return clip_windows([range(len(source))], window=self.window, stride=self.stride)


def module(**changes: Any) -> WalkModule:
    arguments: dict[str, Any] = {"window": 3, "image_size": SIZE, "batch_size": 2}
    return WalkModule(**(arguments | changes))


def frames_of(sample: dict[str, Any]) -> list[int]:
    return (sample["frames"][:, 0, 0, 0] * 255).round().int().tolist()


def samples(data: VideoDataModule, split: Split) -> list[Any]:
    data.setup(None)
    dataset = data.datasets[split]
    return [dataset[index] for index in range(len(dataset))]  # type: ignore[arg-type]


@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_clips_of_every_split_are_the_windows_of_its_source(window: int, stride: int) -> None:
    data = module(window=window, stride=stride)
    for split, length in LENGTHS.items():
        reach = (window - 1) * stride
        clips = [frames_of(sample) for sample in samples(data, split)]  # type: ignore[arg-type]
        assert clips == [list(range(first, first + reach + 1, stride)) for first in range(length - reach)]


def test_a_subset_of_clips_is_chosen_once_and_for_training_only() -> None:
    data, again = module(train_subset=4, seed=3), module(train_subset=4, seed=3)
    chosen = [sample["name"] for sample in samples(data, "train")]
    assert chosen == [sample["name"] for sample in samples(again, "train")]
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen)
    assert chosen != [sample["name"] for sample in samples(module(train_subset=4, seed=4), "train")]
    assert len(samples(data, "val")) == 3
    with pytest.raises(ValueError, match="train_subset is 8, but the training split has 7 samples"):
        module(train_subset=8).setup("fit")


def test_only_training_is_augmented() -> None:
    data = module(augmentation=ClipAugmentation(flip=1.0, jitter=1.0))
    data.setup(None)
    plain, flipped = (samples(m, "train")[2] for m in (module(), data))
    assert np.array_equal(plain["frames"], flipped["frames"])  # a plain index is unaugmented
    training = data.datasets["train"][(0, 2)]  # type: ignore[index]
    assert np.array_equal(training["frames"], plain["frames"].flip(-1))
    assert not np.array_equal(training["frames"], training["frames_jittered"])
    assert data.datasets["val"].augmentation is None  # type: ignore[attr-defined]
    batch: Any = next(iter(data.train_dataloader()))
    assert batch["frames"].shape == batch["frames_jittered"].shape == (2, 3, 3, *SIZE)


@pytest.mark.parametrize("cache", [True, False])
def test_a_kept_frame_is_read_once_for_all_its_clips(cache: bool) -> None:
    data = module(window=5, cache=cache, oversampling=None)
    data.setup("test")
    dataset = data.datasets["test"]
    for _ in range(2):
        for index in range(2):
            dataset[index]
    assert max(data.source.reads.values()) == (1 if cache else 4)


def write(path: Path, kind: Any, arrays: dict[str, Any], *, finish: bool = True) -> str:
    with LabelWriter(path, kind=kind, teacher="t", settings={}) as writer:
        for name, array in arrays.items():
            writer.write(name, array)
        if finish:
            writer.finish()
    return str(path)


def test_labels_of_files_reach_the_training_targets_alone(tmp_path: Path) -> None:
    names = [f"train/{index}" for index in range(LENGTHS["train"])]
    maps = {name: np.full((8, 12), index + 1, np.uint8) for index, name in enumerate(names)}
    maps[names[4]][:, 6:] = 200
    directions = {name: (index + 1) * np.eye(3) for index, name in enumerate(reversed(names))}
    data = module(
        proxy_labels=write(tmp_path / "l.h5", "semantic", maps),
        vanishing=write(tmp_path / "v.h5", "vanishing", directions),
        keypoints=True,
    )
    for target, sample in enumerate(samples(data, "train"), start=1):
        assert sample["name"] == names[target]
        assert sample["proxy_semantic"].shape == SIZE
        assert int(sample["proxy_semantic"][3, 5]) == target + 1
        assert sample["vanishing"].diagonal().tolist() == [LENGTHS["train"] - target] * 3
        assert sample["keypoints"].any()
    assert samples(data, "train")[3]["proxy_semantic"][0].tolist() == [5] * 12 + [200] * 12
    for split in ("val", "test"):
        for sample in samples(data, split):  # type: ignore[arg-type]
            assert not {"proxy_semantic", "vanishing"} & sample.keys()
            assert "keypoints" in sample
    # Labels are mirrored with their frames.
    data.clip_augmentation = ClipAugmentation(flip=1.0, jitter=0.0)
    data.datasets.clear()
    data.setup("fit")
    assert data.datasets["train"][(0, 3)]["proxy_semantic"][0].tolist() == [200] * 12 + [5] * 12  # type: ignore


def test_files_that_cannot_serve_are_refused_before_training(tmp_path: Path) -> None:
    labels = {"train/0": np.ones((8, 12), np.uint8)}
    with pytest.raises(FileNotFoundError, match=r"no label file '.*none.h5'"):
        module(proxy_labels=str(tmp_path / "none.h5")).setup("fit")
    unfinished = write(tmp_path / "u.h5", "semantic", labels, finish=False)
    with pytest.raises(FileNotFoundError, match=r"the label file '.*u.h5' is not finished"):
        module(proxy_labels=unfinished).setup("fit")
    module(proxy_labels=unfinished).setup("test")  # which needs none
    finished = write(tmp_path / "l.h5", "semantic", labels)
    with pytest.raises(ValueError, match=r"l\.h5' holds semantic arrays, but vanishing is needed"):
        module(vanishing=finished).setup("fit")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 4}, "window is the odd number of frames of a clip, got 4"),
        ({"window": 0}, "window is the odd number"),
        ({"stride": 0}, "stride has to be at least 1 frame, got 0"),
    ],
)
def test_impossible_clips_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(**changes)


def test_too_short_a_video_is_named() -> None:
    with pytest.raises(ValueError, match="longest sequence has 5"):
        module(window=7).setup("fit")

    class Empty(WalkModule):
        def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
            return []

    with pytest.raises(ValueError, match="The train split of Empty holds no clips"):
        Empty(image_size=SIZE).setup("fit")
