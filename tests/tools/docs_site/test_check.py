"""The check of a built site finds what leads nowhere and what comes from the network."""

from tools.docs_site.check import Problem, problems


def site_of(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return list(problems(folder))


def test_a_sound_site_has_no_problems(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<a href="../a.html#x%20y">a</a><a href="https://b.c/d">b</a>')
    (tmp_path / "style.css").write_text("")
    one = '<link rel="stylesheet" href="style.css"><h1 id="x y">A</h1><a href="sub/">b</a><a href="#x%20y">c</a>'
    assert site_of(tmp_path, a=one + '<link rel="canonical" href="https://b.c/"><a href="mailto:a@b.c">d</a>') == []


def test_every_kind_of_problem_is_found(tmp_path):
    text = (
        '<a href="none.html">a</a><img src="none.png"><a href="#none">b</a><a href="b.html#none">c</a>'
        '<script src="https://cdn.d/e.js"></script><img src="//cdn.d/f.png"><a href="../">g</a>'
        '<link rel="stylesheet" href="http://fonts.d/h">'
    )
    assert site_of(tmp_path, a=text, b="<p>x</p>") == [
        Problem("a.html", "none.html", "no such file"),
        Problem("a.html", "none.png", "no such file"),
        Problem("a.html", "#none", "no such heading or anchor"),
        Problem("a.html", "b.html#none", "no such heading or anchor"),
        Problem("a.html", "https://cdn.d/e.js", "the page loads it from the network"),
        Problem("a.html", "//cdn.d/f.png", "the page loads it from the network"),
        Problem("a.html", "../", "no such file"),
        Problem("a.html", "http://fonts.d/h", "the page loads it from the network"),
    ]


def test_the_page_of_errors_is_left_out(tmp_path):
    (tmp_path / "404.html").write_text('<a href="/none.html">a</a>')
    assert list(problems(tmp_path)) == []
