"""Pages of the API reference, from the sources."""

import pytest

from tools.docs_site.reference import contents, package_pages, pages, plain
from tools.docs_site.repository import modules, packages


def test_every_module_is_on_one_page():
    texts = "".join(pages().values()).splitlines()
    for package in packages():
        for name in modules(package):
            assert texts.count(f"::: {name}") == 1, name


def test_every_package_has_a_description_and_a_table_of_its_modules():
    found = contents()
    assert all(found[name] for name in packages())
    assert found["tools"] == "commands"
    assert found["losses"] == "functions to minimise, one family a file"
    text = package_pages("losses")["api/losses.md"]
    assert "\nFunctions to minimise, one family a file.\n" in text
    assert "| [`losses.ssim`](losses.md#losses.ssim) | " in text
    parts = package_pages("datamodules")
    assert "(datamodules.rooms.md#datamodules.rooms.store)" in parts["api/datamodules.md"]
    assert "::: datamodules.rooms.store\n" in parts["api/datamodules.rooms.md"]
    assert "::: datamodules.base\n" in parts["api/datamodules.md"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("the ``a|b`` of :func:`~c.d`, |x|", "the `a|b` of `c.d`, \\|x\\|"),
        ("plain", "plain"),
    ],
)
def test_a_sentence_of_a_docstring_in_a_table(text, cell):
    assert plain(text) == cell
