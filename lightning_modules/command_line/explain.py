"""One sentence about a refused command line: the full key, the value, what is expected and the nearest name."""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lightning_modules.command_line.classes import ClassRefusedError, check_path
from lightning_modules.command_line.diagnosis import Fault, faults, parser_types
from lightning_modules.command_line.messages import in_plain_words
from lightning_modules.command_line.settings_tree import options, settings_tree
from lightning_modules.command_line.wording import did_you_mean, expected
from structures.private_names import option_strings, subcommand_parsers

_EXPERIMENT = "--config experiments/NAME.yaml"


def explain(parser: argparse.ArgumentParser, words: Sequence[str], message: str) -> str:
    """The reason why the words are not a valid command.

    Args:
        parser: The parser that refused them; one with subcommands, or one without.
        words: The words of the command line.
        message: The parser's own message.

    Returns:
        One line.
    """
    commands = subcommand_parsers(parser)
    if commands:
        command = next((word for word in words if word in commands), None)
        if command is None or words[0] != command:
            return _no_command(commands, command, words)
        parser, words = commands[command], words[1:]
    known = option_strings(parser)
    if found := re.fullmatch(r"argument (\S+): expected one argument", " ".join(message.split())):
        name = found[1].split("/")[-1]
        hint = parser_types(parser).get(name.lstrip("-"))
        return f"{name}: a value is missing" + (f" ({expected(hint)})" if hint is not None else "")
    tree = settings_tree(words, getattr(parser, "default_config_files", None) or ())
    refused, place = _refused_import(tree, message)
    if refused and place:
        return f"{place}: {refused}"
    others = [fault for fault in faults(parser, tree) if fault.key.split(".")[0] not in ("model", "data")]
    if others:
        return _likeliest(others, words, message)
    if named := _no_class(parser, tree, words, message):
        return named
    found_faults = faults(parser, tree)
    if found_faults:
        return _likeliest(found_faults, words, message)
    if refused:
        return refused
    stray = [word for word in _positions(words) if f" {word}" in f" {message}"]
    if "unrecognized" in message and stray:
        return in_plain_words(f"unrecognized arguments: {stray[0]}")
    return in_plain_words(message, known)


def _refused_import(tree: Mapping[str, Any], message: str) -> tuple[str | None, str | None]:
    """The reason why the parser did not use what a setting names, and the setting; None where they are unknown."""
    found = re.search(r"Importing '([\w.]+)' is not allowed", message)
    if found is None:
        return None, None
    try:
        check_path(found[1])
    except ClassRefusedError as error:
        return str(error), next(_keys_of(tree, found[1]), None)
    return None, None


def _keys_of(value: Any, path: str, key: str = "") -> Iterator[str]:
    """Dotted keys of the settings whose value is a dotted path."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _keys_of(inner, path, key if name == "class_path" else f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _keys_of(inner, path, f"{key}[{position}]")
    elif value == path:
        yield key


def _no_command(commands: Iterable[str], command: str | None, words: Sequence[str]) -> str:
    names = list(commands)
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    if command is not None:
        return f"{words[0]} is before '{command}': the command comes first, as in `{command} {words[0]} ...`"
    if not words or words[0].startswith("-"):
        return f"no command is given: {listed} comes first, as in `python -m cli fit {_EXPERIMENT}`"
    similar = did_you_mean(words[0], names) or f"; there are {listed}"
    return f"there is no command '{words[0]}'{similar}"


def _no_class(parser: argparse.ArgumentParser, tree: Mapping[str, object], words: Sequence[str], message: str) -> str:
    """A sentence if model or data have no class, else an empty text."""
    known = parser_types(parser)
    names = [name for name, _ in options(words)]
    before = names[: names.index("config")] if "config" in names else names
    early = next((name for name in before if name.split(".")[0] in ("model", "data") and "." in name), None)
    if early is not None and "model" in known and "not accepted" in message:
        return f"--{early}: {early.split('.')[0]} has no class yet at that place: begin with {_EXPERIMENT}"
    without = []
    for key in ("model", "data"):
        value = tree.get(key)
        if key in known and key in tree and value is None:
            return f"{key}: null is given, but a class with its settings is needed"
        named = value.get("class_path") is not None if isinstance(value, Mapping) else value is not None
        if key in known and not named:
            without.append(key)
    if not without:
        return ""
    given = [value for name, value in options(words) if name == "config" and value]
    if "model" not in known:
        return f"no data are given: name a file, --{without[0]} experiments/data/NAME.yaml"
    what = " and ".join(without)
    if not given:
        return f"no experiment is given ({what} {'are' if len(without) > 1 else 'is'} missing): add {_EXPERIMENT}"
    files = " and ".join(f"'{file}'" for file in given)
    verb = "name" if len(given) > 1 else "names"
    return (
        f"{files} {verb} no class of {what}: a file that only changes settings is laid over an experiment, "
        f"{_EXPERIMENT} --config {given[-1]}"
    )


def _likeliest(found: list[Fault], words: Sequence[str], message: str) -> str:
    """The fault that the parser's message names, else the first one in an option, else the first."""
    named = re.findall(r"'([\w.]+)' is not accepted|Parser key \"([\w.]+)\"|does not accept option '([\w.]+)'", message)
    leaves = {part for match in named for part in match if part}
    leaves |= {leaf.rpartition(".")[0] for leaf in leaves if "." in leaf}
    by_message = [f for f in found if any(f".{f.key}".endswith(f".{leaf}") for leaf in leaves)]
    given = {name for name, _ in options(words)}
    ordered = by_message or [f for f in found if f.key in given] or found
    return str(ordered[0])


def _positions(words: Sequence[str]) -> list[str]:
    """Words that are neither options nor values of options."""
    previous = ["", *words]
    return [
        w for before, w in zip(previous, words, strict=False) if not w.startswith("-") and not before.startswith("--")
    ]
