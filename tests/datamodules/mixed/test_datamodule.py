"""Mixed data: shares, ground truth under augmentation, no leaked metric depth, and resumed runs."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch

from datamodules.mixed.datamodule import MixedDataModule
from datamodules.mixed.distortion import DistortedSource, Distortion
from datamodules.mixed.sources import ManifestDomain, MixedSource, RoomsDomain
from datamodules.mixed.truth import TruthSource, check_truth
from datamodules.rooms.settings import RoomsSettings
from datamodules.samples.frame import Frame, FrameSource
from datamodules.samples.transforms import DepthAugmentation
from structures.batch import PADDING_INDEX
from structures.depth_kind import DepthKind
from tests.data.make_manifest_data import make_manifest_data
from tests.data.make_mixed_data import make_mixed_data
from tests.data.make_rooms import RENDERER, TINY
from tests.data.memory import MemorySource
from tests.datamodules.test_base import EPOCHS, STEPS, SaveAt


class SmoothSource(MemorySource):
    """Frames whose colour is a linear function of depth, so that an augmented image determines its ground truth."""

    def read(self, index: int) -> Frame:
        """Return one frame; its left columns have no depth."""
        x, y = np.meshgrid(np.linspace(0, 1, 96), np.linspace(0, 1, 64))
        phase, tilt = np.random.default_rng(index).uniform(0, 6, 2)
        colour = (0.5 + 0.2 * np.sin(4 * x + phase) + 0.2 * np.sin(3 * y + 2 * x + tilt)).astype(np.float32)
        depth = 5 * colour
        depth[:, :6] = 0
        K = np.array([[60.0, 0, 48], [0, 60.0, 32], [0, 0, 1]])
        return Frame(image=np.stack([colour] * 3, axis=-1), depth=depth, K=K, name=f"{index:04d}")


def metres_from(truth: torch.Tensor, kind: int, drawn: tuple[float, float, float], largest: float) -> torch.Tensor:
    """Return metric depth from distorted ground truth."""
    a, b, p = drawn
    return {0: truth, 1: (truth - b) / a, 2: a / (truth - b).clamp(min=1e-3), 3: largest * truth ** (1 / p)}[kind]


class MemoryDomain(MixedSource):
    """A source in memory."""

    def __init__(self, size: int, *, source: type[MemorySource] = MemorySource, seed: int = 0, **common: Any) -> None:
        super().__init__(**common)
        self.size, self.source, self.seed = size, source, seed

    def prepare(self, root: Path) -> None:
        """Do nothing: the frames are in memory."""

    def training(self, root: Path) -> TruthSource:
        """Return the frames."""
        return DistortedSource(self.source(self.size, "train"), self.kind, Distortion(seed=self.seed))

    def evaluation(self, split: str, root: Path) -> FrameSource:
        """Return metric frames."""
        return self.source(self.size, split)


def memory_module(
    sizes: tuple[int, ...] = (5, 9, 3, 4), weights: tuple[float, ...] = (1, 1, 1, 1), **changes: Any
) -> MixedDataModule:
    source = changes.pop("source", MemorySource)
    kinds = ["metric", "affine_depth", "affine_disparity", "ordinal"]
    sources = [
        MemoryDomain(size, source=source, seed=k, name=f"{kinds[k % 4]}{k}", kind=kinds[k % 4], weight=weights[k],
                     K_known=k != 1)
        for k, size in enumerate(sizes)
    ]  # fmt: skip
    evaluation = MemoryDomain(5, source=source, name="held out")
    noise = DepthAugmentation(rotation_degrees=0, crop=None, noise_std=0.1)
    arguments = {"image_size": (8, 12), "batch_size": 4, "augmentation": noise, "seed": 3, "oversampling": None}
    return MixedDataModule(sources=sources, evaluation=evaluation, **(arguments | changes))


def epoch_batches(data: MixedDataModule, epoch: int = 0) -> Iterator[dict[str, Any]]:
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    yield from loader


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 3, 4), (0.5, 0.25, 8.0, 0.25)])
def test_shares_match_the_weights_in_every_epoch(weights: tuple[float, ...]) -> None:
    data = memory_module(weights=weights, samples_per_epoch=200)
    for epoch in (0, 1, 5):
        counts: Counter[int] = Counter()
        frames: Counter[str] = Counter()
        for batch in epoch_batches(data, epoch):
            counts.update(batch["source"].tolist())
            frames.update(batch["name"])
        exact = [200 * weight / sum(weights) for weight in weights]
        assert sum(counts.values()) == 200
        assert all(abs(counts[k] - exact[k]) < 1 for k in range(4))
        for k, size in enumerate((5, 9, 3, 4)):
            of_source = [count for name, count in frames.items() if name.split("/")[0].endswith(str(k))]
            if counts[k] >= 2 * size:  # small sources repeat, and each of their frames about as often
                assert len(of_source) == size
                assert max(of_source) - min(of_source) <= 2


def test_batches_mix_the_sources() -> None:
    data = memory_module((40, 40, 40, 40), batch_size=16)
    mixed = [len(set(batch["source"].tolist())) for batch in epoch_batches(data)]
    assert len(mixed) == 10
    assert min(mixed) >= 3


def test_batches_follow_the_contract() -> None:
    batch = next(epoch_batches(memory_module(batch_size=16)))
    kinds = {key: (value.dtype, tuple(value.shape)) for key, value in batch.items() if key != "name"}
    assert kinds == {
        "image": (torch.float32, (16, 3, 8, 12)),
        "depth": (torch.float32, (16, 1, 8, 12)),
        "depth_mask": (torch.bool, (16, 1, 8, 12)),
        "K": (torch.float32, (16, 3, 3)),
        "K_known": (torch.bool, (16,)),
        "depth_scale_m": (torch.float32, (16,)),
        "index": (torch.int64, (16,)),
        "truth": (torch.float32, (16, 1, 8, 12)),
        "truth_mask": (torch.bool, (16, 1, 8, 12)),
        "kind": (torch.int64, (16,)),
        "source": (torch.int64, (16,)),
    }
    starts = [0, 5, 14, 17]
    for k in range(16):
        source, position = int(batch["source"][k]), int(batch["index"][k]) - starts[int(batch["source"][k])]
        assert batch["kind"][k] == source
        assert batch["name"][k].endswith(f"{source}/train/{position:04d}")
        assert batch["truth_mask"][k].all()


@pytest.mark.parametrize("depth_scale", ["10m", "image_max"])
def test_samples_of_other_kinds_contain_no_metric_depth(depth_scale: str) -> None:
    seen = Counter()
    for batch in epoch_batches(memory_module(depth_scale=depth_scale, batch_size=7)):
        for k, kind in enumerate(batch["kind"].tolist()):
            seen[kind] += 1
            if kind == DepthKind.METRIC:
                assert torch.equal(batch["truth"][k], batch["depth"][k])
                assert batch["depth_mask"][k].all()
                continue
            assert not batch["depth"][k].any()
            assert not batch["depth_mask"][k].any()
            assert batch["depth_scale_m"][k] == 10
    assert set(seen) == {0, 1, 2, 3}


@pytest.mark.parametrize("reduced", [{"oversampling": None, "cache": False}, {"oversampling": 1.5, "cache": True}])
def test_truth_moves_with_its_image(reduced: dict[str, Any]) -> None:
    augmentation = DepthAugmentation(
        rotation_degrees=10, crop=None, crop_scale=(0.5, 0.9), flip=0.5, brightness=(1.0, 1.0)
    )
    data = memory_module(source=SmoothSource, image_size=(30, 44), augmentation=augmentation, **reduced)
    compared, partly = 0, 0
    for epoch in range(3):
        for batch in epoch_batches(data, epoch):
            for k, kind in enumerate(batch["kind"].tolist()):
                source, position = data.datasets["train"].joined.locate(int(batch["index"][k]))
                mask, truth = batch["truth_mask"][k], batch["truth"][k]
                assert mask.float().mean() > 0.3
                partly += not mask.all()
                assert not truth[~mask].any()
                largest = float(SmoothSource(1, "train").read(position).depth.max())
                drawn = Distortion(seed=source).draw(position)
                error = (metres_from(truth, kind, drawn, largest) - 5 * batch["image"][k, :1])[mask].abs()
                assert error.mean() < 0.05  # half a pixel of the steepest slope
                assert error.max() < 0.2
                focal = batch["K"][k, 0, 0] * 96 / 44
                assert (60 / 0.9 - 1 < focal < 60 / 0.5 + 1) or source == 1
                compared += 1
    assert compared > 50
    assert partly > 20  # the left columns have no truth, and what a turn brings in has none


def test_zero_may_be_a_measurement(tmp_path: Path) -> None:
    source = ManifestDomain(name="set", manifest=str(make_mixed_data(tmp_path)))
    data = MixedDataModule(sources=[source], evaluation=source, image_size=(24, 32), batch_size=8, seed=0)
    (batch,) = epoch_batches(data)
    masked = [k for k, index in enumerate(batch["index"].tolist()) if index % 2 and index > 1]
    for k in masked:
        assert batch["truth_mask"][k, 0, 0].all()
        assert not batch["truth"][k, 0, 0].any()
    assert len(masked) == 3


def test_unknown_cameras_have_an_assumed_field_of_view_of_sixty_degrees() -> None:
    for batch in epoch_batches(memory_module()):
        for k, source in enumerate(batch["source"].tolist()):
            assert bool(batch["K_known"][k]) == (source != 1)
            focal = 12 / 2 / np.tan(np.radians(30)) if source == 1 else 10.0
            np.testing.assert_allclose(batch["K"][k], [[focal, 0, 6], [0, focal, 4], [0, 0, 1]], rtol=1e-6)


def test_repeated_frame_has_two_augmentations_and_one_ground_truth() -> None:
    images: dict[int, list[torch.Tensor]] = {}
    truths: dict[int, list[torch.Tensor]] = {}
    for epoch in range(2):
        for batch in epoch_batches(memory_module(samples_per_epoch=80), epoch):
            for k, index in enumerate(batch["index"].tolist()):
                images.setdefault(index, []).append(batch["image"][k])
                truths.setdefault(index, []).append(batch["truth"][k])
    assert min(len(group) for group in images.values()) > 3
    for index, group in images.items():
        assert all(not torch.equal(group[0], other) for other in group[1:])
        assert all(torch.equal(truths[index][0], other) for other in truths[index][1:])


def seen_by(data: MixedDataModule, rank: int, world_size: int, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(data, "_rank_and_world_size", lambda: (rank, world_size))
    return list(epoch_batches(data, 2))


def test_two_ranks_process_the_samples_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(epoch_batches(memory_module(batch_size=4), 2))
    ranks = [seen_by(memory_module(batch_size=2), rank, 2, monkeypatch) for rank in range(2)]
    assert len(alone) == len(ranks[0]) == len(ranks[1]) == 5
    for step, batch in enumerate(alone):
        for key in ("image", "truth", "kind", "source", "K", "index"):
            together = torch.stack([ranks[0][step][key], ranks[1][step][key]], dim=1).flatten(0, 1)
            assert torch.equal(together, batch[key])


class Recorder(lightning.LightningModule):
    """Module that records its training samples."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[list[int], list[int], float, float]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        sums = (float(batch[name].double().sum()) for name in ("image", "truth"))
        self.seen.append((batch["index"].tolist(), batch["source"].tolist(), *sums))
        return self.weight * 0

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        assert "truth" not in batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(limits: dict[str, Any], *, workers: int = 0, save: SaveAt | None = None, resume: Path | None = None) -> list:
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, callbacks=[] if save is None else [save], **limits,
    )  # fmt: skip
    module = Recorder()
    data = memory_module(samples_per_epoch=21, num_workers=workers)  # 5 steps, one sample is left out
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False)
    return module.seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limits", [EPOCHS, STEPS], ids=["epochs", "steps"])
@pytest.mark.parametrize(("hook", "step"), [("on_train_batch_end", 8), ("on_train_epoch_end", 5)])
def test_resumed_run_processes_the_samples_of_the_uninterrupted_run(
    tmp_path: Path, hook: str, step: int, limits: dict[str, Any]
) -> None:
    checkpoint = tmp_path / "saved.ckpt"
    full = fit(limits, save=SaveAt(hook, step, checkpoint))
    assert len(full) == 15
    assert len({total for *_, total, _ in full}) == 15
    assert fit(limits, resume=checkpoint) == full[step:]


@pytest.mark.filterwarnings("ignore")
def test_resumed_run_processes_the_same_samples_with_workers(tmp_path: Path) -> None:
    checkpoint = tmp_path / "saved.ckpt"
    full = fit(STEPS, save=SaveAt("on_train_batch_end", 8, checkpoint))
    assert fit(STEPS, workers=1, resume=checkpoint) == full[8:]


def test_evaluation_is_metric_and_padded() -> None:
    data = memory_module()
    data.setup("validate")
    (first, last) = data.val_dataloader()
    assert len(first["index"]) + len(last["index"]) == 5
    for batch in (first, last):
        assert not {"truth", "truth_mask", "kind", "source"} & set(batch)
        assert batch["depth_mask"].all()
    assert first["depth"][1, 0, 0, 0] == 2
    assert not data.datasets["val"][PADDING_INDEX]["depth_mask"].any()
    assert not data.val_is_test


def test_train_subset_takes_shares_and_no_repeats() -> None:
    data = memory_module((9, 9, 9, 9), weights=(1, 1, 2, 4), train_subset=16)
    data.setup("fit")
    joined = data.datasets["train"].joined
    assert joined.sizes == [2, 2, 4, 8]
    assert len(data.datasets["train"]) == 16
    assert [joined.kind(index) for index in (0, 2, 4, 8)] == [0, 1, 2, 3]
    assert len({data.datasets["train"][index]["name"] for index in range(16)}) == 16


def test_invalid_arguments_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="source affine_depth1: it holds no frames to train on"):
        memory_module((5, 0, 3, 4)).setup("fit")
    with pytest.raises(ValueError, match=r"source ordinal3: its weight 0.001 is worth less than one of the 21 samples"):
        memory_module(weights=(1, 1, 1, 0.001)).setup("fit")
    with pytest.raises(ValueError, match=r"affine_disparity2: its share of train_subset 16 is 4 frames, but it has 3"):
        memory_module(train_subset=16).setup("fit")
    with pytest.raises(ValueError, match="samples_per_epoch has to be at least 1 or null, got 0"):
        memory_module(samples_per_epoch=0)
    evaluation = MemoryDomain(1, name="a")
    with pytest.raises(ValueError, match="Two sources of mixed data are called 'a'"):
        MixedDataModule(sources=[evaluation, evaluation], evaluation=evaluation)
    with pytest.raises(ValueError, match="the list of sources is empty"):
        MixedDataModule(sources=[], evaluation=evaluation)
    with pytest.raises(ValueError, match="The test split of MixedDataModule holds no frames"):
        MixedDataModule(sources=[evaluation], evaluation=MemoryDomain(0, name="b")).setup("test")


def test_invalid_ground_truth_is_refused() -> None:
    values, mask = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), bool)
    check_truth(values, mask, DepthKind.ORDINAL, "here")
    with pytest.raises(ValueError, match=r"here: no pixel of the ordinal truth is valid, so the frame is useless"):
        check_truth(values, ~mask, DepthKind.ORDINAL, "here")
    with pytest.raises(ValueError, match=r"here: the affine_depth truth is 2 in every valid pixel, so there is no"):
        check_truth(values, values == 2, DepthKind.AFFINE_DEPTH, "here")
    values[1, 1] = np.inf
    with pytest.raises(ValueError, match=r"here: the affine_disparity truth holds 1 NaN or infinite pixels"):
        check_truth(values, mask, DepthKind.AFFINE_DISPARITY, "here")
    check_truth(values, np.isfinite(values), DepthKind.AFFINE_DISPARITY, "here")


def rooms_domain(**changes: Any) -> RoomsDomain:
    settings = dataclasses.replace(
        TINY, n_stills=5, n_stills_val=1, n_stills_test=2, views_per_still=3, n_video_scenes=0, n_video_val=0,
        n_video_test=0,
    )  # fmt: skip
    arguments = {"settings": settings, "processes": 0, "renderer": RENDERER, "name": "wide", "kind": "affine_depth"}
    return RoomsDomain(**(arguments | changes))


def test_rooms_and_a_manifest_are_mixed_and_tested_on_other_rooms(tmp_path: Path) -> None:
    make_manifest_data(tmp_path / "own")
    distortion = Distortion(scale_range=(3.0, 3.0), shift_range=(-2.0, -2.0))
    sources = [rooms_domain(distortion=distortion), ManifestDomain(name="own", manifest="own/manifest.csv")]
    data = MixedDataModule(
        sources=sources, evaluation=rooms_domain(kind="metric", fields=["plane"]), root=str(tmp_path),
        image_size=(24, 32), batch_size=2, seed=0, oversampling=None,
    )  # fmt: skip
    data.prepare_data()
    data.setup()
    assert data.datasets["train"].joined.sizes == [6, 5]
    assert {split: len(data.datasets[split]) for split in ("val", "test")} == {"val": 3, "test": 6}
    sample = data.datasets["train"][4]
    assert sample["name"] == "wide/still/train/0001/0001"
    exact = rooms_domain().evaluation("train", tmp_path).read(4)
    np.testing.assert_allclose(sample["truth"][0], 3 * exact.depth - 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sample["K"], exact.K, rtol=1e-6)
    assert not sample["depth"].any()
    assert data.datasets["train"][6]["name"] == "own/color/000"
    assert data.datasets["train"][6]["kind"] == DepthKind.METRIC
    test = data.datasets["test"][0]
    assert test["name"] == "still/test/0000/0000"
    assert {"plane", "depth"} <= set(test)
    assert test["depth_mask"].all()


def test_settings_of_a_domain_are_its_file() -> None:
    assert rooms_domain(settings=RoomsSettings()).settings.fingerprint() == "17cca9434e88"
    with pytest.raises(ValueError, match="fields holds 'normals'"):
        rooms_domain(fields=["normals"])
