"""Reads YAML files of settings; every error is one sentence."""

from typing import Any

import yaml


class ConfigFileError(ValueError):
    """A file is not a configuration; the message names the file and what it is."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is given twice in one mapping; YAML's own loader silently keeps the later one."""


def _unique(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    first: dict[Any, int] = {}
    for key_node, _ in node.value:
        key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
        if isinstance(key, str) and key != "<<" and key in first:
            raise ConfigFileError(f"'{key}' is given twice, in lines {first[key]} and {line}: keep one of them")
        if isinstance(key, str):
            first[key] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=deep)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique)


def read_mapping(content: bytes, name: str) -> dict[Any, Any]:
    """Settings of a YAML file.

    Args:
        content: Content of the file.
        name: Name of the file, for messages.

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
