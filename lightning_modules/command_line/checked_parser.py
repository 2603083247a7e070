"""A parser that imports and instantiates only what settings may name (``structures/allowed_imports.py``)."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jsonargparse
from jsonargparse import Namespace, set_parsing_settings

from structures.allowed_imports import ImportRefusedError, allow, check_function, check_import, verdicts
from structures.private_names import set_import_verdicts

OPTION = "--allow-class"
ANY_OPTION = "--allow-any-class"

# A mapping with a class_path in an argument of no type stays a mapping.
set_parsing_settings(instantiate_subclass_spec_in_any=False)


def refresh() -> None:
    """Make jsonargparse refuse, before it imports anything, what may not be named."""
    set_import_verdicts(verdicts())


def take_allowed(words: Sequence[str]) -> list[str]:
    """Allow what ``--allow-class NAME`` and ``--allow-any-class`` name, and return the other words.

    They are options of the command line alone: a file of settings cannot allow its own classes.

    Raises:
        ValueError: If ``--allow-class`` has no value, or one that is not the name of a module.
    """
    others: list[str] = []
    position = 0
    while position < len(words):
        name, equals, value = words[position].partition("=")
        position += 1
        if name == ANY_OPTION and not equals:
            allow("*")
        elif name == OPTION:
            if not equals and position < len(words):
                value = words[position]
                position += 1
            if not value or value.startswith("-") or value == "*":
                raise ValueError(f"{OPTION} needs the name of a module of your own, such as my_module")
            for module in value.split(","):
                allow(module)
        else:
            others.append(words[position - 1])
    refresh()
    return others


def check_classes(value: Any, key: str = "") -> None:
    """Make sure that parsed settings name only classes, and functions that do no harm.

    Args:
        value: A namespace, mapping, list or plain value.
        key: Its dotted key, for the message.

    Raises:
        ImportRefusedError: If something else would be called; the message begins with the key.
    """
    value = vars(value) if isinstance(value, Namespace) else value
    try:
        if isinstance(value, Mapping):
            path = value.get("class_path")
            if isinstance(path, str) and "." in path:
                _check_class(path)
        elif inspect.isroutine(value):
            check_function(f"{value.__module__}.{value.__qualname__}")
    except ImportRefusedError as error:
        raise ImportRefusedError(f"{key}: {error}" if key else str(error)) from error
    if isinstance(value, Mapping):
        for name, inner in value.items():
            check_classes(inner, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            check_classes(inner, f"{key}[{position}]")


def _check_class(path: str) -> None:
    """Make sure that a class path that may be imported names a class: a function would be called with its settings."""
    check_import(path)
    found = _named(path)
    if inspect.isclass(found):
        check_import(f"{found.__module__}.{found.__qualname__}")
    elif inspect.isroutine(found):
        check_function(f"{found.__module__}.{found.__qualname__}")


def _named(path: str) -> Any:
    """The object at a dotted path, whose modules jsonargparse has imported; None if there is none."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        owner = _named(module) if "." in module else None
        return getattr(owner, name, None)


class CheckedParser(jsonargparse.ArgumentParser):
    """``jsonargparse.ArgumentParser`` that refuses class paths and functions which files may not name."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        refresh()

    def instantiate(self, *args: Any, **settings: Any) -> Any:
        """Instantiate the classes of parsed settings, after a check of all of them.

        Raises:
            ImportRefusedError: If the settings would call something that they may not name.
        """
        for config in (*args, *settings.values()):
            if isinstance(config, Namespace | Mapping):
                command = config.get("subcommand")
                check_classes(config.get(command) if isinstance(command, str) else config)
        return super().instantiate(*args, **settings)


refresh()
