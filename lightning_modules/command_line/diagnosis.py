"""Finds wrong settings in a tree: full key, value and what was expected."""

import enum
import inspect
import typing
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lightning_modules.command_line.classes import (
    ClassPathError,
    ClassRefusedError,
    check_path,
    find_class,
    group_of,
    parameters_of,
    settings_named,
)
from lightning_modules.command_line.settings_tree import CLASS_KEYS, plain
from lightning_modules.command_line.wording import (
    did_you_mean,
    expected,
    is_union,
    nearest,
    returned_classes,
    shown,
    takes_a_class,
)
from structures.private_names import parser_actions, type_hint

_ARRAYS = (list, set, frozenset, Sequence, Iterable)
_KINDS = {"model": "a model", "data": "a data module"}
_META = "__path__"
_OPTIONS = ("config", "print_config", "help")
"""Options of every command that are no settings, and so have no type."""


@dataclass(frozen=True)
class Fault:
    """A wrong setting: its dotted key and the problem."""

    key: str
    problem: str
    refused: bool = False
    """Whether the value names code that settings may not name."""

    def __str__(self) -> str:
        """The sentence."""
        return f"{self.key}: {self.problem}"


def parser_types(parser: ArgumentParser) -> dict[str, Any]:
    """Type of every setting of a parser, by its dotted name; Any where it has none."""
    types: dict[str, Any] = {}
    for action in parser_actions(parser):
        if action.dest in ("help", "config", "print_config", "subcommand") or action.dest.endswith(".help"):
            continue
        if action.option_strings:
            hint = type_hint(action)
            types[action.dest] = Any if hint is None else hint
    # A group can be given as a file; only its members have types.
    return {dest: hint for dest, hint in types.items() if not any(other.startswith(f"{dest}.") for other in types)}


def faults(parser: ArgumentParser, tree: Mapping[str, Any]) -> list[Fault]:
    """The wrong settings of a tree, in the order of its keys; empty if none is found."""
    return _of_group(parser_types(parser), tree, "", tree)


def _of_group(types: Mapping[str, Any], tree: Mapping[str, Any], prefix: str, whole: Mapping[str, Any]) -> list[Fault]:
    found = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        members = {dest.removeprefix(f"{key}.").split(".")[0] for dest in types if dest.startswith(f"{key}.")}
        if key in types:
            found += check_value(key, value, types[key])
        elif members and isinstance(value, Mapping):
            found += _of_group(types, value, f"{key}.", whole)
        elif members:
            found.append(Fault(key, f"{shown(value)} is no mapping of settings such as {{{min(members)}: value}}"))
        else:
            inner = next(iter(value), None) if isinstance(value, Mapping) else None
            key = key if inner is None else f"{key}.{inner}"
            found.append(Fault(key, f"there is no such setting{_elsewhere(key, prefix, types, whole)}"))
    return found


def _elsewhere(key: str, prefix: str, types: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """End of a sentence: the nearest setting of the group, or another place with a setting of exactly this name."""
    leaf = key.split(".")[-1]
    places = [dest for dest in types if dest.split(".")[-1] == leaf] + list(_places(whole, leaf, ""))
    siblings = [dest for dest in types if dest.startswith(prefix)]
    option = nearest(key, _OPTIONS) if prefix == "" and "model" in types else None
    if option is not None and nearest(key, [option, *siblings]) == option:
        return f"; did you mean '--{option}'?"
    if nearest(key, siblings) is None and places:
        return f"; did you mean '{places[0]}'?"
    return did_you_mean(key, siblings)


def _places(value: Any, leaf: str, prefix: str) -> Iterable[str]:
    """Dotted keys below which a class takes an argument of that name."""
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            try:
                names = parameters_of(find_class(value["class_path"], ()))
            except ClassPathError:
                names = {}
            for name in [leaf] if leaf in names else settings_named(leaf, names):
                yield f"{prefix}init_args.{name}"
        for key, inner in value.items():
            yield from _places(inner, leaf, f"{prefix}{key}.")


def check_value(key: str, value: Any, hint: Any) -> list[Fault]:
    """The faults of a value of a type, including those of its parts.

    Args:
        key: Dotted key of the value.
        value: Plain value, as a YAML file holds it; texts of numbers are accepted as numbers.
        hint: The type.
    """
    if hint is Any or hint is inspect.Parameter.empty or isinstance(hint, typing.TypeVar | str):
        return []
    if is_union(hint):
        return _check_union(key, value, hint)
    origin = get_origin(hint)
    if origin is typing.Annotated:
        return check_value(key, value, get_args(hint)[0])
    if origin is Callable or hint is Callable:
        if takes_a_class(hint):
            return _check_class(key, value, returned_classes(hint), takes_first=True)
        return _check_callable(key, value)
    group = group_of(hint)
    if group is not None and not (isinstance(value, Mapping) and "class_path" in value):
        return _check_group(key, value, group)
    if takes_a_class(hint):
        return _check_class(key, value, (hint,))
    if isinstance(value, str) and hint is not str and origin is not Literal:
        value = plain(value)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        kinds = get_args(hint)
        return (
            [f for name, item in value.items() for f in check_value(f"{key}.{name}", item, kinds[1])] if kinds else []
        )
    if isinstance(value, list | tuple) and (origin in _ARRAYS or origin is tuple):
        return _check_items(key, value, hint)
    if _is_of(value, hint):
        return []
    if value is None and not isinstance(hint, type(None)):
        return [Fault(key, f"a value is missing (null); {expected(hint)} is needed")]
    if origin is Literal:
        choices = [str(choice) for choice in get_args(hint)]
        return [Fault(key, f"{shown(value)} is none of {', '.join(choices)}{did_you_mean(str(value), choices)}")]
    return [Fault(key, f"{shown(value)} is not {expected(hint)}")]


def _is_of(value: Any, hint: Any) -> bool:
    if hint is type(None):
        return value is None
    if get_origin(hint) is Literal:
        return value in get_args(hint) or str(value) in map(str, get_args(hint))
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is str or (inspect.isclass(hint) and issubclass(hint, Path)):
        return isinstance(value, str | int | float | Path) and not isinstance(value, bool)
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return value in hint.__members__
    if get_origin(hint) in (dict, Mapping, tuple, *_ARRAYS) or hint in (dict, Mapping, tuple, *_ARRAYS):
        return isinstance(value, dict if get_origin(hint) in (dict, Mapping) or hint in (dict, Mapping) else list)
    return True  # other types are left to the parser


def _check_union(key: str, value: Any, hint: Any) -> list[Fault]:
    kinds = get_args(hint)
    results = [check_value(key, value, kind) for kind in kinds]
    if any(not result for result in results):
        return []
    refused = [result for result in results if any(fault.refused for fault in result)]
    if refused:
        return refused[0]
    # The alternative that is most like the value gives the best message.
    for kind, result in zip(kinds, results, strict=True):
        is_class = takes_a_class(kind) and not (inspect.isclass(kind) and kind.__name__ == "Tensor")
        spec = isinstance(value, Mapping) and "class_path" in value
        if is_class and (spec or (isinstance(value, str) and "." in value)):
            return result
        if isinstance(value, list | Mapping) and not is_class and not _is_plain_mismatch(value, kind):
            return result
    classes = [result for kind, result in zip(kinds, results, strict=True) if takes_a_class(kind)]
    if classes and all(takes_a_class(kind) or kind is type(None) for kind in kinds):
        return classes[0]
    choices = [str(c) for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
    similar = did_you_mean(str(value), choices) if isinstance(value, str) else ""
    return [Fault(key, f"{shown(value)} is not {expected(hint)}{similar}")]


def _is_plain_mismatch(value: Any, kind: Any) -> bool:
    """Whether the value is a list or mapping and the type accepts neither."""
    origin = get_origin(kind) or kind
    return origin not in (dict, Mapping) if isinstance(value, Mapping) else origin not in (tuple, *_ARRAYS)


def _check_items(key: str, value: Sequence[Any], hint: Any) -> list[Fault]:
    kinds = get_args(hint)
    if get_origin(hint) is tuple and Ellipsis not in kinds:
        if len(value) != len(kinds):
            count = "1 value" if len(value) == 1 else f"{len(value)} values"
            return [Fault(key, f"{shown(list(value))} has {count}, but {len(kinds)} are needed")]
        pairs = list(zip(value, kinds, strict=True))
    else:
        pairs = [(item, kinds[0] if kinds else Any) for item in value]
    return [fault for i, (item, kind) in enumerate(pairs) for fault in check_value(f"{key}[{i}]", item, kind)]


def _check_group(key: str, value: Any, settings: Mapping[str, inspect.Parameter]) -> list[Fault]:
    """A group of settings, which are given by name."""
    if not isinstance(value, Mapping):
        return [Fault(key, f"{shown(value)} is no mapping of settings such as {{{next(iter(settings))}: value}}")]
    result = []
    for name, given in value.items():
        if name in settings:
            result += check_value(f"{key}.{name}", given, settings[name].annotation)
        elif name != _META:
            similar = did_you_mean(str(name), settings) or f"; there are {', '.join(settings)}"
            result.append(Fault(f"{key}.{name}", f"there is no such setting{similar}"))
    return result


def _check_class(key: str, value: Any, bases: tuple[type, ...], *, takes_first: bool = False) -> list[Fault]:
    """Faults of a class path with its arguments; with ``takes_first`` the code supplies the first argument."""
    if isinstance(value, str):
        value = {"class_path": value}
    if not isinstance(value, Mapping):
        return [Fault(key, f"{shown(value)} is not {expected(bases[0])}, with or without init_args")]
    if value.get("class_path") is None and key not in _KINDS and not inspect.isabstract(bases[0]):
        value = {
            "class_path": f"{bases[0].__module__}.{bases[0].__qualname__}",
            "init_args": value.get("init_args", value),
        }
    if value.get("class_path") is None:
        kind = _KINDS.get(key, "a class")
        return [Fault(key, f"it names no class: set {key}.class_path to the class path of {kind}")]
    path = value["class_path"]
    if str(path).endswith((".yaml", ".yml")):
        return [Fault(key, _missing_file(str(path)))]
    try:
        found = find_class(str(path), bases)
    except ClassPathError as error:
        return [Fault(key, str(error), refused=isinstance(error, ClassRefusedError))]
    name = str(path).rpartition(".")[2]
    unknown = [part for part in value if part not in (*CLASS_KEYS, _META)]
    if {"model", "trainer"} & {*unknown}:
        where = f": name a file of experiments/{key}/ or a class path" if key == "data" else ""
        return [
            Fault(key, f"settings of a whole experiment are given where {_KINDS.get(key, 'a class')} is needed{where}")
        ]
    if unknown:
        where = f"{key}.init_args.{unknown[0]}"
        return [Fault(f"{key}.{unknown[0]}", f"arguments of {name} belong in init_args: did you mean '{where}'?")]
    init_args = value.get("init_args") or {}
    if not isinstance(init_args, Mapping):
        return [Fault(f"{key}.init_args", f"{shown(init_args)} is no mapping of the arguments of {name}")]
    parameters = parameters_of(found)
    if takes_first:
        parameters = dict(list(parameters.items())[1:])
    if not parameters and init_args and not inspect.isclass(found):
        return []
    result = []
    for argument, given in init_args.items():
        where = f"{key}.init_args.{argument}"
        if argument == _META:
            continue
        if argument not in parameters:
            moved = settings_named(str(argument), parameters)
            similar = f"; did you mean '{key}.init_args.{moved[0]}'?" if moved else did_you_mean(argument, parameters)
            similar = similar or f"; it takes {', '.join(parameters) or 'none'}"
            result.append(Fault(where, f"{name} has no argument '{argument}'{similar}"))
        else:
            result += check_value(where, given, parameters[argument].annotation)
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in init_args]
    result += [
        Fault(f"{key}.init_args.{n}", f"{name} needs it, and it is not set: give {expected(parameters[n].annotation)}")
        for n in missing
    ]
    return result


def _check_callable(key: str, value: Any) -> list[Fault]:
    """Fault of a function, or a class whose instances are functions, that settings may not name."""
    path = value.get("class_path") if isinstance(value, Mapping) else value
    if not isinstance(path, str) or "." not in path:
        return []
    try:
        check_path(path)
        check_path(path, find_class(path, ()))
    except ClassRefusedError as error:
        return [Fault(key, str(error), refused=True)]
    except ClassPathError as error:
        return [Fault(key, str(error))]
    return []


def _missing_file(path: str) -> str:
    if not Path(path).exists():
        parent = Path(path).parent
        names = [file.stem for file in parent.glob("*.y*ml")] if parent.is_dir() else []
        return f"the file {path!r} does not exist{did_you_mean(Path(path).stem, names)}"
    return f"the file {path!r} holds no class_path with init_args: it is not of this kind"
