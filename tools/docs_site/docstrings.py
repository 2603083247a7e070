"""Docstrings as Markdown: an extension of griffe, which mkdocstrings uses to read the sources.

The docstrings are reStructuredText in three respects, which Markdown would show as they are: roles (``:func:`name```),
paragraphs that end in ``::`` before a block, and examples of the interpreter (``>>>``) without a heading.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

try:
    from griffe import Extension
except ImportError:  # the site is made with the extra `docs`; tests of the functions need nothing
    Extension = object

ROLE = re.compile(r":(?:class|func|meth|data|attr|mod):`(?P<short>~?)(?P<name>[\w.]+)`")
_EXAMPLE = re.compile(r"(?:^|(?<=\n\n))(?P<indent>[ ]*)>>> .*(?:\n(?P=indent)\S.*)*")
_SECTION = re.compile(r"^ *(?:Example|Examples):$")


def to_markdown(text: str, resolve: Callable[[str], str]) -> str:
    """A docstring with Markdown in place of the three.

    Args:
        text: The docstring, without its common indent.
        resolve: Full name of the object that a role names.
    """

    def role(match: re.Match[str]) -> str:
        name = match["name"]
        shown = name.rpartition(".")[2] if match["short"] else name
        return f'<autoref identifier="{resolve(name)}" optional><code>{shown}</code></autoref>'

    def example(match: re.Match[str]) -> str:
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        if _SECTION.match(before):
            return match[0]
        indent = match["indent"]
        return f"{indent}```pycon\n{match[0]}\n{indent}```"

    text = _EXAMPLE.sub(example, text)
    text = re.sub(r"(?m)(?<=\S)::$", ":", text)
    text = re.sub(r"(?m)^ *::\n\n?", "", text)
    return ROLE.sub(role, text)


class MarkdownDocstrings(Extension):
    """Rewrites the docstrings of a package after it was read."""

    def on_package(self, *, pkg: Any, loader: Any, **kwargs: Any) -> None:
        """Rewrite the docstrings of a package and of all that it contains.

        Args:
            pkg: The package, as griffe holds it.
            loader: Unused.
            kwargs: Unused.
        """
        waiting = [pkg]
        while waiting:
            item = waiting.pop()
            if item.docstring is not None:
                item.docstring.value = to_markdown(item.docstring.value, partial(resolved, item))
            waiting += [member for member in item.members.values() if not member.is_alias]


def resolved(item: Any, name: str) -> str:
    """Full name of what a docstring names, or the name itself where it is full already or unknown.

    Args:
        item: Object of the docstring.
        name: Name as in the module of the object; also of a member of the object, or of a class beside it.
    """
    from griffe import NameResolutionError

    first, _, rest = name.partition(".")
    if name in item.members and not item.members[name].is_alias:
        return f"{item.path}.{name}"
    try:
        found = item.resolve(first)
    except NameResolutionError:
        return name
    return f"{found}.{rest}" if rest else str(found)
