"""A parser of plain options that answers a wrong command line with one sentence, without a dump of the usage."""

import argparse
import sys
from typing import NoReturn

from lightning_modules.command_line.messages import in_plain_words


def leave_with(sentence: str, prog: str) -> NoReturn:
    """Print a sentence and where to read about the options, and leave with 2.

    Raises:
        SystemExit: Always.
    """
    sys.stderr.write(f"error: {sentence} (`{prog} --help` lists the settings)\n")
    raise SystemExit(2)


class PlainParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` whose errors are one sentence with the nearest known option."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        leave_with(in_plain_words(message, list(self._option_string_actions)), self.prog)
