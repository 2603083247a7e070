"""Parts of error messages: a value in YAML notation, what a type expects, and the nearest known name."""

import difflib
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

_LONGEST_VALUE = 100
_SIMILAR = 0.6
_LISTS = (list, tuple, set, frozenset, Sequence, Iterable)
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def shown(value: Any) -> str:
    """A value in YAML notation: texts with quotes, so that '90' and 90 differ; null, true and false as such."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a mistyped one, or None; case is ignored.

    >>> nearest("max_stepz", ["max_steps", "max_epochs"])
    'max_steps'
    """
    lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=_SIMILAR)
    return lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known name, or an empty text.

    >>> did_you_mean("lite_unett", ["lite_unet", "boxinst"])
    "; did you mean 'lite_unet'?"
    """
    found = nearest(name, known)
    return "" if found is None else f"; did you mean '{found}'?"


def is_union(hint: Any) -> bool:
    """Whether a type is a union, in either notation."""
    return get_origin(hint) in (typing.Union, types.UnionType)


def returned_classes(hint: Any) -> tuple[type, ...]:
    """Classes whose instances a callable type returns, such as ``Optimizer`` of an ``OptimizerCallable``."""
    returned = get_args(hint)[-1] if get_args(hint) else None
    return tuple(c for c in (get_args(returned) if is_union(returned) else (returned,)) if inspect.isclass(c))


def takes_a_class(hint: Any) -> bool:
    """Whether a value of the type is given as a class path with arguments."""
    if get_origin(hint) is Callable:
        return bool(returned_classes(hint))
    if not inspect.isclass(hint) or get_origin(hint) is not None or hint in (object, *_LISTS, Mapping):
        return False
    return not issubclass(hint, (*_PLAIN, dict, bytes, complex, list, tuple, set, frozenset, Path, enum.Enum))


def expected(hint: Any) -> str:
    """Description of the values of a type.

    >>> expected(float | None)
    'a number or null'
    >>> expected(Literal["none", "median"])
    'one of none, median'
    """
    if is_union(hint):
        kinds = [kind for kind in get_args(hint) if not (takes_a_class(kind) and kind.__module__.startswith("torch"))]
        choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
        classes = [kind.__name__ for kind in kinds if takes_a_class(kind) and inspect.isclass(kind)]
        words = [
            expected(kind)
            for kind in kinds
            if kind is not type(None)
            and get_origin(kind) is not Literal
            and not (takes_a_class(kind) and len(classes) > 1)
        ]
        words += [f"the class path of a subclass of {' or '.join(classes)}"] if len(classes) > 1 else []
        words += [f"one of {', '.join(dict.fromkeys(choices))}"] if choices else []
        return " or ".join(dict.fromkeys([*words, *(["null"] if type(None) in kinds else [])]))
    origin = get_origin(hint)
    if origin is Literal:
        return f"one of {', '.join(str(choice) for choice in get_args(hint))}"
    if origin is typing.Annotated:
        return expected(get_args(hint)[0])
    if hint in _PLAIN:
        return _PLAIN[hint]
    if inspect.isclass(hint) and issubclass(hint, Path):
        return "a path"
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(hint.__members__)}"
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        return "a mapping such as {name: value}"
    if origin is tuple and Ellipsis not in get_args(hint):
        return f"a list of {len(get_args(hint))} values"
    if origin in _LISTS or hint in _LISTS:
        return "a list such as [a, b]"
    if origin is Callable:
        return "the class path of " + " or ".join(f"a subclass of {c.__name__}" for c in returned_classes(hint)[:1])
    return f"the class path of a subclass of {hint.__name__}" if inspect.isclass(hint) else str(hint)
