"""Hooks of mkdocs for docs/site/mkdocs.yml: the pages that are made, the navigation, and the links.

Made are the front page (README.md), the pages of notebooks, the API reference, and copies of the files outside of
``docs/`` that pages link to.
"""

import re
from pathlib import PurePosixPath
from typing import Any

from tools.docs_site import links, navigation, reference
from tools.docs_site.repository import COPIES, DOCS, PICTURES, ROOT, copy_of, page_of_file, site_target

SOURCES = "sources"
"""Entry of mkdocs' ``extra`` with the file in the repository and the links of every page on the site."""


def on_config(config: Any) -> Any:
    """Set what the YAML file cannot say without naming Python objects.

    Args:
        config: Settings of mkdocs, which are changed.
    """
    from pymdownx.slugs import slugify

    config.extra[SOURCES] = {}
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")  # anchors as a code host makes them
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made, and replace the patterns of the navigation.

    Args:
        files: Files of ``docs/`` as mkdocs found them, which are changed.
        config: Settings of mkdocs, whose navigation is changed.
    """
    from mkdocs.structure.files import File

    sources = {PurePosixPath("README.md"): (ROOT / "README.md").read_text()}
    for file in files.documentation_pages():
        sources[DOCS / file.src_uri] = (ROOT / DOCS / file.src_uri).read_text()
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            sources[DOCS / file.src_uri] = add_notebook(DOCS / file.src_uri, files, config)
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        for path in links.files_of_links(sources[source], source):
            if path in sources or not site_target(path).startswith(f"{COPIES}/"):
                continue
            if path.suffix in PICTURES:
                sources[path] = ""
                files.append(File.generated(config, copy_of(path), abs_src_path=str(ROOT / path)))
            else:
                sources[path] = (ROOT / path).read_text() if path.suffix == ".md" else page_of_file(path)
                waiting.append(path)
    for source, text in sources.items():
        name = site_target(source)
        if source.suffix in PICTURES:
            continue
        content, found = links.rewrite(text, source, name) if is_prose(source) else (text, [])
        if source.suffix == ".ipynb":
            content = with_download(content, source.name)
        config.extra[SOURCES][name] = (str(source), found)
        present = files.get_file_from_path(name)
        if present is not None:
            files.remove(present)
        files.append(File.generated(config, name, content=content))
    for name, content in reference.pages().items():
        files.append(File.generated(config, name, content=content))
    config.nav = navigation.expand(config.nav, [file.src_uri for file in files.documentation_pages()])
    return files


def is_prose(source: PurePosixPath) -> bool:
    """Whether a file of the repository is Markdown or becomes Markdown with links of its own."""
    return source.suffix in (".md", ".ipynb") or (ROOT / source).is_dir()


def add_notebook(source: PurePosixPath, files: Any, config: Any) -> str:
    """Add the pictures of a notebook's outputs.

    Args:
        source: Path of the notebook from the root of the repository.
        files: Files of mkdocs, which are changed.
        config: Settings of mkdocs.

    Returns:
        The notebook as Markdown.
    """
    from mkdocs.structure.files import File
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    folder = f"{source.stem}_files"
    text, resources = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor(enabled=True)]).from_filename(
        str(ROOT / source), resources={"output_files_dir": folder, "unique_key": source.stem}
    )
    parent = source.relative_to(DOCS).parent
    for name, picture in resources["outputs"].items():
        files.append(File.generated(config, str(parent / name), content=picture))
    # nbconvert indents outputs, which are then coloured as if they were Python.
    return re.sub(r"(?m)(?:^(?: {4}.*)?\n)*^ {4}\S.*\n(?:^(?: {4}.*)?\n)*", fenced, text)


def with_download(text: str, name: str) -> str:
    """The page of a notebook with a link to the notebook below its title."""
    title, _, rest = text.lstrip().partition("\n")
    return f"{title}\n\nThis page is the output of the notebook [{name}]({name}).\n{rest}"


def fenced(block: re.Match[str]) -> str:
    """An indented block as a fenced one without a language."""
    lines = [line[4:] for line in block[0].strip("\n").splitlines()]
    return "\n```text\n" + "\n".join(lines) + "\n```\n"
