"""Rendering of the rooms data file: parallel, resumable and atomic.

Sequences are grouped into shards, each written atomically into ``rooms-<fingerprint>.partial/``. When all exist, they
are joined into a temporary file that is renamed to ``rooms-<fingerprint>.h5``. An interrupted run keeps its finished
shards. The result does not depend on interruptions or the number of processes, since a sequence is a function of the
settings alone.
"""

import errno
import fcntl
import logging
import os
import pickle
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.rooms.settings import RoomsSettings, Sequence, plan
from datamodules.rooms.store import merge_shards, shard_is_complete
from datamodules.rooms.worker import DISK_FULL, Job
from structures.allowed_imports import check_function
from structures.progress_lines import ProgressLines

logger = logging.getLogger(__name__)

DEFAULT_RENDERER = "datamodules.rooms.frame:render_sequence"
FRAMES_PER_SHARD = 24
BYTES_PER_PIXEL = 6.0  # approximate size of the finished file
_SECONDS_PER_LINE = 10.0
"""Time between two lines about the progress where standard error is no terminal."""


def default_root() -> Path:
    """Return the folder of embedded data: ``$PLUMBLINE_DATA``, or ``data`` in the working directory."""
    return Path(os.environ.get("PLUMBLINE_DATA", "data"))


def store_path(settings: RoomsSettings, root: Path) -> Path:
    """Return the path of the data file of the settings."""
    return root / f"rooms-{settings.fingerprint()}.h5"


def group_sequences(sequences: list[Sequence], frames: int = FRAMES_PER_SHARD) -> tuple[tuple[Sequence, ...], ...]:
    """Return the plan in consecutive groups of at least ``frames`` frames (the last one may hold fewer)."""
    groups: list[tuple[Sequence, ...]] = []
    group: list[Sequence] = []
    for sequence in sequences:
        group.append(sequence)
        if sum(member.n_frames for member in group) >= frames:
            groups.append(tuple(group))
            group = []
    if group:
        groups.append(tuple(group))
    return tuple(groups)


def build_store(
    settings: RoomsSettings,
    root: Path | None = None,
    *,
    processes: int | None = None,
    renderer: str = DEFAULT_RENDERER,
    progress_bar: bool = True,
) -> Path:
    """Return the path of the data file, rendering it if it does not exist.

    Args:
        settings: Settings of the data set.
        root: Folder of the file; None uses :func:`default_root`.
        processes: Worker processes; None uses one per core, 0 renders in this process.
        renderer: ``module:function`` with the signature of ``render_sequence``.
        progress_bar: Whether to show a progress bar, or lines where standard error is no terminal.

    Returns:
        Path of the finished file.

    Raises:
        OSError: If the disk is full or the folder is not writable; no data file exists then.
        ChildProcessError: If a worker process fails.
        ValueError: If the settings define no frame, or the renderer may not be named by settings.
    """
    root = default_root() if root is None else root
    check_function(renderer.replace(":", "."))
    path = store_path(settings, root)
    if path.exists():
        return path
    sequences = plan(settings)
    if not sequences:
        raise ValueError("The rooms settings define no sequence: set n_video_scenes or n_stills above 0.")
    root.mkdir(parents=True, exist_ok=True)
    with _lock(path.with_name(f".{path.stem}.lock")):
        if path.exists():  # created by another process while this one waited
            return path
        folder = path.with_suffix(".partial")
        job = Job(settings=settings, groups=group_sequences(sequences), folder=folder, renderer=renderer)
        try:
            folder.mkdir(exist_ok=True)
            _render(job, os.cpu_count() or 1 if processes is None else processes, progress_bar=progress_bar)
            _finish(job, path, sequences)
        except OSError as error:
            if error.errno not in DISK_FULL and not any(f"errno = {code}" in str(error) for code in DISK_FULL):
                raise
            raise OSError(_disk_full(job, root)) from error
        shutil.rmtree(folder)
    return path


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file lock, which the operating system also releases when the process is killed."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Waiting for another process that is making the rooms data (%s).", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _disk_full(job: Job, root: Path) -> str:
    frames = sum(sequence.n_frames for group in job.groups for sequence in group)
    needed = 2 * frames * job.settings.height * job.settings.width * BYTES_PER_PIXEL
    return (
        f"The disk of {root.resolve()} is full: making the rooms data takes about {needed / 1e9:.1f} GB there (half of "
        "it stays); free some space or set PLUMBLINE_DATA to a folder on a larger disk, and run `make data` again. "
        "What is already rendered is kept."
    )


def _render(job: Job, processes: int, *, progress_bar: bool) -> None:
    """Render every missing shard."""
    frames = [sum(sequence.n_frames for sequence in group) for group in job.groups]
    missing: queue.SimpleQueue[int] = queue.SimpleQueue()
    open_shards = 0
    for number, count in enumerate(frames):
        if not shard_is_complete(job.shard_path(number), count):
            missing.put(number)
            open_shards += 1
    kept = sum(frames) - sum(frames[n] for n in range(len(frames)) if not job.shard_path(n).exists())
    if kept:
        logger.info("Going on with %d of %d frames that an earlier run rendered.", kept, sum(frames))
    columns = (
        TextColumn("making rooms"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames, {task.fields[speed]:.0f}/s, left"),
        TimeRemainingColumn(),
    )
    begin = time.monotonic()
    console = Console(stderr=True)
    lines = ProgressLines("making rooms", "frames", sum(frames) - kept, every_s=_SECONDS_PER_LINE, write=_write_line)
    with Progress(*columns, console=console, disable=not progress_bar or not console.is_terminal) as progress:
        task = progress.add_task("frames", total=sum(frames), completed=min(kept, sum(frames)), speed=0.0)
        rendered = 0

        def report(number: int) -> None:
            nonlocal rendered
            rendered += frames[number]
            progress.update(task, advance=frames[number], speed=rendered / (time.monotonic() - begin))
            if progress_bar and not console.is_terminal:
                lines.add(frames[number])

        workers = min(processes, open_shards)
        if workers == 0:
            render = job.load_renderer() if open_shards else None
            while render is not None and not missing.empty():
                number = missing.get()
                job.make_shard(number, render)
                report(number)
        else:
            with ThreadPoolExecutor(workers) as pool:
                for served in [pool.submit(_serve, job, missing, report) for _ in range(workers)]:
                    served.result()
    seconds = time.monotonic() - begin
    if rendered:
        logger.info("Rendered %d frames in %.1f s (%.1f frames/s).", rendered, seconds, rendered / seconds)


def _write_line(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


def _serve(job: Job, missing: queue.SimpleQueue[int], report: Callable[[int], None]) -> None:
    """Run one worker process and send it shard numbers until none is left."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "datamodules.rooms.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            pickle.dump(job, worker.stdin)
            while True:
                try:
                    number = missing.get_nowait()
                except queue.Empty:
                    return
                pickle.dump(number, worker.stdin)
                worker.stdin.flush()
                answer = worker.stdout.readline().decode().strip()
                if answer != "done":
                    break
                report(number)
        except BrokenPipeError:
            answer = ""
        finally:
            with suppress(BrokenPipeError):
                worker.stdin.close()
    with suppress(queue.Empty):  # empty the queue, so that the other workers stop
        while True:
            missing.get_nowait()
    if answer == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    reason = answer.removeprefix("error ") or "its process ended (killed, or out of memory)"
    raise ChildProcessError(f"Rendering the rooms data failed: {reason}")


def _finish(job: Job, path: Path, sequences: list[Sequence]) -> None:
    """Join the shards and rename the result; after any error there is no data file."""
    shards = [job.shard_path(number) for number in range(len(job.groups))]
    temporary = job.folder / "joined.h5"
    space = sum(shard.stat().st_size for shard in shards)
    try:
        with temporary.open("wb") as file:  # detects a full disk before HDF5 opens the file
            try:
                os.posix_fallocate(file.fileno(), 0, space)
            except OSError as error:
                if error.errno in DISK_FULL:  # some file systems cannot reserve space at all
                    raise
        merge_shards(temporary, shards, job.settings, sequences, job.settings.fingerprint())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
