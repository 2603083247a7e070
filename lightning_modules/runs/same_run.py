"""Whether a command goes on with the training in its run's folder: with the same settings, and until it is finished."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

_WITHOUT_EFFECT = (
    *("ckpt_path", "runs_dir", "tags", "test_after_fit", "artifacts", "verbose", "weights_only"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("data.init_args.num_workers", "data.init_args.processes"),
)
"""Settings that change neither weights nor metrics of a training; ``ckpt_path`` is looked at apart."""
_LENGTHS = ("trainer.max_steps", "trainer.max_epochs", "trainer.max_time")
_SHOWN = 4
_LONGEST_VALUE = 60
_MISSING = "not set"


class OtherSettingsError(ValueError):
    """The run's folder holds a training with other settings; the message is one sentence."""


def plain_settings(parser: ArgumentParser, config: Namespace) -> dict[str, Any]:
    """A configuration as plain values, as ``config.yaml`` has it.

    Args:
        parser: The parser of the command.
        config: Its resolved configuration.
    """
    settings: dict[str, Any] = yaml.safe_load(parser.dump(config, skip_none=False, skip_validation=True))
    return settings


def recorded_settings(run_dir: Path) -> dict[str, Any] | None:
    """The settings of the training in a run's folder; None if they are not recorded."""
    try:
        settings = yaml.safe_load((run_dir / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return settings if isinstance(settings, dict) else None


def belongs_to(path: str | Path, run_dir: Path) -> bool:
    """Whether a checkpoint is in a run's folder."""
    return Path(path).resolve().is_relative_to(run_dir.resolve())


def differences(before: Mapping[str, Any], now: Mapping[str, Any], run_dir: Path) -> dict[str, str]:
    """Settings that differ and matter, as ``old -> new`` by their dotted key.

    Args:
        before: Recorded settings.
        now: Settings of this command, plain values.
        run_dir: The run's folder; checkpoints in it are all the same origin, as is none.
    """
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    found = {
        key: f"{_text(old, key)} -> {_text(new, key)}"
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key, _MISSING) != new.get(key, _MISSING) and not _has_no_effect(key)
    }
    origins = [_origin(settings.get("ckpt_path"), run_dir) for settings in (before, now)]
    if origins[0] != origins[1]:
        found["ckpt_path"] = f"{_shown(origins[0])} -> {_shown(origins[1])}"
    return found


def check_same(changed: Mapping[str, str], run_dir: Path) -> None:
    """Refuse to go on with other settings.

    Args:
        changed: What :func:`differences` found.
        run_dir: The run's folder.

    Raises:
        OtherSettingsError: If anything changed; the message names it and the ways to go on.
    """
    if not changed:
        return
    if changed.keys() <= {*_LENGTHS}:
        how = "to train on to the new length"
    else:
        how = "to go on with the new settings all the same"
    raise OtherSettingsError(
        f"{run_dir} holds a training with other settings: {in_words(changed)}. Restore them, set RUN_ID to another id "
        f"to begin a new run, or add --ckpt_path last {how}"
    )


def in_words(changed: Mapping[str, str]) -> str:
    """The first few changed settings in one line."""
    shown = [f"{key} {change}" for key, change in [*changed.items()][:_SHOWN]]
    more = len(changed) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def finished(run_dir: Path, checkpoint: Mapping[str, Any], settings: Mapping[str, Any], *, changed: bool) -> str | None:
    """What a finished run has reached, in words; None if something is left to train or to test.

    Args:
        run_dir: The run's folder.
        checkpoint: Content of its newest checkpoint.
        settings: Settings of this command, plain values.
        changed: Whether they differ from those that were recorded; a training that was stopped early then goes on.
    """
    try:
        record = json.loads((run_dir / "run.json").read_text())
    except (OSError, ValueError):
        return None
    step = int(checkpoint["global_step"])
    early = not changed and record.get("ended_at_step") == step
    tested = record.get("test")
    if not (early or _length_is_reached(checkpoint, settings)) or (settings.get("test_after_fit") and tested is None):
        return None
    score = tested.get("test/score") if isinstance(tested, dict) else None
    return f"step {step}" + ("" if score is None else f", test/score {score:.4f}")


def _length_is_reached(checkpoint: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    trainer = settings["trainer"]
    steps, epochs = trainer.get("max_steps"), trainer.get("max_epochs")
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    at_steps = steps is not None and 0 < steps == checkpoint["global_step"]
    return at_steps or (epochs is not None and 0 < epochs == progress.get("processed", 0))


def _origin(ckpt_path: str | None, run_dir: Path) -> str | None:
    """Checkpoint of another run from which a training begins."""
    own = ckpt_path is None or ckpt_path == "last" or belongs_to(ckpt_path, run_dir)
    return None if own else ckpt_path


def _has_no_effect(key: str) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}[")) for name in _WITHOUT_EFFECT)


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Plain values with their dotted keys; empty mappings and lists count as values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}[{index}]")
    else:
        yield prefix, value


def _text(values: Mapping[str, Any], key: str) -> str:
    return _shown(values[key]) if key in values else _MISSING


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
