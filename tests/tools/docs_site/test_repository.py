"""Files of the repository have their place on the site."""

from pathlib import PurePosixPath

import pytest

from tools.docs_site.repository import (
    ROOT,
    api_page,
    file_of,
    module_of,
    modules,
    packages,
    page_of_file,
    site_target,
    summary_of,
)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("README.md", "index.md"),
        ("docs/results.md", "results.md"),
        ("docs/papers/gam_depth.md", "papers/gam_depth.md"),
        ("docs/quickstart.ipynb", "quickstart.md"),
        ("docs/rooms.png", "rooms.png"),
        ("docs/notes", "repository/docs/notes.md"),
        ("losses/ssim.py", "api/losses.md#losses.ssim"),
        ("datamodules/rooms/store.py", "api/datamodules.rooms.md#datamodules.rooms.store"),
        ("plumbline.py", "api/plumbline.md"),
        ("losses", "api/losses.md"),
        ("CONTRIBUTING.md", "repository/CONTRIBUTING.md"),
        ("experiments/lite_unet.yaml", "repository/experiments/lite_unet.yaml.md"),
        ("tests/test_docs.py", "repository/tests/test_docs.py.md"),
        ("losses/__init__.py", "repository/losses/__init__.py.md"),
        ("docs/site/mkdocs.yml", "repository/docs/site/mkdocs.yml.md"),
    ],
)
def test_the_place_of_a_file(path, target):
    assert (ROOT / path).exists()
    assert site_target(PurePosixPath(path)) == target


def test_every_package_and_every_module_with_content_is_documented():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {"losses", "tools", "plumbline", "cli"} <= set(packages())
    assert folders <= set(packages())
    for package in folders:
        files = [path for path in (ROOT / package).rglob("*.py") if path.read_text().strip()]
        assert {file_of(name) for name in modules(package)} == set(files)


def test_modules_and_their_pages():
    assert module_of(PurePosixPath("losses/nothing.py")) is None
    assert module_of(PurePosixPath("tests/test_docs.py")) is None
    assert module_of(PurePosixPath("/")) is None
    assert api_page("tools.docs_site.links") == "api/tools.docs_site.md"
    assert api_page("tools.command") == "api/tools.md"
    assert summary_of("tools.docs_site.repository").startswith("Where a file of the repository stands")


def test_a_copy_shows_the_file_whatever_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.docs_site.repository.ROOT", tmp_path)
    (tmp_path / "a.sh").write_text("echo\n````\n")
    assert page_of_file(PurePosixPath("a.sh")) == "# `a.sh`\n\n`````bash\necho\n````\n`````\n"
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "d.md").write_text("")
    (tmp_path / "b" / ".hidden").write_text("")
    assert page_of_file(PurePosixPath("b")) == "# `b/`\n\n- `c`\n- [d.md](b/d.md)\n"
