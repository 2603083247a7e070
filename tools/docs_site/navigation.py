"""The navigation of the site, as docs/site/mkdocs.yml has it.

An entry ``folder/*`` stands for all pages of that folder which have no entry of their own, in the order of their names.
"""

from collections.abc import Iterable, Iterator
from typing import Any


def entries(nav: Iterable[Any]) -> Iterator[str]:
    """Pages and patterns of a navigation, in order."""
    for item in nav:
        if isinstance(item, str):
            yield item
        else:
            for value in item.values():
                yield from [value] if isinstance(value, str) else entries(value)


def expand(nav: list[Any], pages: Iterable[str]) -> list[Any]:
    """A navigation without patterns.

    Args:
        nav: Pages, mappings of a title to a page, and mappings of a title to a navigation.
        pages: All pages of the site.

    Raises:
        ValueError: If no page matches a pattern.
    """
    named = {entry for entry in entries(nav) if not entry.endswith("/*")}
    known = sorted(set(pages), key=lambda page: page.removesuffix(".md"))

    def matching(pattern: str) -> list[str]:
        folder = pattern.removesuffix("*")
        found = [page for page in known if page.startswith(folder) and "/" not in page[len(folder) :]]
        if not found:
            raise ValueError(f"docs/site/mkdocs.yml: the entry {pattern} of nav matches no page; remove it")
        return [page for page in found if page not in named]

    def expanded(items: list[Any]) -> list[Any]:
        result: list[Any] = []
        for item in items:
            if isinstance(item, str):
                result += matching(item) if item.endswith("/*") else [item]
            else:
                result += [
                    {title: value if isinstance(value, str) else expanded(value)} for title, value in item.items()
                ]
        return result

    return expanded(nav)
