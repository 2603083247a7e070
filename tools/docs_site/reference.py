"""Pages of the API reference, made from the sources.

Each top-level package has a page with a table of all its modules and the reference of those beside each other; each
folder of modules in it has a page of its own.
"""

import re

from tools.docs_site.repository import API, ROOT, api_page, modules, packages, summary_of

_LESS_IMPORTANT = "---\nsearch:\n  boost: 0.3\n---\n\n"
"""The search lists the reference behind the pages that were written."""
_ROW = re.compile(r"^\| (?P<names>`.+?`) \| (?P<content>.+) \|$", re.MULTILINE)


def contents() -> dict[str, str]:
    """What each top-level package holds, from the table of CONTRIBUTING.md, or from the docstring of a module."""
    found: dict[str, str] = {}
    for row in _ROW.finditer((ROOT / "CONTRIBUTING.md").read_text()):
        names, parts = row["names"].split(", "), row["content"].split(", ")
        texts = parts if len(names) == len(parts) > 1 else [row["content"]] * len(names)
        found |= {name.strip("`/"): text for name, text in zip(names, texts, strict=True)}
    return {name: summary_of(name) if modules(name) == (name,) else found[name] for name in packages()}


def index_page() -> str:
    """Markdown of the page that lists the packages."""
    rows = "".join(
        f"| [`{name}`]({name}.md) | {plain(content)} | {len(modules(name))} |\n" for name, content in contents().items()
    )
    return (
        "# API reference\n\nMade from the docstrings. Shapes, units and ranges are those of "
        "[the conventions](../conventions.md).\n\n| package | content | modules |\n|---|---|---|\n" + rows
    )


def package_pages(package: str) -> dict[str, str]:
    """Markdown of the pages of a top-level package by their path on the site."""
    main = api_page(package)
    names = modules(package)
    texts = {main: f"# `{package}`\n\n"}
    if names != (package,):
        content = contents()[package]
        texts[main] += f"{content[:1].upper()}{content[1:]}.\n\n" if content else ""
        texts[main] += "| module | content |\n|---|---|\n"
        for name in names:
            page = api_page(name).removeprefix(f"{API}/")
            texts[main] += f"| [`{name}`]({page}#{name}) | {plain(summary_of(name))} |\n"
        texts[main] += "\n"
    for name in names:
        page = api_page(name)
        texts.setdefault(page, f"# `{page.removeprefix(f'{API}/').removesuffix('.md')}`\n\n")
        texts[page] += f"::: {name}\n\n"
    return texts


def pages() -> dict[str, str]:
    """Markdown of all pages of the reference by their path on the site."""
    texts = {f"{API}/index.md": index_page()}
    for package in packages():
        texts |= package_pages(package)
    return {page: _LESS_IMPORTANT + text for page, text in texts.items()}


def plain(text: str) -> str:
    """Text of a docstring for a cell of a table: roles are code, and bars outside of code do not end the cell."""
    parts = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").split("`")
    return "`".join(part if place % 2 else part.replace("|", "\\|") for place, part in enumerate(parts))
