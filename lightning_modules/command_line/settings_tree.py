"""The settings of a command line as one tree of plain values, used to find which of them is wrong.

The parser merges and checks settings itself. This tree is built after it has refused them, since its messages name
neither the full key nor the file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import get_loader

from lightning_modules.command_line.classes import ClassPathError, find_class, parameters_of
from lightning_modules.command_line.extends import read_settings

Tree = dict[str, Any]
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_GROUPS = ("trainer", "model", "data", "init_args", "evaluation", "optimisation")
_FILES = (".yaml", ".yml", ".json")


def plain(text: str) -> Any:
    """The value of a word of the command line: a number, a list, a mapping, null, or the text itself."""
    try:
        return get_loader("yaml")(text) if text.strip() else text
    except Exception:
        return text


def options(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Words of a command line as pairs of name without dashes and value, None without a value; ``+`` is kept.

    >>> options(["--a.b", "3", "--c=-1", "--d"])
    [('a.b', '3'), ('c', '-1'), ('d', None)]
    """
    pairs: list[tuple[str, str | None]] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = "config" if word.startswith("-c") and name == "c" else name
        if equals:
            pairs.append((name, value))
        elif position < len(words) and not words[position].startswith("--"):
            pairs.append((name, words[position]))
            position += 1
        else:
            pairs.append((name, None))
    return pairs


def settings_tree(words: Sequence[str], defaults: Sequence[str] = ()) -> Tree:
    """Merge default files, ``--config`` files and options in their order.

    Args:
        words: Words after the subcommand.
        defaults: Paths of the files that come first.

    Returns:
        Settings by name; classes are ``{"class_path": ..., "init_args": {...}}``.
    """
    tree: Tree = {}
    for default in defaults:
        lay(tree, read_file(Path(default)), Path(default).parent)
    for name, text in options(words):
        if text is None or name == "print_config":
            continue
        if name == "config":
            path = Path(text)
            content = read_file(path) if path.is_file() else plain(text)
            if isinstance(content, Mapping):
                lay(tree, content, path.parent)
        else:
            value = plain(text)
            place(tree, name.split("."), value if isinstance(value, Mapping | list) or _is_scalar(value) else text)
    return tree


def read_file(path: Path) -> Any:
    """Settings of a YAML file with every ``extends`` resolved, or an empty mapping if it cannot be read."""
    try:
        return read_settings(path)
    except Exception:
        return {}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _opened(value: Any, folder: Path) -> Any:
    """The settings of a file if the value names one, else the value."""
    if isinstance(value, str) and value.endswith(_FILES):
        for path in (folder / value, Path(value)):
            if path.is_file():
                return read_file(path)
    return value


def lay(tree: Tree, content: Any, folder: Path) -> None:
    """Merge the settings of a file into a tree, in place, as the parser does.

    Classes, their arguments and groups merge; other values, such as loss weights, are replaced; ``key+`` appends.
    """
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        key = str(key)
        value = _opened(value, folder) if key in ("model", "data") else value
        old = tree.get(key)
        if key.endswith("+"):
            appended = value if isinstance(value, list) else [value]
            present = tree.get(key[:-1])
            tree[key[:-1]] = [*(present if isinstance(present, list) else []), *appended]
        elif isinstance(old, str) and isinstance(value, Mapping) and "init_args" in value and "class_path" not in value:
            tree[key] = {"class_path": old, **value}
        elif isinstance(old, Mapping) and isinstance(value, Mapping) and _merges(key, old, value):
            merged = dict(old)
            if "class_path" in value and value["class_path"] != old.get("class_path"):
                # The parser drops the arguments that the new class does not have.
                merged["init_args"] = _kept(old.get("init_args"), str(value["class_path"]))
            lay(merged, value, folder)
            tree[key] = merged
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _merges(key: str, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> bool:
    return key in _GROUPS or any(name in mapping for mapping in (old, new) for name in ("class_path", "init_args"))


def _kept(init_args: Any, class_path: str) -> Tree:
    try:
        names = parameters_of(find_class(class_path, ()))
    except ClassPathError:
        return {}
    return {name: value for name, value in dict(init_args or {}).items() if name in names}


def place(tree: Tree, keys: list[str], value: Any) -> None:
    """Set one option in a tree, in place; ``init_args`` is inserted between a class and its argument if missing."""
    node: Any = tree
    for position, key in enumerate(keys):
        if isinstance(node, list):
            if node and isinstance(node[-1], str):
                node[-1] = {"class_path": node[-1]}
            node = node[-1] if node else {}
        is_class = isinstance(node, dict) and ("class_path" in node or "init_args" in node)
        if is_class and key not in CLASS_KEYS:
            node = node.setdefault("init_args", {})
        if not isinstance(node, dict):
            return
        if position == len(keys) - 1:
            folder = Path()
            content = {key: _opened(value, folder) if position == 0 else value}
            is_path = isinstance(content[key], str) and "." in content[key]
            if is_path and isinstance(node.get(key), Mapping) and "class_path" in node[key]:
                content = {key: {"class_path": content[key]}}
            lay(node, content, folder)
            return
        child = node.get(key)
        if isinstance(child, str) and child.replace(".", "").replace("_", "").isalnum() and "." in child:
            node[key] = {"class_path": child, "init_args": {}}
        elif not isinstance(child, dict | list):
            node[key] = {}
        node = node[key]
