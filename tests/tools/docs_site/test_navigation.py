"""The navigation of the site names every page of the documentation once, and nothing from the network."""

import re
from pathlib import PurePosixPath

import pytest
import yaml

from tools.docs_site import reference
from tools.docs_site.navigation import entries, expand
from tools.docs_site.repository import DOCS, ROOT, SITE, packages, site_target

SETTINGS = yaml.safe_load((ROOT / SITE / "mkdocs.yml").read_text())


def pages():
    """Pages of the site that are written, by their file in the repository."""
    files = [path for kind in ("*.md", "*.ipynb") for path in (ROOT / DOCS).rglob(kind)]
    written = [PurePosixPath(path.relative_to(ROOT)) for path in files]
    return {str(path): site_target(path) for path in [*written, PurePosixPath("README.md")]}


def navigation():
    return list(entries(expand(SETTINGS["nav"], [*pages().values(), *reference.pages()])))


def test_every_page_is_in_the_navigation_once():
    found = navigation()
    missing = sorted(file for file, page in pages().items() if page not in found)
    assert not missing, f"add an entry to nav in docs/site/mkdocs.yml for {', '.join(missing)}"
    twice = sorted({page for page in found if found.count(page) > 1})
    assert not twice, f"twice in nav of docs/site/mkdocs.yml: {twice}"


def test_every_entry_exists():
    known = {*pages().values(), *reference.pages()}
    gone = [
        page for page in navigation() if page not in known and not (ROOT / page.removeprefix("repository/")).is_file()
    ]
    assert not gone, f"remove from nav in docs/site/mkdocs.yml what is gone: {gone}"


def test_every_package_is_in_the_reference():
    found = navigation()
    assert [name for name in packages() if f"api/{name}.md" not in found] == []


def test_nothing_comes_from_the_network():
    assert SETTINGS["theme"]["font"] is False
    assets = [*SETTINGS["extra_css"], *SETTINGS["extra"]["polyfills"]]
    assert assets
    assert all((ROOT / DOCS / name).is_file() for name in assets)
    for file in pages():
        text = (ROOT / file).read_text()
        assert not re.search(r"!\[[^\]]*\]\(\s*(?:https?:)?//", text), f"{file} shows a picture from the network"
        assert not re.search(r"<(?:script|img|iframe|link)\b[^>]*https?://", text), f"{file} loads from the network"


def test_patterns_stand_for_the_pages_that_are_not_named():
    nav = ["a.md", {"B": ["b/two.md", "b/*"]}]
    found = expand(nav, ["a.md", "b/three.md", "b/two.md", "b/two.x.md", "b/deep/four.md", "b/one.md"])
    assert found == ["a.md", {"B": ["b/two.md", "b/one.md", "b/three.md", "b/two.x.md"]}]
    assert expand(["b/*"], ["b/a.x.md", "b/a.md"]) == ["b/a.md", "b/a.x.md"]
    with pytest.raises(ValueError, match="the entry none/\\* of nav matches no page"):
        expand(["none/*"], ["a.md"])
