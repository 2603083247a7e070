"""Shards give the batches of the data module that was written, bit for bit."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.base import LoaderDataModule
from tests.datamodules.shards.conftest import KINDS, READERS, original, settings

Folder = Callable[[str], Path]


def reader(kind: str, root: str | Path, **changes: Any) -> LoaderDataModule:
    return READERS[kind](str(root), **(settings(kind) | changes))


def assert_equal(found: Any, wanted: Any, where: str = "batch") -> None:
    """Compare nested values bit for bit."""
    assert type(found) is type(wanted), where
    if isinstance(wanted, torch.Tensor):
        assert found.dtype == wanted.dtype, where
        assert torch.equal(found, wanted), where
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            assert_equal(found[key], value, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for index, value in enumerate(wanted):
            assert_equal(found[index], value, f"{where}[{index}]")
    else:
        assert found == wanted, where


def batches(data: LoaderDataModule, epoch: int = 0) -> list[Any]:
    """All batches of an epoch of training, and of validation and test."""
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    train = data.train_dataloader()
    train.sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return [*train, *data.val_dataloader(), *data.test_dataloader()]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_original(kind: str, data_root: Folder, shards: Folder) -> None:
    for epoch in (0, 1):
        wanted = batches(original(kind, data_root(kind)), epoch)
        assert_equal(batches(reader(kind, shards(kind)), epoch), wanted)
        assert len(wanted) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_several_shards_were_written(kind: str, shards: Folder) -> None:
    assert len(list((shards(kind) / "train").glob("chunk-*.bin"))) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_properties_are_those_of_the_original(kind: str, data_root: Folder, shards: Folder) -> None:
    found, wanted = reader(kind, shards(kind)), original(kind, data_root(kind))
    wanted.prepare_data()
    for name in ("val_is_test", "content_key", "assumed_field_of_view_degrees", "category_ids", "flag_names"):
        if hasattr(wanted, name):
            assert getattr(found, name) == getattr(wanted, name), name
    key = "" if wanted.content_key is None else f"+{wanted.content_key}"
    assert found.data_version == f"shards-{found.description.identity}{key}"  # type: ignore[attr-defined]
    if kind == "instances":
        assert found.class_names == wanted.class_names == ["person", "dog", "toothbrush"]  # type: ignore[attr-defined]


def test_settings_of_reading_apply(data_root: Folder, shards: Folder) -> None:
    changes: dict[str, Any] = {"image_size": (30, 30), "aspect": "crop", "oversampling": 2.0, "train_subset": 3}
    wanted = batches(original("depth", data_root("depth"), **changes))
    assert_equal(batches(reader("depth", shards("depth"), **changes)), wanted)


def test_boxes_alone_are_read_without_masks(data_root: Folder, shards: Folder) -> None:
    wanted = batches(original("instances", data_root("instances"), mask_share=0.0))
    found = batches(reader("instances", shards("instances"), mask_share=0.0))
    assert_equal(found, wanted)
    assert "masks" not in found[0]


def test_shorter_clips_are_the_middle_of_the_stored_ones(shards: Folder) -> None:
    data = reader("video", shards("video"), window=1)
    data.setup("fit")
    assert all(len(window) == 1 for window in data.datasets["train"].windows)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"holds clips of 3 frames, but window is 5: set data\.init_args\.window"):
        reader("video", shards("video"), window=5).setup("fit")


def test_loader_processes_give_the_same_batches(shards: Folder) -> None:
    alone = batches(reader("instances", shards("instances")))
    assert_equal(batches(reader("instances", shards("instances"), num_workers=2)), alone)


@pytest.mark.parametrize("kind", ["depth", "video", "instances"])
@pytest.mark.parametrize("shuffle", ["samples", "shards"])
def test_ranks_share_every_sample_and_a_resumed_run_goes_on(
    kind: str, shuffle: str, shards: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = reader(kind, shards(kind), shuffle=shuffle, lanes=2, block=3, batch_size=1)
    data.setup("fit")

    def samples(rank: int, world_size: int, position: tuple[int, int]) -> list[Any]:
        monkeypatch.setattr(data, "_rank_and_world_size", lambda: (rank, world_size))
        monkeypatch.setattr("datamodules.base.resume_position", lambda _: position)
        return list(data.train_dataloader())

    whole = samples(0, 1, (1, 0))
    ranks = [samples(rank, 2, (1, 0)) for rank in (0, 1)]
    interleaved = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert_equal(interleaved, whole[: len(interleaved)])
    indices = [int(batch["index"]) for batch in whole]
    assert sorted(indices) == list(range(len(indices)))
    assert_equal(samples(0, 1, (1, 2)), whole[2:])
    assert [int(batch["index"]) for batch in samples(0, 1, (2, 0))] != indices


def test_order_by_shards_reads_one_shard_after_another(shards: Folder) -> None:
    data = reader("instances", shards("instances"), shuffle="shards", lanes=1, block=1)
    data.setup("fit")
    order = data._training_order(0)
    read = data.store("train").shard_of(order).tolist()  # type: ignore[attr-defined]
    assert sum(a != b for a, b in itertools.pairwise(read)) == len(set(read)) - 1 > 0


def test_wrong_settings_are_one_sentence(shards: Folder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shuffle 'all' is not known"):
        reader("depth", shards("depth"), shuffle="all")
    with pytest.raises(ValueError, match="lanes and block have to be at least 1, got 0 and 4"):
        reader("depth", shards("depth"), lanes=0, block=4)
    with pytest.raises(ValueError, match="cache_gb has to be above 0"):
        reader("depth", shards("depth"), cache_gb=-1.0)
    with pytest.raises(ValueError, match="mixed data repeat frames"):
        reader("mixed", shards("mixed"), shuffle="shards")
    with pytest.raises(
        ValueError, match=r"shards of kind video, but ShardDepthDataModule reads depth: use DATA=shards_video"
    ):
        reader("depth", shards("video")).prepare_data()
    with pytest.raises(
        FileNotFoundError, match=r"no file '.*shards.json': set data.init_args.root to a folder of finished"
    ):
        reader("depth", tmp_path).prepare_data()
