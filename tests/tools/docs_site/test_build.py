"""The site of a small clone is built, and every fault of its pages is one sentence; the whole site has none."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.docs_site import __main__ as command
from tools.docs_site.build import build, check_output, is_site, on_disk, sentence, size_of
from tools.docs_site.check import Problem
from tools.docs_site.links import Link

ROOT = Path(__file__).parents[3]
HOOKS = "tools.docs_site.hooks"
"""Called by mkdocs, which has their file from docs/site/mkdocs.yml."""
MODULES = ("mkdocs", "material", "mkdocstrings_handlers", "nbconvert")
needs_mkdocs = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in MODULES),
    reason="the packages of the extra `docs` are missing (`make docs` installs them)",
)
BUILD = "import json, pathlib, tools.docs_site.build as b; print(json.dumps(b.build(pathlib.Path('out'))))"
NOTEBOOK = {
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Notebook\n\nSee [one](one.md)."},
        {
            "cell_type": "code", "id": "b", "metadata": {}, "execution_count": 1, "source": "1 + 1",
            "outputs": [{
                "output_type": "execute_result", "execution_count": 1, "metadata": {},
                "data": {"text/plain": "two\n\nlines"},
            }],
        },
    ],
}  # fmt: skip


@pytest.fixture
def clone(tmp_path):
    """A small clone: two pages, a notebook, a package with two modules, and files outside of the documentation."""
    shutil.copytree(ROOT / "docs" / "site", tmp_path / "docs" / "site")
    shutil.copytree(ROOT / "tools" / "docs_site", tmp_path / "tools" / "docs_site")
    settings = yaml.safe_load((ROOT / "docs" / "site" / "mkdocs.yml").read_text())
    settings["nav"] = [
        "index.md",
        "one.md",
        "notebook.md",
        "conventions.md",
        {"P": ["papers/*"]},
        {"API": ["api/index.md", "api/*"]},
    ]
    write(tmp_path, "docs/site/mkdocs.yml", yaml.safe_dump(settings))
    write(tmp_path, "pyproject.toml", "[tool.setuptools]\npy-modules = []\n")
    write(tmp_path, "tools/__init__.py", "")
    write(
        tmp_path, "CONTRIBUTING.md", "# Contributing\n\n| `losses/`, `tools/` | formulas, commands |\n[a](README.md)\n"
    )
    write(tmp_path, "README.md", "# Front\n\n[one](docs/one.md#two), [rules](CONTRIBUTING.md), [run](run.sh)\n")
    write(tmp_path, "run.sh", "echo run\n")
    write(tmp_path, "docs/one.md", "# One\n\n## Two\n\n[paper](papers/a.md), [code](../losses/b.py), `losses/b.py`\n")
    write(tmp_path, "docs/conventions.md", "# Conventions\n")
    write(tmp_path, "docs/papers/a.md", "# A paper\n\n[one](../one.md#two), [notebook](../notebook.ipynb)\n")
    write(tmp_path, "docs/notebook.ipynb", json.dumps(NOTEBOOK))
    write(tmp_path, "losses/__init__.py", "")
    write(tmp_path, "losses/b.py", '"""Terms of b."""\n\n\ndef f(x: int) -> int:\n    """One more, see :func:`f`."""\n')
    return tmp_path


def write(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def built(clone):
    """Problems of the site of a clone, in its folder ``out``."""
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=clone, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_mkdocs
def test_a_sound_clone_has_a_site_whose_links_are_pages(clone):
    assert built(clone) == []
    pages = {name: (clone / "out" / f"{name}.html").read_text() for name in ("index", "one", "notebook", "api/losses")}
    assert 'href="one.html#two"' in pages["index"]
    assert 'href="repository/CONTRIBUTING.html"' in pages["index"]
    assert "echo run" in re.sub(r"<[^>]*>", "", (clone / "out" / "repository" / "run.sh.html").read_text())
    assert pages["one"].count('href="api/losses.html#losses.b"') == 2
    assert "two\n\nlines" in re.sub(r"<[^>]*>", "", pages["notebook"])
    assert 'href="notebook.ipynb"' in pages["notebook"]
    assert 'id="losses.b.f"' in pages["api/losses"]
    assert 'href="#losses.b.f"' in pages["api/losses"]
    assert not (clone / "out" / "site" / "mkdocs.yml").exists()
    assert is_site(clone / "out")


@needs_mkdocs
def test_every_fault_is_a_sentence_with_its_place(clone):
    write(
        clone,
        "docs/one.md",
        "# One\n\n[a](none.md)\n[b](papers/a.md#none)\n[c](#none)\n![d](none.png)\n[e](../none.sh)\n"
        "![f](https://cdn.d/f.png)\n",
    )
    write(clone, "docs/forgotten.md", "# Forgotten\n")
    write(clone, "losses/b.py", '"""B."""\n\n\ndef f(x: int) -> int:\n    """One.\n\n    Args:\n        x\n    """\n')
    found = built(clone)
    expected = {
        "docs/one.md:3: link to none.md: no such file",
        "docs/one.md:4: link to papers/a.md#none: no such heading or anchor",
        "docs/one.md:5: link to #none: no such heading or anchor",
        "docs/one.md:6: link to none.png: no such file",
        "docs/one.md:7: link to ../none.sh: no such file",
        "docs/one.md:8: link to https://cdn.d/f.png: the page loads it from the network",
        "README.md:3: link to docs/one.md#two: no such heading or anchor",
        "docs/papers/a.md:3: link to ../one.md#two: no such heading or anchor",
    }
    assert set(found) >= expected
    others = set(found) - expected
    assert len(others) == len(found) - len(expected) == 2, found
    assert any("forgotten.md" in text and "nav" in text and "\n" not in text for text in others)
    assert any("losses/b.py:8: " in text for text in others)


@needs_mkdocs
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_site_has_no_problem(tmp_path):
    assert build(tmp_path / "site") == []
    assert size_of(tmp_path / "site")["pages"] > 50
    front = (tmp_path / "site" / "index.html").read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(docs/(\S+)\)", (ROOT / "README.md").read_text())
    assert pictures
    assert all(f'src="{picture}"' in front for picture in pictures)
    assert 'href="papers/gam_depth.html"' in front


@needs_mkdocs
def test_wrong_settings_are_a_sentence(tmp_path):
    (tmp_path / "mkdocs.yml").write_text("site_name: x\nthemee: material\n")
    (tmp_path / "docs").mkdir()
    with pytest.raises(ValueError, match=r"mkdocs\.yml: .*themee"):
        build(tmp_path / "site", tmp_path / "mkdocs.yml")


def test_the_hooks_are_those_of_the_settings():
    settings = yaml.safe_load((ROOT / "docs" / "site" / "mkdocs.yml").read_text())
    assert [ROOT / "docs" / "site" / name for name in settings["hooks"]] == [
        ROOT / "docs" / "site" / ".." / ".." / f"{HOOKS.replace('.', '/')}.py"
    ]


def test_the_sentence_of_a_problem():
    sources = {"a/b.md": ("docs/a/b.md", [Link(7, "../../c.md#d", "../repository/c.md#d")])}
    problem = Problem("a/b.html", "../repository/c.html#d", "no such heading or anchor")
    assert sentence(problem, sources) == "docs/a/b.md:7: link to ../../c.md#d: no such heading or anchor"
    assert sentence(Problem("a/b.html", "x", "y"), sources) == "docs/a/b.md: link to x: y"
    assert sentence(Problem("api/c.html", "x", "y"), sources) == "api/c.html of the site: link to x: y"
    assert [on_disk(target) for target in ("a.md", "a.md#b", "#b", "c.png")] == ["a.html", "a.html#b", "#b", "c.png"]


def test_a_folder_with_other_files_is_never_emptied(tmp_path):
    check_output(tmp_path / "new")
    check_output(tmp_path)
    write(tmp_path, "mine.txt", "")
    with pytest.raises(ValueError, match="holds files that are no site"):
        check_output(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        check_output(tmp_path / "mine.txt")
    with pytest.raises(ValueError, match="is in docs/"):
        check_output(ROOT / "docs" / "built")
    write(tmp_path, "index.html", "")
    write(tmp_path, "search/search_index.json", "{}")
    check_output(tmp_path)


def test_the_command_counts_problems_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "build", lambda site: ["docs/a.md:1: link to b.md: no such file"])
    assert command.main(["--out", str(tmp_path / "site")]) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "error: docs/a.md:1: link to b.md: no such file"
    assert printed[1].startswith("1 error; ")

    def without_mkdocs(site):
        raise ModuleNotFoundError("No module named 'mkdocs'", name="mkdocs")

    monkeypatch.setattr(command, "build", without_mkdocs)
    assert command.main(["--out", str(tmp_path / "site")]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "the site needs the package mkdocs, which is missing" in sentence
    assert command.main(["--out", str(ROOT / "docs")]) == 1
