"""The variants of an ablation file, read and checked; imports no Lightning, so that reading them costs nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.command_line.wording import did_you_mean

_VARIANT_KEYS = ("args", "note", "experiment", "like")


@dataclass(frozen=True)
class Variant:
    """Changes to the experiment: arguments of ``python -m cli fit``, and a note for the table."""

    args: tuple[str, ...] = ()
    note: str = ""
    experiment: str | None = None
    """The experiment that is trained in place of the ablation's; None takes the ablation's."""


def read_variants(content: Mapping[str, Any], path: Path) -> dict[str, Variant]:
    """Variants of an ablation by name, each with the arguments of the variant that it is ``like`` before its own.

    Args:
        content: What the ablation file holds.
        path: The file, for sentences.

    Raises:
        ValueError: If a variant is wrong, or is like one that does not exist or that is like itself.
    """
    given = content.get("variants")
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{path}: variants is {given!r}, but a mapping of names is needed.")
    settings: dict[str, Mapping[str, Any]] = {}
    for name, value in given.items():
        settings[name] = {} if value is None else value
        check_keys(settings[name], _VARIANT_KEYS, (), f"{path}: variant '{name}'")
    return {name: _variant(name, settings, path) for name in settings}


def _variant(name: str, settings: Mapping[str, Mapping[str, Any]], path: Path, after: tuple[str, ...] = ()) -> Variant:
    """One variant; ``after`` lists those that are like it."""
    own, where = settings[name], f"{path}: variant '{name}'"
    like = Variant()
    if own.get("like") is not None:
        if own["like"] not in settings:
            similar = did_you_mean(str(own["like"]), settings) or f"; there are {', '.join(settings)}."
            raise ValueError(f"{where} is like '{own['like']}', which is no variant{similar}")
        if own["like"] in (*after, name):
            raise ValueError(f"{where} is like itself: {' -> '.join((*after, name, own['like']))}.")
        like = _variant(own["like"], settings, path, (*after, name))
    return Variant(
        args=(*like.args, *arguments_of(own.get("args", []), f"{where}: args")),
        note=" ".join(str(own.get("note", "")).split()),
        experiment=own.get("experiment") or like.experiment,
    )


def arguments_of(value: Any, where: str) -> tuple[str, ...]:
    """Arguments as text; numbers, flags and nested values are written as YAML reads them back.

    Args:
        value: A list of command line arguments.
        where: Where it stands, for a sentence.

    Raises:
        ValueError: If it is no list.
    """
    if not isinstance(value, list):
        raise ValueError(f"{where} is {value!r}, but a list of command line arguments is needed.")
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in value)


def check_keys(given: Any, known: Sequence[str], required: Sequence[str], where: str) -> None:
    """Make sure that a value is a mapping of known keys with the required ones.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is {given!r}, but a mapping with the keys {', '.join(known)} is needed.")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        similar = did_you_mean(unknown[0], known) or f"; known are {', '.join(known)}."
        raise ValueError(f"{where} has the unknown key '{unknown[0]}'{similar}")
    missing = [key for key in required if key not in given]
    if missing:
        raise ValueError(f"{where} lacks the key '{missing[0]}'.")
