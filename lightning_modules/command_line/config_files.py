"""What a file given as ``--config`` is, where it is no experiment: read and judged before the parser sees it."""

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.command_line.wording import did_you_mean, nearest

_EXPERIMENTS = Path(__file__).parents[2] / "experiments"
_LONGEST = 10_000_000  # bytes; a configuration has a few thousand


class ConfigFileError(ValueError):
    """A file is no configuration; the message names it and says what it is."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, where YAML's own loader keeps the later one without a word."""


def _unique(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    first: dict[Any, int] = {}
    for key_node, _ in node.value:
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if isinstance(key, str) and key != "<<" and key in first:
            raise ConfigFileError(f"'{key}' stands twice, in lines {first[key]} and {line}: keep one of them")
        if isinstance(key, str):
            first[key] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique)


def check_config_file(text: str, known: Iterable[str]) -> None:
    """Make sure that a word given as ``--config`` names a file of settings.

    Args:
        text: A path; settings written out in place of one are left to the parser.
        known: Names of the settings at the top.

    Raises:
        ConfigFileError: If it is missing, a folder, no text, no YAML, no mapping, or a file of another kind.
    """
    path = Path(text)
    try:
        if path.is_dir():
            raise ConfigFileError(f"--config {text!r} is a folder: name a file in it, experiments/NAME.yaml for one")
        if not path.is_file():
            if "{" in text or "\n" in text or ": " in text:
                return
            raise ConfigFileError(f"--config {text!r} does not exist{_similar_file(path)}")
        content = path.read_bytes() if path.stat().st_size <= _LONGEST else b"\0"
    except OSError as error:
        raise ConfigFileError(f"--config {text!r} cannot be read: {error.strerror}") from error
    if zipfile.is_zipfile(path):
        raise ConfigFileError(f"--config {text!r} is a checkpoint or another archive: a checkpoint is --ckpt_path")
    _judge(text, read_mapping(content, f"--config {text!r}"), list(known))


def read_mapping(content: bytes, name: str) -> dict[Any, Any]:
    """Settings of a YAML file.

    Args:
        content: What the file holds.
        name: How a sentence calls it.

    Raises:
        ConfigFileError: If it is no UTF-8 text, empty, no YAML, no mapping, or has a key twice.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        kind = "no text" if b"\0" in content or error.start == 0 else f"no UTF-8 text (byte {error.start})"
        raise ConfigFileError(f"{name} is {kind}: a YAML file of settings is needed") from error
    if "\0" in text:
        raise ConfigFileError(f"{name} is no text: a YAML file of settings is needed")
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line[: len(line) - len(line.lstrip())] and line.strip():
            raise ConfigFileError(f"{name} is indented by a tab in line {number}: YAML takes spaces only")
    try:
        settings = yaml.load(text, Loader=_UniqueKeyLoader)
    except ConfigFileError as error:
        raise ConfigFileError(f"{name}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigFileError(f"{name} is no YAML{where}: {reason}") from error
    if settings is None:
        raise ConfigFileError(f"{name} is empty: a YAML file of settings is needed")
    if not isinstance(settings, dict):
        kind = "a list" if isinstance(settings, list) else "a single value"
        raise ConfigFileError(f"{name} holds {kind}, where a mapping of settings (name: value) is needed")
    return settings


def _judge(text: str, settings: Mapping[Any, Any], known: list[str]) -> None:
    name = Path(text).stem
    if {"experiment", "variants"} <= settings.keys():
        raise ConfigFileError(
            f"--config {text!r} is an ablation: `make ablation EXP={name}` or `python -m tools.ablation {text}` runs it"
        )
    if "class_path" in settings:
        path = str(settings["class_path"])
        option = {"datamodules": "data", "lightning_modules": "model"}.get(path.split(".")[0], "")
        what = {"data": "a data set", "model": "a model"}.get(option, "one class")
        advice = (
            f"beside --config experiments/NAME.yaml give --{option} {text}" if option else "an experiment is needed"
        )
        raise ConfigFileError(f"--config {text!r} describes {what} ({path}), no experiment: {advice}")
    for key in settings:
        if not isinstance(key, str):
            raise ConfigFileError(f"--config {text!r} has the key {key!r}, where the name of a setting is needed")
        if key.removesuffix("+").split(".")[0] not in known:
            similar = did_you_mean(key, known) or f"; known are {', '.join(known)}"
            raise ConfigFileError(f"--config {text!r}: there is no setting '{key}'{similar}")


def _similar_file(path: Path) -> str:
    """The end of a sentence about a missing file: one of a similar name in its folder, or an experiment of its name."""
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder '{folder}'"
    experiment = _EXPERIMENTS / f"{path.stem}.yaml"
    if experiment.is_file() and not path.with_suffix(".yaml").is_file():
        return f"; did you mean '{os.path.relpath(experiment)}'?"
    similar = nearest(path.stem, [file.stem for file in folder.glob("*.y*ml")])
    found = next((file for file in sorted(folder.glob("*.y*ml")) if file.stem == similar), None)
    return "" if found is None else f"; did you mean '{found}'?"
