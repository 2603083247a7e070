"""Links of a Markdown page: found with their lines, and rewritten from files of the repository to pages of the site."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from tools.docs_site.repository import ROOT, module_of, site_target

FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
LABEL = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\](?=\()")
"""The text of a link, in which code is not made a link again."""
TOKEN = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<before>\]\(|^ {0,3}\[[^\]\n]+\]: +)(?P<target>[^)\s]+)",
    re.MULTILINE | re.DOTALL,
)
FOREIGN = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A link of a page.

    Attributes:
        line: Line of its target in the file, from 1.
        target: The target as it is written.
        rewritten: The target on the site, relative to the page.
    """

    line: int
    target: str
    rewritten: str


def file_of_link(target: str, source: PurePosixPath) -> PurePosixPath | None:
    """File or folder of the repository that a link names, or None.

    Args:
        target: Target of the link, possibly with an anchor.
        source: Path of the page from the root of the repository.
    """
    name = target.partition("#")[0]
    if not name or FOREIGN.match(target) or name.startswith("/"):
        return None
    path = PurePosixPath(posixpath.normpath(source.parent / name))
    return path if path.parts[:1] != ("..",) and (ROOT / path).exists() else None


def files_of_links(text: str, source: PurePosixPath) -> Iterator[PurePosixPath]:
    """Files and folders of the repository that the links of a page name."""
    for match in TOKEN.finditer(FENCE.sub("", text)):
        path = file_of_link(match["target"], source) if match["target"] else None
        if path is not None:
            yield path


def rewrite(text: str, source: PurePosixPath, page: str) -> tuple[str, list[Link]]:
    """A page whose links point to pages of the site.

    Code that is only the path of a documented Python file becomes a link to its reference. In code of a table, a bar
    after a backslash is a bar, as on a code host. A link to what does not exist stays as it is; the check of the built
    site reports it.

    Args:
        text: Markdown of the page.
        source: Path of the page from the root of the repository.
        page: Path of the page from the root of the site.

    Returns:
        The Markdown, and its links.
    """
    links: list[Link] = []
    folder = posixpath.dirname(page) or "."

    def on_site(path: PurePosixPath, anchor: str = "") -> str:
        name, _, place = site_target(path).partition("#")
        place = anchor or place
        return posixpath.relpath(name, folder) + (f"#{place}" if place else "")

    def replaced(part: str, start: int) -> str:
        labels = [match.span() for match in LABEL.finditer(part)]

        def token(match: re.Match[str]) -> str:
            if match["code"]:
                inside = any(first <= match.start() < last for first, last in labels)
                in_table = part[: match.start()].rpartition("\n")[2].startswith("|")
                code = match["code"].replace("\\|", "|") if in_table else match["code"]
                return code if inside else linked(code)
            target = match["target"]
            path = file_of_link(target, source)
            rewritten = target if path is None else on_site(path, target.partition("#")[2])
            links.append(Link(text.count("\n", 0, start + match.start("target")) + 1, target, rewritten))
            return match["before"] + rewritten

        return TOKEN.sub(token, part)

    def linked(code: str) -> str:
        path = PurePosixPath(code.strip("`"))
        return f"[{code}]({on_site(path)})" if module_of(path) else code

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [replaced(text[end : fence.start()], end), fence[0]]
        end = fence.end()
    parts.append(replaced(text[end:], end))
    return "".join(parts), links
