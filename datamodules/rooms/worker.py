"""Worker process that renders shards of the rooms data set: ``python -m datamodules.rooms.worker``.

It reads a pickled :class:`Job` and then shard numbers from standard input, and answers each with one line. It exits at
the end of its input, so no worker outlives a killed parent. Unlike ``multiprocessing``, a separate process does not
import the main program again and inherits no threads.
"""

import errno
import importlib
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.rooms.settings import RoomsSettings, Sequence
from datamodules.rooms.store import Arrays, encode, write_shard

Renderer = Callable[[RoomsSettings, Sequence], Arrays]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Job:
    """Input of a worker: settings, sequences of every shard, output folder and renderer.

    Attributes:
        settings: Settings of the data set.
        groups: Sequences of each shard.
        folder: Folder of the shards.
        renderer: ``module:function`` of the renderer.
    """

    settings: RoomsSettings
    groups: tuple[tuple[Sequence, ...], ...]
    folder: Path
    renderer: str

    def shard_path(self, number: int) -> Path:
        """Return the path of a shard."""
        return self.folder / f"shard-{number:05d}.h5"

    def load_renderer(self) -> Renderer:
        """Import and return the renderer."""
        module, function = self.renderer.split(":")
        return getattr(importlib.import_module(module), function)

    def make_shard(self, number: int, render: Renderer) -> None:
        """Render the sequences of a shard and write its file."""
        parts = [encode(render(self.settings, sequence), sequence.name) for sequence in self.groups[number]]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        write_shard(self.shard_path(number), arrays)


def main() -> None:
    """Render the shards whose numbers arrive on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker without another traceback
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries goes to standard error, separate from the answers
    job: Job = pickle.load(sys.stdin.buffer)
    render = job.load_renderer()
    while True:
        try:
            number: int = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            job.make_shard(number, render)
        except OSError as error:
            answer = "full" if error.errno in DISK_FULL else f"error {type(error).__name__}: {error}"
        except Exception as error:
            answer = f"error {type(error).__name__}: {error}"
        else:
            answer = "done"
        answers.write(answer.replace("\n", " ") + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
