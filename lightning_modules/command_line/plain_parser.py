"""A parser of plain options that reports a wrong command line in one sentence, without the usage text."""

import argparse
import sys
from typing import NoReturn

from lightning_modules.command_line.messages import in_plain_words
from structures.private_names import option_strings


def exit_with(sentence: str, prog: str) -> NoReturn:
    """Print a sentence with a hint to ``--help`` and exit with 2.

    Raises:
        SystemExit: Always.
    """
    sys.stderr.write(f"error: {sentence} (`{prog} --help` lists the settings)\n")
    raise SystemExit(2)


class PlainParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` whose errors are one sentence that suggests the nearest option."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        exit_with(in_plain_words(message, option_strings(self)), self.prog)
