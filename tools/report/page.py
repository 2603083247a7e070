"""The HTML file of a report, or of one cloud: template, styles, scripts and content in one file without network."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from structures.files import write_atomically

_FOLDER = files("tools.report") / "page"
_SCRIPTS = ("state", "points", "table", "curves", "samples", "clouds", "settings", "seeds", "start")


def plotly_library() -> str:
    """The source of plotly.js from the package ``plotly``.

    Raises:
        ImportError: If the package is missing.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ImportError("this page needs the package plotly: pip install 'plumbline[report]'") from None
    return str(get_plotlyjs())


def write_page(
    path: Path,
    content: Mapping[str, Any],
    assets: Mapping[str, str],
    *,
    template: str = "page.html",
    scripts: Sequence[str] = _SCRIPTS,
) -> int:
    """Write a page atomically.

    Args:
        path: Target.
        content: Content for the scripts; holds keys of ``assets``.
        assets: Texts by key, each read by the scripts when it is needed.
        template: File of ``page/`` with slots for the parts.
        scripts: Scripts of ``page/`` without suffix, in their order.

    Returns:
        Size of the file, bytes.

    Raises:
        OSError: If the file cannot be written.
        ImportError: If the package plotly is missing.
    """
    chunks = list(_parts(content, assets, template, scripts))
    write_atomically(path, chunks)
    return sum(map(len, chunks))


def _parts(
    content: Mapping[str, Any], assets: Mapping[str, str], template: str, scripts: Sequence[str]
) -> Iterator[bytes]:
    slots = {
        "css": lambda: iter([_text("report.css")]),
        "js": lambda: (_in_script(_text(f"{name}.js")) + "\n" for name in scripts),
        "plotly": lambda: iter([_in_script(plotly_library())]),
        "report": lambda: iter([_in_script(json.dumps(content, separators=(",", ":"), allow_nan=False))]),
        "assets": lambda: (
            f'<script type="text/plain" id="a-{key}">{_in_script(text)}</script>\n' for key, text in assets.items()
        ),
    }
    for position, part in enumerate(re.split(r"\{\{(\w+)\}\}", _text(template))):
        if position % 2:
            for text in slots[part]():
                yield text.encode()
        else:
            yield part.encode()


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _in_script(text: str) -> str:
    """A text that ends or opens no script inside of one; in strings of JSON and JavaScript its meaning is the same."""
    return re.sub(r"<(?=/?script|!--)", r"\\u003c", text, flags=re.IGNORECASE)
