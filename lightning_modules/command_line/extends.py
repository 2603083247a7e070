"""YAML files that state only what differs from another file: the key ``extends``.

``extends: boxinst.yaml`` at the top of a file stands for everything in ``boxinst.yaml``; what the file itself states
wins. The key may also stand in a mapping inside the file, for example
``settings: {extends: parts/rooms_settings.yaml, seed: 7}``. A path is relative to the folder of the file that names
it, else to ``experiments/``, and so is a file under ``model`` or ``data``, such as ``data: data/rooms.yaml``.

Merge rules:

- Mappings are merged key by key.
- Lists and single values replace those of the extended file. A list under ``key+`` is appended to the list ``key``.
- A mapping with another ``class_path`` replaces the whole object, because arguments belong to their class.
- ``loss_weights`` and ``loss_constants`` are replaced as a whole, because a term that is not listed is not computed.
"""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from lightning_modules.command_line.wording import nearest, shown
from lightning_modules.command_line.yaml_file import ConfigFileError, read_mapping

KEY = "extends"
REPLACED_WHOLE = frozenset({"loss_weights", "loss_constants"})
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SUFFIXES = (".yaml", ".yml", ".json")
_REFERENCES = ("model", "data")
"""Settings at the top of an experiment that may name a file in place of their settings."""


class ExtendsError(ConfigFileError):
    """An ``extends`` cannot be resolved; the message is one sentence that names the file."""


def read_settings(path: Path, name: str = "") -> dict[Any, Any]:
    """Settings of a YAML file with every ``extends`` resolved, as the command line reads them.

    Args:
        path: The file.
        name: Name of the file, for messages; by default its path.

    Raises:
        OSError: If the file cannot be read.
        ConfigFileError: If the file is not a mapping of settings, or an ``extends`` in it cannot be resolved.
    """
    name = name or str(path)
    file = path.resolve()
    content: dict[Any, Any] = _resolve(_parsed(path.read_bytes(), name), file.parent, name, (file,))
    return content


def merged(parent: Any, child: Any) -> Any:
    """Settings of a parent, overridden by those of a child; neither argument is changed.

    >>> merged({"a": {"b": 1, "c": [2]}}, {"a": {"b": 3, "c+": [4]}})
    {'a': {'b': 3, 'c': [2, 4]}}
    """
    if not isinstance(child, Mapping):
        return child
    if isinstance(parent, str) and "init_args" in child and "class_path" not in child:
        parent = {"class_path": parent}
    if not isinstance(parent, Mapping):
        return child
    if "class_path" in child and parent.get("class_path", child["class_path"]) != child["class_path"]:
        return dict(child)
    first = {"class_path": child["class_path"]} if "class_path" in child else {}
    result: dict[Any, Any] = {**first, **parent}
    for key, value in child.items():
        if isinstance(key, str) and key.endswith("+"):
            place = key if key in result else key.removesuffix("+")
            present = result.get(place)
            if isinstance(present, list):
                result[place] = [*present, *(value if isinstance(value, list) else [value])]
            else:
                result[key] = value
            continue
        result.pop(f"{key}+", None)
        result[key] = value if key in REPLACED_WHOLE or key not in result else merged(result[key], value)
    return result


class ExtendingLoader:
    """Loader of YAML text for jsonargparse that resolves every ``extends`` relative to the current folder.

    jsonargparse changes into the folder of a file while it reads it. In some places it treats text that
    cannot be loaded as a plain string, so the reason is kept in ``failure``.
    """

    def __init__(self) -> None:
        self.failure: ExtendsError | None = None

    def __call__(self, text: str) -> Any:
        """Value of a YAML text.

        Raises:
            yaml.YAMLError: If the text is no YAML.
            ExtendsError: If an ``extends`` in it cannot be resolved.
        """
        value = _load(text)
        if not isinstance(value, Mapping | list):
            return value
        folder = Path.cwd()
        try:
            return _resolve(value, folder, f"a file in {_displayed(folder)}", ())
        except ExtendsError as error:
            self.failure = error
            raise


def _resolve(value: Any, folder: Path, name: str, chain: tuple[Path, ...]) -> Any:
    """A value of a file with every ``extends`` replaced; ``chain`` lists the files that lead to it."""
    if isinstance(value, list):
        return [_resolve(item, folder, name, chain) for item in value]
    if not isinstance(value, Mapping):
        return value
    own = {key: _resolve(item, folder, name, chain) for key, item in value.items() if key != KEY}
    own = _with_found_references(own, folder)
    if KEY not in value:
        return own
    path = _find(value[KEY], folder, name)
    if path in chain:
        loop = " -> ".join(_displayed(file) for file in (*chain[chain.index(path) :], path))
        raise ExtendsError(f"{name}: '{KEY}' leads back to a file that is being read: {loop}; remove one of them")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExtendsError(f"{name}: '{KEY}: {value[KEY]}' cannot be read: {error.strerror}") from error
    known_as = f"{_displayed(path)} (which {name} extends)"
    try:
        parent = _resolve(_parsed(content, known_as), path.parent, _displayed(path), (*chain, path))
    except ExtendsError:
        raise
    except ConfigFileError as error:
        raise ExtendsError(str(error)) from error
    return merged(_with_references(parent, path.parent, folder, own), own)


def _with_found_references(own: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    """Settings in which a file of ``experiments/`` that the folder lacks has its whole path."""
    return own | {
        key: str(EXPERIMENTS / own[key])
        for key in _REFERENCES
        if isinstance(own.get(key), str)
        and own[key].endswith(SUFFIXES)
        and not (folder / own[key]).is_file()
        and (EXPERIMENTS / own[key]).is_file()
    }


def _with_references(parent: dict[Any, Any], origin: Path, folder: Path, own: Mapping[Any, Any]) -> dict[Any, Any]:
    """The parent's settings with file references that hold in the child's folder.

    A reference stays a path, which jsonargparse opens, unless the child changes single settings of that file.
    """
    result = dict(parent)
    for key in _REFERENCES:
        value = parent.get(key)
        if not (isinstance(value, str) and value.endswith(SUFFIXES) and (origin / value).is_file()):
            continue
        path = (origin / value).resolve()
        if isinstance(own.get(key), Mapping):
            result[key] = read_settings(path, _displayed(path))
        elif origin != folder:
            result[key] = str(path)
    return result


def _find(given: Any, folder: Path, name: str) -> Path:
    if not isinstance(given, str) or not given.strip():
        raise ExtendsError(f"{name}: '{KEY}' is {shown(given)}, but the name of one YAML file is needed")
    places = list(dict.fromkeys((folder, EXPERIMENTS)))
    for place in places:
        if (place / given).is_file():
            return (place / given).resolve()
    names = {file.stem: file.name for place in places for file in (place / given).parent.glob("[!_]*.y*ml")}
    near = nearest(Path(given).stem, names)
    leaf = Path(given).name.strip(".")
    below = sorted(EXPERIMENTS.rglob(glob.escape(leaf))) if leaf else []
    if below:
        similar = f"; did you mean '{below[0].relative_to(EXPERIMENTS)}'?"
    else:
        similar = "" if near is None else f"; did you mean '{Path(given).parent / names[near]}'?"
    where = " or ".join(_displayed(place) for place in places)
    raise ExtendsError(f"{name}: '{KEY}: {given}' names a file that does not exist in {where}{similar}")


def _parsed(content: bytes, name: str) -> Any:
    checked = read_mapping(content, name)
    value = _load(content.decode("utf-8"))
    return value if isinstance(value, dict) else checked  # jsonargparse keeps a lone `key:` as text


def _displayed(path: Path) -> str:
    """A path relative to the current folder if it lies below it, else absolute."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(".") else relative


_load = get_loader("yaml")
LOADER = ExtendingLoader()
"""The loader of every YAML text that jsonargparse reads."""
set_loader("yaml", LOADER, (yaml.YAMLError, ConfigFileError))
