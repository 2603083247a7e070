"""Build the site with mkdocs and collect what is wrong with it."""

import logging
import os
from pathlib import Path
from typing import Any

from tools.docs_site import check
from tools.docs_site.links import Link
from tools.docs_site.repository import ROOT, SITE

SETTINGS = ROOT / SITE / "mkdocs.yml"
_CHECKED = "contains a link"
"""Part of mkdocs' warnings about links, which the check of the built pages repeats with the line."""


class Warnings(logging.Handler):
    """Keeps the text of warnings, each in one line."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning.

        Args:
            record: The warning.
        """
        self.texts.append(" ".join(record.getMessage().split()))


def build(site: Path, settings: Path = SETTINGS) -> list[str]:
    """Build the site.

    Args:
        site: Folder of the site, which is emptied.
        settings: Settings of mkdocs.

    Returns:
        One sentence for each warning, broken link and asset of the network; the site is complete if there is none.

    Raises:
        ImportError: If mkdocs or a plugin is missing.
        ValueError: If the settings are wrong.
    """
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")  # an advertisement of the theme
    from mkdocs.commands.build import build as build_pages
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort, MkDocsException

    warnings = Warnings()
    config = None
    logger = logging.getLogger("mkdocs")
    logger.addHandler(warnings)
    logger.propagate = False
    try:
        config = load_config(str(settings), site_dir=str(site.resolve()), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        try:
            build_pages(config)
        finally:
            config.plugins.on_shutdown()
    except Abort as stop:
        if config is None or not warnings.texts:
            reasons = " ".join(warnings.texts) or stop
            raise ValueError(f"{os.path.relpath(settings)}: {reasons}") from stop
    except MkDocsException as error:
        raise ValueError(f"{os.path.relpath(settings)}: {error}") from error
    finally:
        logger.removeHandler(warnings)
    sources = config.extra["sources"]
    found = [sentence(problem, sources) for problem in check.problems(site)]
    repeated = bool(found)
    return [text for text in warnings.texts if not (repeated and _CHECKED in text)] + found


def sentence(problem: check.Problem, sources: dict[str, tuple[str, list[Link]]]) -> str:
    """A problem with its file and line in the repository, where the page has a file.

    Args:
        problem: What is wrong with a page.
        sources: File and links of every page by its path on the site, as :mod:`tools.docs_site.hooks` has them.
    """
    page = f"{problem.page.removesuffix('.html')}.md"
    if page not in sources:
        return f"{problem.page} of the site: link to {problem.target}: {problem.reason}"
    file, links = sources[page]
    for link in links:
        if problem.target in (link.rewritten, on_disk(link.rewritten)):
            return f"{file}:{link.line}: link to {link.target}: {problem.reason}"
    return f"{file}: link to {problem.target}: {problem.reason}"


def on_disk(target: str) -> str:
    """Target of a built page for the target of a Markdown page."""
    name, mark, anchor = target.partition("#")
    return (f"{name.removesuffix('.md')}.html" if name.endswith(".md") else name) + mark + anchor


def is_site(folder: Path) -> bool:
    """Whether a folder holds a site that was built before."""
    return (folder / "search" / "search_index.json").is_file() and (folder / "index.html").is_file()


def check_output(site: Path) -> None:
    """Refuse a folder whose content the build would delete.

    Args:
        site: Folder of the site.

    Raises:
        ValueError: If it is a file, a folder with other content, or a part of the pages.
    """
    if site.exists() and not site.is_dir():
        raise ValueError(f"OUT={site} is a file, but the site is a folder")
    if site.resolve().is_relative_to(ROOT / "docs"):
        raise ValueError(f"OUT={site} is in docs/, which the site is made from; give another folder")
    if site.is_dir() and any(site.iterdir()) and not is_site(site):
        raise ValueError(
            f"OUT={site} holds files that are no site of `make docs`, and the build would delete them; "
            "give another folder"
        )


def size_of(folder: Path) -> dict[str, Any]:
    """Number of pages and size in bytes of a built site, as ``pages`` and ``bytes``."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "pages": sum(path.suffix == ".html" for path in files),
        "bytes": sum(path.stat().st_size for path in files),
    }
