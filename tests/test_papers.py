"""Every paper has its test, its page and its entry in the import rules; no source file is ignored by the tools."""

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = ROOT / "lightning_modules"
NO_PAPERS = {"__init__", "callbacks", "command_line", "exported", "runs", "schedules", "tasks", "teachers"}
"""Everything else in ``lightning_modules/`` is a paper."""
PACKAGES = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file())


def papers():
    entries = [path for path in MODULES.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return sorted({path.stem for path in entries} - NO_PAPERS)


def independent_modules():
    """Modules that the contract "papers never import papers" of pyproject.toml lists."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "independence"]
    return contract["modules"]


def test_the_import_rules_list_every_paper():
    expected, listed = {f"lightning_modules.{paper}" for paper in papers()}, set(independent_modules())
    forgotten = sorted(expected - listed)
    assert not forgotten, (
        f"missing from the contract 'papers never import papers' of pyproject.toml: {', '.join(forgotten)}. Add it "
        f"there, or to NO_PAPERS in tests/test_papers.py if it is no paper"
    )
    stale = sorted(listed - expected)
    assert not stale, f"{', '.join(stale)} is in the contract 'papers never import papers' of pyproject.toml, but gone"
    assert len(listed) == len(independent_modules()), "a paper stands twice in the contract of pyproject.toml"


def test_what_is_no_paper_is_there():
    """A name that is left over would hide a new paper of that name."""
    assert {path.stem for path in MODULES.iterdir()} >= NO_PAPERS


@pytest.mark.parametrize("paper", papers())
def test_a_paper_has_a_test_a_page_and_an_experiment(paper):
    tests = ROOT / "tests" / "lightning_modules"
    tested = (tests / f"test_{paper}.py").is_file() or list((tests / paper).glob("test_*.py"))
    assert tested, f"the paper {paper} has no test: write tests/lightning_modules/test_{paper}.py"
    page = f"docs/papers/{paper}.md"
    assert (ROOT / page).is_file(), f"the paper {paper} has no page: write {page}"
    experiments = [path.read_text() for path in (ROOT / "experiments").glob("*.yaml")]
    assert any(text.startswith(f"# {paper}, ") for text in experiments), (
        f"the paper {paper} has no experiment: write one in experiments/ whose first line begins with '# {paper}, '"
    )


@pytest.mark.parametrize("paper", papers())
def test_a_paper_names_its_source_and_its_deviations(paper):
    file = MODULES / f"{paper}.py"
    file = file if file.is_file() else MODULES / paper / "module.py"
    assert file.is_file(), f"the paper {paper} is a folder without module.py, in which its module class belongs"
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    where = f"the docstring of {file.relative_to(ROOT)}"
    assert re.search(r"https?://", docstring), f"{where} has no link to the paper"
    assert "Deviations:" in docstring, f"{where} has no list that begins with 'Deviations:'"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_a_package_is_a_package(package):
    """Setuptools, grimp and mypy ignore a folder without ``__init__.py`` and its content."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert not [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs the git repository")
def test_no_folder_of_the_sources_is_ignored_by_git():
    """Ruff and ``git add`` skip files that git ignores."""
    folders = {path.parent for package in (*PACKAGES, "tests", "experiments") for path in (ROOT / package).rglob("*")}
    names = "\n".join(
        str((folder / "new.py").relative_to(ROOT)) for folder in sorted(folders) if "__pycache__" not in folder.parts
    )
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(command, cwd=ROOT, input=names, capture_output=True, text=True, check=False)
    assert done.stdout.split() == []
