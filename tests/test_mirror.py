"""Tests mirror the sources: ``a/b/c.py`` has ``tests/a/b/test_c.py``, and tests/mirror.toml lists every exception."""

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
LIST = "tests/mirror.toml"
MODULES = ("cli.py", "hubconf.py", "plumbline.py")
"""Python files beside the packages."""
PACKAGES = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file())
LISTED = tomllib.loads((ROOT / LIST).read_text())
ELSEWHERE = {file: entry for entry in LISTED["elsewhere"] for file in entry["files"]}
WHOLE = {file: entry for entry in LISTED["whole"] for file in entry["files"]}


def relative(paths):
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def source_files():
    """Python files of the packages and beside them, without the ``__init__.py`` that only make a package."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    return relative([*files, *(ROOT / name for name in MODULES)])


def test_files():
    return relative(TESTS.rglob("test_*.py"))


test_files.__test__ = False


def mirror_of(source):
    path = Path(source)
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


@cache
def imported_files(file):
    """Files of this repository that a file imports or runs as ``python -m``, directly."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.add(node.value)  # a module that is imported by its name, such as a class path
            names.add(node.value.rpartition(".")[0])
    paths = [
        Path(*name.split("."))
        for name in names
        if name.split(".")[0] in (*PACKAGES, *(m.removesuffix(".py") for m in MODULES), "tests")
    ]
    candidates = [candidate for path in paths for candidate in (path.with_suffix(".py"), path / "__init__.py")]
    return frozenset(path.as_posix() for path in candidates if (ROOT / path).is_file())


def reached_files(file):
    """Files that a file imports, directly or through others."""
    reached, waiting = set(), [file]
    while waiting:
        found = imported_files(waiting.pop()) - reached
        reached |= found
        waiting.extend(found)
    return reached


def test_no_other_python_file_stands_beside_the_packages():
    assert relative(ROOT.glob("*.py")) == sorted(MODULES)


def test_every_source_file_has_its_test_or_an_entry():
    missing = set(source_files()) - {source for source in source_files() if (ROOT / mirror_of(source)).is_file()}
    forgotten = sorted(missing - ELSEWHERE.keys())
    assert not forgotten, "no test and no entry: " + ", ".join(
        f"write {mirror_of(source)}, or say in {LIST} which tests cover {source} and why they stand elsewhere"
        for source in forgotten
    )


def test_no_entry_is_out_of_date():
    gone = sorted(ELSEWHERE.keys() - set(source_files()))
    assert not gone, f"remove from {LIST} what is no source file: {gone}"
    mirrored = [source for source in ELSEWHERE if (ROOT / mirror_of(source)).is_file()]
    assert not mirrored, f"remove from {LIST} what has a test file of its own: {mirrored}"


def test_every_test_file_mirrors_a_source_or_is_listed():
    mirrors = {mirror_of(source) for source in source_files()}
    strays = sorted(set(test_files()) - mirrors - WHOLE.keys())
    assert not strays, f"move each to the mirror of a source file, or say in {LIST} what it tests as a whole: {strays}"
    stale = sorted(file for file in WHOLE if file in mirrors or file not in test_files())
    assert not stale, f"remove from {LIST} what mirrors a source file or is gone: {stale}"


def test_no_file_is_listed_twice_or_without_a_reason():
    for section in ("elsewhere", "whole"):
        files = [file for entry in LISTED[section] for file in entry["files"]]
        assert len(files) == len(set(files)), section
        assert all(len(entry["reason"].split()) >= 3 for entry in LISTED[section]), section


@pytest.mark.parametrize("source", sorted(source for source, entry in ELSEWHERE.items() if entry["tested_by"]))
def test_the_tests_that_an_entry_names_reach_the_file(source):
    for test in ELSEWHERE[source]["tested_by"]:
        assert test in test_files(), f"{LIST} says that {test} covers {source}, but there is no such test file"
        assert source in reached_files(test), f"{LIST} says that {test} covers {source}, but it does not import it"


def test_the_mirror_of_a_file():
    assert mirror_of("geometry/camera.py") == "tests/geometry/test_camera.py"
    assert mirror_of("cli.py") == "tests/test_cli.py"
    assert "geometry/stencils.py" in reached_files("tests/metrics/test_shape.py")  # through the metric
    assert "datamodules/base.py" not in reached_files("tests/metrics/test_shape.py")
