"""Links of pages are found with their lines and rewritten for the site."""

from pathlib import PurePosixPath

import pytest

from tools.docs_site.links import Link, file_of_link, files_of_links, rewrite

PAGE = PurePosixPath("docs/papers/gam_depth.md")


def rewritten(text, source=PAGE, page="papers/gam_depth.md"):
    return rewrite(text, source, page)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../results.md#gam-depth)", "[a](../results.md#gam-depth)"),
        ("[a](../../README.md)", "[a](../index.md)"),
        ("[a](../quickstart.ipynb)", "[a](../quickstart.md)"),
        ("[a](../../tests/golden/README.md)", "[a](../repository/tests/golden/README.md)"),
        ("[a](../../experiments/lite_unet.yaml)", "[a](../repository/experiments/lite_unet.yaml.md)"),
        ("[`b`](../../losses/ssim.py)", "[`b`](../api/losses.md#losses.ssim)"),
        ("[a](../../losses/ssim.py#L3)", "[a](../api/losses.md#L3)"),
        ("[![a](../rooms.png)](../../CONTRIBUTING.md)", "[![a](../rooms.png)](../repository/CONTRIBUTING.md)"),
        ("[two\nlines](../../README.md)", "[two\nlines](../index.md)"),
        ("[a]: ../../README.md", "[a]: ../index.md"),
        ("[a](https://b.c/README.md) [d](#e) [f](none.md)", "[a](https://b.c/README.md) [d](#e) [f](none.md)"),
        ("`[a](../../README.md)`", "`[a](../../README.md)`"),
        ("```\n[a](../../README.md)\n```\n[a](../../README.md)", "```\n[a](../../README.md)\n```\n[a](../index.md)"),
    ],
)
def test_links_point_to_pages(text, expected):
    assert rewritten(text) == expected


def test_code_that_is_a_documented_file_becomes_a_link():
    assert rewritten("see `losses/ssim.py`.") == "see [`losses/ssim.py`](../api/losses.md#losses.ssim)."
    for text in (
        "`losses/none.py`",
        "`tests/test_docs.py`",
        "`python cli.py`",
        "[see `losses/ssim.py`](../results.md)",
    ):
        assert rewritten(text) == text


def test_a_bar_in_code_of_a_table_is_a_bar():
    assert rewritten("| `a \\| b` | c |") == "| `a | b` | c |"
    assert rewritten("`a \\| b`") == "`a \\| b`"
    assert rewritten("| a \\| b |") == "| a \\| b |"


def test_a_page_may_come_from_another_place():
    text = "[a](docs/data.md) ![b](docs/rooms.png)"
    assert rewritten(text, PurePosixPath("README.md"), "index.md") == "[a](data.md) ![b](rooms.png)"


def test_links_have_their_lines():
    text = "# One\n\n[a](../../README.md#x)\n\n```\n\n```\n\ntwo [c\nd](none.md)\n"
    assert rewrite(text, PAGE, "papers/gam_depth.md")[1] == [
        Link(3, "../../README.md#x", "../index.md#x"),
        Link(10, "none.md", "none.md"),
    ]


def test_files_of_links():
    text = "[a](../data.md#b) `[c](../rooms.png)` [d](../../../outside) [e](/etc/passwd) [f](mailto:a@b.c)"
    assert list(files_of_links(text, PAGE)) == [PurePosixPath("docs/data.md")]
    assert file_of_link("../../../outside", PAGE) is None
