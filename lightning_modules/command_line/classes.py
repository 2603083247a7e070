"""Class paths and the arguments of their classes, with suggestions for mistyped modules and classes."""

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import typing
from collections.abc import Mapping
from typing import Any

from lightning_modules.command_line.wording import did_you_mean
from structures.allowed_imports import OTHERS, OWN, ImportRefusedError, check_function, check_import

_OWN_PACKAGES = ("lightning_modules", "datamodules", "networks")


class ClassPathError(ValueError):
    """A class path does not exist or names something of another kind; the message is one sentence."""


class ClassRefusedError(ClassPathError):
    """A class path may not be named by settings; nothing was imported."""


def module_names(package: str) -> list[str]:
    """Names of the modules in a package; empty if it is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [info.name for info in pkgutil.iter_modules(spec.submodule_search_locations)]


def own_subclasses(bases: tuple[type, ...], packages: tuple[str, ...] = _OWN_PACKAGES) -> dict[str, type]:
    """Concrete subclasses of the bases in this project's packages, by class path, in alphabetical order."""
    found = {}
    for package in packages:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, prefix=f"{package}."):
            if info.name.startswith(__package__ or ""):
                continue
            try:
                module = importlib.import_module(info.name)
            except ImportError:  # an optional dependency that is not installed
                continue
            for name, member in vars(module).items():
                own = inspect.isclass(member) and member.__module__ == info.name and not name.startswith("_")
                if own and issubclass(member, bases) and member not in bases and not is_abstract(member):
                    found[f"{info.name}.{name}"] = member
    return dict(sorted(found.items()))


def is_abstract(found: type) -> bool:
    """Whether a class has an abstract method, whether it is an ABC or not."""
    return any(getattr(getattr(found, name, None), "__isabstractmethod__", False) for name in dir(found))


def find_class(path: str, bases: tuple[type, ...]) -> Any:
    """The class (or the callable) that a class path names.

    Args:
        path: Dotted path, or the bare name of a class that is unique among the project's.
        bases: It must be a subclass of one of them; functions are accepted.

    Raises:
        ClassPathError: If the module, or the class in it, does not exist, cannot be imported or is of another kind.
        ClassRefusedError: If it may not be named by settings; see ``structures/allowed_imports.py``.
    """
    if "." not in path:
        known = own_subclasses(bases)
        (*matches,) = [full for full in known if full.rpartition(".")[2].lower() == path.lower()]
        if len(matches) == 1 and matches[0].endswith(f".{path}"):
            return known[matches[0]]
        names = {full.rpartition(".")[2]: full for full in known}
        similar = did_you_mean(path, names)
        for name, full in names.items():
            similar = similar.replace(f"'{name}'", f"'{full}'")
        raise ClassPathError(f"{path!r} is no class path such as package.module.Class{similar}")
    if not all(part.isidentifier() for part in path.split(".")):
        raise ClassPathError(f"{path!r} is neither a class path such as package.module.Class nor a file that exists")
    module_path, _, name = path.rpartition(".")
    check_path(path)
    module = _import(module_path, path)
    if not hasattr(module, name):
        members = [n for n, member in vars(module).items() if inspect.isclass(member) and not n.startswith("_")]
        fitting = [n for n in members if issubclass(vars(module)[n], bases)] or members
        similar = did_you_mean(name, fitting)
        if not similar and 0 < len(fitting) <= 3:
            similar = f"; it has {', '.join(fitting)}"
        raise ClassPathError(f"the module {module_path} has no class '{name}'{similar}")
    found = getattr(module, name)
    check_path(path, found)
    if inspect.isclass(found) and bases and not issubclass(found, bases):
        wanted = " or ".join(dict.fromkeys(f"{base.__module__}.{base.__qualname__}" for base in bases))
        raise ClassPathError(f"{path!r} is no subclass of {wanted}")
    if not callable(found):
        raise ClassPathError(f"{path!r} is no class")
    return found


def check_path(path: str, found: Any = None) -> None:
    """Make sure that settings may name a dotted path, without importing anything; one that does not exist is accepted.

    Args:
        path: The path.
        found: What is at that path, if it was imported; it may have been defined elsewhere.

    Raises:
        ClassRefusedError: If they may not.
    """
    try:
        check_import(path)
        defined = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
        if inspect.isclass(found):
            check_import(defined)
        elif inspect.isroutine(found):
            check_function(defined)
    except ImportRefusedError as error:
        if found is None and _is_missing(path):
            return
        top = path.split(".")[0]
        known = (*OWN, *OTHERS)
        similar = "" if top in known else did_you_mean(top, known)
        raise ClassRefusedError(f"{error}{similar}") from error


def _is_missing(path: str) -> bool:
    """Whether the first module of a path, or the second of an allowed package, does not exist."""
    parts = path.split(".")
    names = [parts[0], *([".".join(parts[:2])] if parts[0] in (*OWN, *OTHERS) and len(parts) > 2 else [])]
    try:
        return any(importlib.util.find_spec(name) is None for name in names)
    except (ImportError, ValueError):  # a module without a specification, or one that cannot be imported
        return False


def _import(module_path: str, path: str) -> Any:
    """Import a module; the error names the first part of its path that does not exist."""
    parts = module_path.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise ClassPathError(f"{path!r} cannot be imported: {error}") from error
            if count == 1:
                similar = did_you_mean(name, _OWN_PACKAGES)
                raise ClassPathError(f"{path!r} cannot be found: there is no module '{name}'{similar}") from error
            parent = ".".join(parts[: count - 1])
            similar = did_you_mean(parts[count - 1], module_names(parent))
            message = f"{path!r} cannot be found: {parent} has no module '{parts[count - 1]}'{similar}"
            raise ClassPathError(message) from error
        except Exception as error:
            raise ClassPathError(f"{path!r} cannot be imported: {error}") from error
    return module


def group_of(hint: Any) -> dict[str, inspect.Parameter] | None:
    """Settings by name of a type that is a group of settings, a dataclass; None for every other type."""
    return parameters_of(hint) if inspect.isclass(hint) and dataclasses.is_dataclass(hint) else None


def settings_named(name: str, parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Settings with that name, or with the last part of it, within the groups of a class: ``evaluation.crop``.

    Args:
        name: A name that the class itself does not take, such as ``crop`` or ``lr_monitor``.
        parameters: What the class takes, see :func:`parameters_of`.
    """
    groups = {group: group_of(parameter.annotation) or {} for group, parameter in parameters.items()}
    inner = [(group, setting) for group, settings in groups.items() for setting in settings]
    exact = [f"{group}.{setting}" for group, setting in inner if setting == name]
    return exact or [f"{group}.{setting}" for group, setting in inner if name.endswith(f"_{setting}")]


def parameters_of(target: Any) -> dict[str, inspect.Parameter]:
    """Arguments by name that a class or function takes, annotations resolved; ``**kwargs`` go to the next base class.

    Returns:
        The parameters in their order, without ``self``, ``*args`` and ``**kwargs``.
    """
    makers = [target]
    if inspect.isclass(target):
        makers = [vars(c)["__init__"] for c in target.__mro__ if "__init__" in vars(c) and c is not object]
    found: dict[str, inspect.Parameter] = {}
    for position, maker in enumerate(makers):
        try:
            parameters = list(inspect.signature(maker).parameters.values())[1 if inspect.isclass(target) else 0 :]
        except (TypeError, ValueError):  # implemented in C
            return found
        try:
            hints = typing.get_type_hints(maker)
        except (TypeError, NameError, AttributeError):
            hints = {}
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in found:
                continue
            hint = hints.get(parameter.name, inspect.Parameter.empty)
            found[parameter.name] = parameter.replace(annotation=hint)
        if not any(p.kind == p.VAR_KEYWORD for p in parameters) or position + 1 == len(makers):
            break
    return found
