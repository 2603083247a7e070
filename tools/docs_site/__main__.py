"""Build the documentation site: a folder of web pages that needs no network and no server.

Every warning, broken link or part of a page that comes from the network is an error.
"""

import argparse
import os
import sys
from pathlib import Path

from tools.command import plain_parser, run_tool
from tools.docs_site.build import build, check_output, size_of


def main(args: list[str] | None = None) -> int:
    """Build the site.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 if something is wrong with a page or the site cannot be built, 2 for a wrong call.
    """
    parser = plain_parser("tools.docs_site", __doc__)
    parser.add_argument("--out", type=Path, default=Path("site"), help="the folder (default: site)")
    return run_tool(parser, run, args)


def run(options: argparse.Namespace) -> int:
    """Build the site of parsed options; the exit code is that of :func:`main`.

    Raises:
        ImportError: If mkdocs or a plugin is missing.
        ValueError: If the folder is in use for something else, or the settings are wrong.
    """
    check_output(options.out)
    try:
        problems = build(options.out)
    except ImportError as error:
        raise ImportError(
            f"the site needs the package {error.name}, which is missing: `make docs` installs it with a network, or "
            "pip install --constraint constraints.txt -e '.[docs]'"
        ) from error
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        sys.stderr.write(f"{count}; the site in {os.path.relpath(options.out)} is incomplete\n")
        return 1
    size = size_of(options.out)
    front = os.path.relpath(options.out / "index.html")
    sys.stdout.write(f"{front}: {size['pages']} pages, {size['bytes'] / 1e6:.1f} MB; open it in a browser\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
