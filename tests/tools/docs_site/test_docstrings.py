"""Docstrings become Markdown."""

import sys

import pytest

from tools.docs_site.docstrings import resolved, to_markdown


def markdown(text):
    return to_markdown(text, lambda name: f"full.{name}")


def test_roles_are_links():
    link = '<autoref identifier="full.a.b" optional><code>{}</code></autoref>'
    assert markdown("See :func:`a.b`.") == f"See {link.format('a.b')}."
    assert markdown("See :class:`~a.b`.") == f"See {link.format('b')}."
    assert markdown("``:func:`` and `a`") == "``:func:`` and `a`"


def test_blocks_and_examples_are_marked():
    assert markdown("The layout::\n\n    a\n") == "The layout:\n\n    a\n"
    assert markdown("One.\n\n::\n\n    a\n") == "One.\n\n    a\n"
    example = ">>> a = 1\n>>> a\n1"
    assert markdown(f"One.\n\n{example}\n\nTwo.") == f"One.\n\n```pycon\n{example}\n```\n\nTwo."
    section = "One.\n\nExamples:\n    >>> a\n    1\n"
    assert markdown(section) == section


def test_names_are_those_of_the_module_of_the_docstring(tmp_path, monkeypatch):
    griffe = pytest.importorskip("griffe", reason="the package griffelib of the extra `docs` is missing")
    (tmp_path / "pkg_for_docs").mkdir()
    (tmp_path / "pkg_for_docs" / "__init__.py").write_text("")
    (tmp_path / "pkg_for_docs" / "one.py").write_text("class A:\n    def m(self): ...\n")
    (tmp_path / "pkg_for_docs" / "two.py").write_text(
        '"""See :class:`A` and :meth:`A.m`."""\nfrom pkg_for_docs.one import A\n\n'
        'class B:\n    """See :meth:`n` and :data:`C` and :mod:`other.place`."""\n    def n(self): ...\nC = 1\n'
    )
    extension = "tools.docs_site.docstrings"
    package = griffe.load("pkg_for_docs", search_paths=[str(tmp_path)], extensions=griffe.load_extensions(extension))
    two = package["two"]
    assert 'identifier="pkg_for_docs.one.A"' in two.docstring.value
    assert 'identifier="pkg_for_docs.one.A.m"' in two.docstring.value
    for name in ("pkg_for_docs.two.B.n", "pkg_for_docs.two.C", "other.place"):
        assert f'identifier="{name}"' in two["B"].docstring.value
    assert resolved(two, "nothing") == "nothing"
    assert "pkg_for_docs" not in sys.modules
