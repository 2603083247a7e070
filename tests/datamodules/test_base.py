"""Exact order and draws through Lightning: resumed runs, workers, padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

from structures.batch import PADDING_INDEX
from tests.data.memory import MemoryDataModule

Seen = list[tuple[list[int], float]]


class Recorder(lightning.LightningModule):
    """Module that records its training samples; the sum of the noisy image identifies the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: Seen = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.seen.append((batch["index"].tolist(), float(batch["image"].double().sum())))
        return self.weight * 0

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("score", torch.tensor(1.0), batch_size=len(batch["index"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(lightning.Callback):
    """Callback that saves a checkpoint in a hook of Lightning after a given number of steps."""

    def __init__(self, hook: str, step: int, path: Path) -> None:
        def save(trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == step and not trainer.sanity_checking:
                trainer.save_checkpoint(path)

        setattr(self, hook, save)


def fit(
    limits: dict[str, Any], *, workers: int = 0, callback: lightning.Callback | None = None, resume: Path | None = None
) -> Seen:
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=isinstance(callback, ModelCheckpoint),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[] if callback is None else [callback],
        **limits,
    )
    module = Recorder()
    trainer.fit(module, datamodule=MemoryDataModule(num_workers=workers), ckpt_path=resume, weights_only=False)
    assert trainer.global_step == 15
    assert trainer.fit_loop.epoch_progress.current.processed == 3
    if resume is None or resume.stem == "saved":  # Lightning logs one step too far after the checkpoint of an exception
        assert trainer.fit_loop.epoch_loop._batches_that_stepped == 15
    return module.seen


EPOCHS = {"max_epochs": 3}
STEPS = {"max_epochs": -1, "max_steps": 15}

# One epoch has 11 // 2 = 5 batches: step 3 lies inside the first epoch, step 8 inside the second, 5 and 10 end epochs.
CASES = [
    ("on_train_batch_end", 3),
    ("on_train_batch_end", 8),
    ("on_train_batch_end", 5),
    ("on_validation_end", 5),
    ("on_train_epoch_end", 5),
    ("on_train_epoch_end", 10),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limits", [EPOCHS, STEPS], ids=["epochs", "steps"])
@pytest.mark.parametrize(("hook", "step"), CASES)
def test_resumed_run_processes_the_samples_of_the_uninterrupted_run(
    tmp_path: Path, hook: str, step: int, limits: dict[str, Any]
) -> None:
    checkpoint = tmp_path / "saved.ckpt"
    full = fit(limits, callback=SaveAt(hook, step, checkpoint))
    assert len(full) == 15
    assert len({total for _, total in full}) == 15
    assert fit(limits, resume=checkpoint) == full[step:]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limits", [EPOCHS, STEPS], ids=["epochs", "steps"])
@pytest.mark.parametrize(("hook", "step"), [case for case in CASES if case[1] in (8, 5)])
def test_resumed_run_processes_the_same_samples_with_workers(
    tmp_path: Path, hook: str, step: int, limits: dict[str, Any]
) -> None:
    # Workers fetch ahead before Lightning calls set_epoch, so here the loader has to know the epoch by itself.
    checkpoint = tmp_path / "saved.ckpt"
    full = fit(limits, callback=SaveAt(hook, step, checkpoint))
    assert fit(limits, workers=1, resume=checkpoint) == full[step:]


def test_loader_alone_begins_with_epoch_zero_and_follows_set_epoch() -> None:
    module = MemoryDataModule()
    module.setup("fit")
    loader = module.train_dataloader()
    first = [batch["image"] for batch in loader]
    again = [batch["image"] for batch in loader]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    loader.sampler.set_epoch(1)
    assert not torch.equal(next(iter(loader))["image"], first[0])


def test_workers_give_the_same_batches() -> None:
    loaders = []
    for workers in (0, 1):
        module = MemoryDataModule(num_workers=workers)
        module.setup("fit")
        loaders.append(list(module.train_dataloader()))
    for alone, worked in zip(*loaders, strict=True):
        assert alone["name"] == worked["name"]
        assert torch.equal(alone["image"], worked["image"])


def test_loading_leaves_the_global_random_state_alone() -> None:
    module = MemoryDataModule()
    module.setup("fit")
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state()
    list(module.train_dataloader())
    assert torch.equal(before, torch.get_rng_state())
    assert np.random.rand() == np.random.RandomState(0).rand()


def test_padding_has_no_valid_depth() -> None:
    module = MemoryDataModule()
    module.setup("test")
    sample = module.datasets["test"][PADDING_INDEX]
    assert sample["index"] == PADDING_INDEX
    assert not sample["depth_mask"].any()
    assert module.datasets["test"][0]["depth_mask"].all()


def test_setup_builds_only_what_a_stage_needs_and_only_once() -> None:
    module = MemoryDataModule()
    module.setup("validate")
    assert set(module.datasets) == {"val"}
    kept = module.datasets["val"]
    module.setup("fit")
    module.setup("fit")
    assert set(module.datasets) == {"train", "val"}
    assert module.datasets["val"] is kept


def test_train_subset_is_seeded_and_has_no_repeats() -> None:
    def names(subset: int | None) -> list[str]:
        module = MemoryDataModule()
        module.train_subset = subset
        module.setup("fit")
        return [str(module.datasets["train"][i]["name"]) for i in range(len(module.datasets["train"]))]

    assert names(4) == names(4)
    assert len(set(names(4))) == 4
    assert set(names(4)) <= set(names(6)) <= set(names(None))


def first_batch(seed: int | None) -> tuple[list[int], torch.Tensor]:
    module = MemoryDataModule(seed=seed)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    return batch["index"].tolist(), batch["image"]


def test_seed_of_the_run_moves_order_and_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert MemoryDataModule(seed=None).seed == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # so that what seed_everything leaves is taken back after the test
    seen = {}
    for seed in (1, 2):
        lightning.seed_everything(seed, verbose=False)
        module = MemoryDataModule(seed=None)
        seen[seed] = first_batch(None)
        alike = first_batch(seed)
        assert seen[seed][0] == alike[0]
        assert torch.equal(seen[seed][1], alike[1])
        lightning.seed_everything(9, verbose=False)
        assert module.seed == seed  # read once, when the module is made
        assert MemoryDataModule(seed=3).seed == 3
    assert seen[1][0] != seen[2][0]
    assert not torch.equal(seen[1][1], seen[2][1])
    noise = []
    for seed in (1, 2):
        module = MemoryDataModule(seed=seed)
        module.setup("fit")
        noise.append(module.datasets["train"][0, 0]["image"])
    assert not torch.equal(*noise)


@pytest.mark.filterwarnings("ignore")
def test_seed_of_the_command_line_reaches_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(variable, "0")
    seeds = [
        LightningCLI(Recorder, MemoryDataModule, run=False, args=["--seed_everything=5", *given]).datamodule.seed
        for given in (["--data.seed=null"], ["--data.seed=3"])
    ]
    assert seeds == [5, 3]


def test_seed_of_the_run_has_to_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "lucky")
    with pytest.raises(ValueError, match="PL_GLOBAL_SEED has to be a non-negative integer, got 'lucky'"):
        MemoryDataModule(seed=None)


def test_validation_is_its_own_split_unless_said_otherwise() -> None:
    assert not MemoryDataModule().val_is_test


def change(name: str, value: object) -> Callable[[], MemoryDataModule]:
    def make() -> MemoryDataModule:
        module = MemoryDataModule()
        setattr(module, name, value)
        module.setup("fit")
        return module

    return make


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="train_subset is 99, but the training split has 11 samples"):
        change("train_subset", 99)()
    with pytest.raises(ValueError, match="train split of MemoryDataModule holds no frames"):
        change("sizes", {"train": 0, "val": 1, "test": 1})()
    with pytest.raises(RuntimeError, match="call setup"):
        MemoryDataModule().train_dataloader()
    with pytest.raises(ValueError, match="Stage 'fitting' is not known"):
        MemoryDataModule().setup("fitting")
    with pytest.raises(ValueError, match="batch_size has to be at least 1, got 0"):
        MemoryDataModule(batch_size=0)
    with pytest.raises(ValueError, match="num_workers must not be negative, got -1"):
        MemoryDataModule(num_workers=-1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limits", [EPOCHS, STEPS], ids=["epochs", "steps"])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_end", "on_train_epoch_end"])
def test_run_may_be_resumed_again_and_again(tmp_path: Path, hook: str, limits: dict[str, Any]) -> None:
    full = fit(limits)
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    fit(limits, callback=SaveAt(hook, 5, first))
    fit(limits, callback=SaveAt(hook, 10, second), resume=first)
    assert fit(limits, resume=second) == full[10:]


INTERVAL = STEPS | {"val_check_interval": 3, "check_val_every_n_epoch": None}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("step", [3, 6, 12])
def test_resume_from_validation_inside_an_epoch(tmp_path: Path, step: int, workers: int) -> None:
    checkpoint = tmp_path / "saved.ckpt"
    full = fit(INTERVAL, callback=SaveAt("on_validation_end", step, checkpoint))
    assert fit(INTERVAL, workers=workers, resume=checkpoint) == full[step:]


class FailAt(lightning.Callback):
    """Callback that raises an exception inside a batch."""

    def on_before_optimizer_step(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == 7:
            raise RuntimeError("broken off")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limits", [EPOCHS, STEPS, INTERVAL], ids=["epochs", "steps", "interval"])
def test_resume_from_the_checkpoint_of_an_exception_repeats_the_broken_batch(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    full = fit(limits)
    save = ModelCheckpoint(tmp_path, filename="broken", save_on_exception=True, save_top_k=0, save_last=False)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, callbacks=[FailAt(), save], **limits,
    )  # fmt: skip
    module = Recorder()
    with pytest.raises(RuntimeError, match="broken off"):
        trainer.fit(module, datamodule=MemoryDataModule())
    (checkpoint,) = tmp_path.glob("*.ckpt")
    assert fit(limits, resume=checkpoint) == full[7:]
