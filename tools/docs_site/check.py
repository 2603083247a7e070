"""The check of a built site: every link of its pages leads somewhere, and nothing of a page comes from the network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ASSETS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
"""Attributes whose files a browser loads by itself."""
_NOT_LOADED = {"canonical", "next", "prev", "alternate", "edit"}


@dataclass(frozen=True)
class Problem:
    """A link that leads nowhere, or a part of a page that comes from the network.

    Attributes:
        page: Page with the link, from the root of the site.
        target: Target as the page has it.
        reason: What is wrong.
    """

    page: str
    target: str
    reason: str


@dataclass
class Page(HTMLParser):
    """Links, assets and anchors of an HTML page.

    Attributes:
        links: Targets of the links and of the assets.
        assets: Targets that a browser loads by itself.
        anchors: Values of ``id`` and ``name``.
    """

    links: list[str] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag has.

        Args:
            tag: Name of the tag.
            attrs: Its attributes.
        """
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif _ASSETS.get(tag) in values and not _NOT_LOADED & set(values.get("rel", "").split()):
            self.links.append(values[_ASSETS[tag]])
            self.assets.append(values[_ASSETS[tag]])


def read_page(file: Path) -> Page:
    """Links, assets and anchors of a file."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def problems(site: Path, generated: Iterable[str] = ("404.html",)) -> Iterator[Problem]:
    """Links that lead nowhere and assets of the network, page by page.

    Args:
        site: Folder of the built site.
        generated: Pages whose links are relative to the root of a server, which are left out.
    """
    read = cache(read_page)
    site, skipped = site.resolve(), set(generated)
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        if name in skipped:
            continue
        page = read(file)
        for target in dict.fromkeys(page.links):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.assets and parts.scheme != "data":
                    yield Problem(name, target, "the page loads it from the network")
                continue
            path = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            path = path / "index.html" if path.is_dir() and (path / "index.html").is_file() else path
            if not path.is_file() or not path.is_relative_to(site):
                yield Problem(name, target, "no such file")
            elif parts.fragment and path.suffix == ".html" and unquote(parts.fragment) not in read(path).anchors:
                yield Problem(name, target, "no such heading or anchor")
