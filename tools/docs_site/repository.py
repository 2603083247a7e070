"""Where a file of the repository stands in the documentation site, and which Python modules have a reference.

The pages are written to be read on a code host, where links point to files. The site has a page for each of them:

==========================  ==================================================
file                        page
==========================  ==================================================
``README.md``               the front page
``docs/a.md``, notebooks    ``a.md``
Python of a package         its place in the API reference
any other file or folder    a copy below ``repository/``
==========================  ==================================================
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
DOCS = PurePosixPath("docs")
SITE = PurePosixPath("docs/site")
"""Settings and assets of the site, which are no pages."""
API = "api"
COPIES = "repository"
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")


@cache
def packages() -> tuple[str, ...]:
    """Top-level packages and modules of the repository, by name; each has a page in the API reference."""
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["py-modules"]
    return tuple(sorted([*modules, *(file.parent.name for file in ROOT.glob("*/__init__.py"))]))


@cache
def modules(package: str) -> tuple[str, ...]:
    """Modules of a top-level package by full name; an ``__init__.py`` without content is none."""
    if (ROOT / f"{package}.py").is_file():
        return (package,)
    names = []
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if file.name != "__init__.py":
            names.append(".".join(parts))
        elif file.read_text().strip():
            names.append(".".join(parts[:-1]))
    return tuple(sorted(names))


def file_of(module: str) -> Path:
    """File of a module."""
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return file if file.is_file() else file.with_suffix("") / "__init__.py"


def summary_of(module: str) -> str:
    """First paragraph of a module's docstring in one line, or an empty string."""
    docstring = ast.get_docstring(ast.parse(file_of(module).read_text())) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def module_of(path: PurePosixPath) -> str | None:
    """Name of the documented module that a file of the repository holds, or None."""
    if path.suffix != ".py":
        return None
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return name if parts[0] in packages() and name in modules(parts[0]) else None


def api_page(module: str) -> str:
    """Page of the site with the reference of a module: that of its top-level package, or of the folder in it."""
    top, *inner = module.split(".")
    has_page = inner and (ROOT / top / inner[0] / "__init__.py").is_file()
    return f"{API}/{top}.{inner[0]}.md" if has_page else f"{API}/{top}.md"


def site_target(path: PurePosixPath) -> str:
    """Page or file of the site that shows a file or folder of the repository.

    Args:
        path: Path from the root of the repository, of something that exists.

    Returns:
        Path from the root of the site, with an anchor where the file is a part of a page.
    """
    if path == PurePosixPath("README.md"):
        return "index.md"
    if path.is_relative_to(DOCS) and not path.is_relative_to(SITE) and (ROOT / path).is_file():
        inside = path.relative_to(DOCS)
        return str(inside.with_suffix(".md") if path.suffix == ".ipynb" else inside)
    module = module_of(path)
    if module is not None:
        page = api_page(module)
        return page if module in packages() else f"{page}#{module}"
    if (ROOT / path / "__init__.py").is_file() and str(path) in packages():
        return api_page(str(path))
    return copy_of(path)


def copy_of(path: PurePosixPath) -> str:
    """Page or file of the site that is a copy of a file of the repository outside of ``docs/``."""
    keeps_its_name = path.suffix in (".md", *PICTURES)
    return f"{COPIES}/{path}" if keeps_its_name else f"{COPIES}/{path}.md"


def page_of_file(path: PurePosixPath) -> str:
    """Markdown of the page that shows a file which is no Markdown, or the names in a folder.

    Args:
        path: Path from the root of the repository.
    """
    file = ROOT / path
    if file.is_dir():
        shown = [each for each in sorted(file.iterdir()) if not each.name.startswith((".", "__pycache__"))]
        rows = [
            f"[{each.name}]({path.name}/{each.name})" if each.suffix == ".md" else f"`{each.name}`" for each in shown
        ]
        return f"# `{path}/`\n\n" + "".join(f"- {row}\n" for row in rows)
    text = file.read_text()
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall(r"`{3,}", text))])
    language = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".sbatch": "bash", ".toml": "toml", ".json": "json"}
    name = "makefile" if path.name == "Makefile" else language.get(path.suffix, "text")
    return f"# `{path}`\n\n{fence}{name}\n{text.rstrip()}\n{fence}\n"
