"""Refuses settings of the right type but with a senseless value, before anything is written or trained."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jsonargparse import Namespace

from lightning_modules.command_line.secret_values import check_secrets
from lightning_modules.command_line.wording import shown

_LARGEST_SEED = 2**32 - 1  # numpy takes no larger one
_GROUPS = ("model.init_args.evaluation", "model.init_args.optimisation")
_TRAINS_NOTHING = "nothing would be trained; to evaluate a checkpoint there is `test`"


def _count(value: Any) -> bool:
    return value is None or value >= 1


def _not_negative(value: Any) -> bool:
    return value is None or value >= 0


def _positive(value: Any) -> bool:
    return value is None or value > 0


def _batches(value: Any) -> bool:
    """Whether a value is a number of batches or a part of an epoch."""
    return value is None or (0 < value <= 1 if isinstance(value, float) else value >= 1)


def _length(value: Any) -> bool:
    return value is None or value == -1 or value >= 1


@dataclass(frozen=True)
class _Rule:
    """A condition on a setting of the trainer, for one command or (None) for all."""

    name: str
    holds: Callable[[Any], bool]
    needed: str
    command: str | None = None
    at_zero: str = ""


_RULES = (
    _Rule("max_steps", _length, "at least 1, or -1 for no limit", "fit", _TRAINS_NOTHING),
    _Rule("max_epochs", _length, "at least 1, or null", "fit", _TRAINS_NOTHING),
    _Rule("limit_train_batches", _batches, "at least 1 batch, or a part in (0, 1]", "fit", _TRAINS_NOTHING),
    _Rule("limit_val_batches", _batches, "at least 1 batch, or a part in (0, 1]", "validate"),
    _Rule("limit_test_batches", _batches, "at least 1 batch, or a part in (0, 1]", "test"),
    _Rule("limit_predict_batches", _batches, "at least 1 batch, or a part in (0, 1]", "predict"),
    _Rule("limit_val_batches", _not_negative, "not negative"),
    _Rule("limit_test_batches", _not_negative, "not negative"),
    _Rule("overfit_batches", _not_negative, "not negative"),
    _Rule("val_check_interval", _batches, "at least 1 step, or a part of an epoch in (0, 1]"),
    _Rule("check_val_every_n_epoch", _count, "at least 1, or null"),
    _Rule("log_every_n_steps", _count, "at least 1"),
    _Rule("accumulate_grad_batches", _count, "at least 1"),
    _Rule("gradient_clip_val", _not_negative, "not negative; null clips nothing"),
    _Rule("num_sanity_val_steps", lambda value: value is None or value >= -1, "at least 0, or -1 for all"),
    _Rule("reload_dataloaders_every_n_epochs", _not_negative, "not negative"),
    _Rule("min_steps", _not_negative, "not negative"),
    _Rule("min_epochs", _not_negative, "not negative"),
)
_OPTIMIZER_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (_positive, "positive; at 0 nothing would be trained"),
    "weight_decay": (_not_negative, "not negative"),
    "eps": (_not_negative, "not negative"),
    "momentum": (_not_negative, "not negative"),
}


def check_settings(config: Namespace, command: str) -> None:
    """Refuse senseless values.

    Args:
        config: Resolved configuration of a subcommand.
        command: The subcommand.

    Raises:
        ValueError: If a number is not finite, a text is ``None``, a group of settings is null, an interval or a number
            of batches is 0 or negative, a learning rate is not positive, a number of processes does not fit the CPU, a
            training has no end that its schedule could run to, ``weights_only`` is false, or a text holds a secret.
    """
    if config.get("weights_only") is False:
        raise ValueError(
            "weights_only is false, but a checkpoint may hold code then, which would run: leave it out; checkpoints of "
            "this project hold tensors and plain values alone"
        )
    check_secrets(config)
    for key, value in _leaves({name: config.get(name) for name in ("model", "data", "trainer")}, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key} is {value}, but a finite number is needed")
        if value is None and key in _GROUPS:
            raise ValueError(f"{key} is null, but a group of settings is needed: leave it out for those of the paper")
        if value == "None":
            raise ValueError(f"{key} is the text 'None': in YAML, nothing is written null")
    for rule in _RULES:
        value = config.trainer.get(rule.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and rule.command in (None, command) and not rule.holds(value):
            reason = rule.at_zero if rule.at_zero and value == 0 else f"but has to be {rule.needed}"
            raise ValueError(f"trainer.{rule.name} is {shown(value)}, {_joined(reason)}")
    for key, init_args in _optimizers({"model": config.get("model")}, ""):
        for name, (holds, needed) in _OPTIMIZER_RULES.items():
            value = init_args.get(name)
            if isinstance(value, int | float) and not holds(value):
                raise ValueError(f"{key}.{name} is {shown(value)}, but has to be {needed}")
    _check_devices(config.trainer)
    if command == "fit":
        _check_end(config)


def check_seed(seed: Any) -> None:
    """Refuse a seed that the random number generators do not take.

    Args:
        seed: ``seed_everything`` of a configuration: a seed, true for a random one, or false for none.

    Raises:
        ValueError: If it is a number outside of [0, 2^32 - 1].
    """
    if isinstance(seed, int) and not isinstance(seed, bool) and not 0 <= seed <= _LARGEST_SEED:
        raise ValueError(f"seed_everything is {seed}, but has to be between 0 and {_LARGEST_SEED}")


def _check_devices(trainer: Namespace) -> None:
    """Make sure that a training on the CPU names a number of processes, and no more of them than there are cores."""
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if devices == "auto" or not (accelerator == "cpu" or (accelerator == "auto" and not on_gpu)):
        return
    if isinstance(devices, str) and devices.strip().isdigit():
        devices = int(devices)
    if not isinstance(devices, int) or devices < 1:
        raise ValueError(
            f"trainer.devices is {shown(devices)}, but on the CPU it is a number of processes: give 1 or auto"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if devices > max(cores, 2):  # two are always possible, to try out distributed training
        raise ValueError(
            f"trainer.devices is {devices}, but this machine has {cores} CPU cores, one per process: give at "
            f"most {max(cores, 2)}"
        )


def _joined(reason: str) -> str:
    return reason if reason.startswith("but") else f"so {reason}"


def _check_end(config: Namespace) -> None:
    """Make sure that a training has an end, and a number of steps or epochs for its schedule."""
    trainer = config.trainer
    endless = trainer.get("max_steps", -1) in (-1, None) and trainer.get("max_epochs") in (-1, None)
    if not endless or trainer.get("fast_dev_run"):
        return
    if trainer.get("max_time") is None:
        raise ValueError("the training has no end: set trainer.max_steps, trainer.max_epochs or trainer.max_time")
    model = config.get("model")
    init_args = (model.get("init_args") if model is not None else None) or {}
    if (init_args.get("optimisation") or {}).get("lr_scheduler") is not None:
        raise ValueError(
            "trainer.max_time alone does not give the schedule of the learning rate a length: set "
            "trainer.max_steps or trainer.max_epochs too"
        )


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        yield from ((f".{key}", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", inner) for index, inner in enumerate(value))


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Plain values below a value with their dotted keys."""
    inner = list(_children(value))
    if not inner:
        yield prefix.removeprefix("."), value
    for key, child in inner:
        yield from _leaves(child, prefix + key)


def _optimizers(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Arguments of every optimizer of torch below a value, with their dotted keys."""
    inner = dict(_children(value))
    path = inner.get(".class_path")
    if isinstance(path, str) and path.startswith("torch.optim.") and ".lr_scheduler." not in path:
        yield f"{prefix}.init_args".removeprefix("."), inner.get(".init_args") or {}
    for key, child in inner.items():
        yield from _optimizers(child, prefix + key)
