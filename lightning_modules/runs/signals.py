"""Signals that end a command: SIGTERM, SIGINT (Ctrl-C), and SIGUSR1, by which SLURM announces the end of a job.

This module imports nothing heavy, so that the signals are handled before the seconds that the other imports take.
"""

import contextlib
import enum
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from lightning_modules.runs.slurm import is_first_rank, requeue_job, started_by_srun, whole_number

SIGNALS = (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)
BREAK_AFTER_S = 15.0
"""Time after a signal in which a training reaches the end of its step; then the step is broken off."""
END_AFTER_S = 27.0
"""Time after a signal at which the process ends in any case, unless it is writing a checkpoint."""
_SECOND_CTRL_C_S = 2.0
"""A launcher passes Ctrl-C on to its processes, which have it already; a user presses it again later than this."""
_SETTLE_S = 2.0
"""Time after the end of a checkpoint's writing in which the process may still end by itself."""


class Phase(enum.Enum):
    """What a signal does: nothing, end the process, raise :class:`Stopped`, be noted for the training, nothing."""

    OFF = enum.auto()
    IMPORTS = enum.auto()
    COMMAND = enum.auto()
    TRAINING = enum.auto()
    ENDING = enum.auto()


class Stopped(BaseException):
    """A signal ends the command.

    Attributes:
        signum: The signal.
        agreed: Whether all processes of the run raise it at the same place, so that they can save together.
    """

    def __init__(self, signum: int, *, agreed: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.agreed = agreed

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal; 0 where that would make the launcher kill the first process of the run.

        The first process writes the checkpoint and closes the logs. ``srun --kill-on-bad-exit``, ``torchrun`` and
        Lightning's launcher kill it as soon as another one fails.
        """
        others = self.agreed or is_started_by_lightning()
        return 0 if others and not is_first_rank() else 128 + self.signum


class SignalWatch:
    """Handlers of the signals that end a command, and a thread that ends a process which does not end itself.

    Python runs handlers in the main thread, when it returns from compiled code, e.g. from a collective operation whose
    other side is gone. The thread reads the signals from a pipe that is written at once.

    - While modules are imported, nothing is begun: the process ends.
    - In a command, :class:`Stopped` is raised.
    - In a training, the signal is noted. The training looks for it between two batches
      (``callbacks/stop_signals.py``); if a batch takes too long, :class:`Stopped` is raised inside it.
    - A process that still runs after :data:`END_AFTER_S` ends with the signal's exit code.

    Signals after the first are ignored, except a second Ctrl-C, which does not wait for the end of the batch. Processes
    that are forked, such as loader workers, get the signals' default actions.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.phase = Phase.OFF
        self.children: Sequence[subprocess.Popen[bytes]] = ()
        self.break_after_s = BREAK_AFTER_S
        self.end_after_s = END_AFTER_S
        self._received_s = 0.0
        self._writing = 0
        self._written_s = 0.0
        self._requeued = False
        self._forwarded = False
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._process = self._parent = 0
        self._program = False

    def start(self, phase: Phase = Phase.IMPORTS) -> None:
        """Install the handlers and start the thread; nothing happens outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.received, self.phase, self._requeued, self._forwarded, self.children = None, phase, False, False, ()
        if self._pipe is not None:
            return
        self._process, self._parent, self._program = os.getpid(), os.getppid(), phase is Phase.IMPORTS
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._break_off)
        threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True, name="signals").start()

    def stop(self) -> None:
        """Restore the handlers that were there before, and end the thread."""
        if self._pipe is None or os.getpid() != self._process:
            return
        self.phase = Phase.OFF
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(self._pipe[1])  # the thread closes the other end
        self._pipe, self._before, self._program = None, {}, False

    @property
    def is_program(self) -> bool:
        """Whether this process runs the command alone, and ends with it."""
        return self._program

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """Handle the signals of a command; afterwards they do what they did before, or nothing if the process ends."""
        if self._program:
            self.phase = Phase.COMMAND
        else:
            self.start(Phase.COMMAND)
        try:
            yield
        finally:
            if self._program:
                self.phase = Phase.ENDING
            else:
                self.stop()

    def agree(self, signum: int) -> Stopped:
        """What to raise for a signal to any process of the run; this one, too, then ends in time."""
        self.phase = Phase.ENDING
        if self.received is None:
            self.received = signum
            if self._pipe is not None:
                os.write(self._pipe[1], bytes([signum]))
        return Stopped(signum, agreed=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Let a checkpoint be written to its end."""
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
            self._written_s = time.monotonic()

    def requeue(self) -> None:
        """Requeue the SLURM job of this process, once, if SLURM announced its end."""
        if self.received != signal.SIGUSR1 or self._requeued or not started_by_srun() or not is_first_rank():
            return
        self._requeued = True
        requeue_job()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # in the first moments of a forked process
        first, now = self.received is None, time.monotonic()
        if first:
            self.received, self._received_s = signum, now
        phase = self.phase
        if phase is Phase.IMPORTS:
            self._end()
        if phase is Phase.COMMAND and first:
            self.phase = Phase.ENDING
            raise Stopped(signum)
        if signum == signal.SIGINT and not first and now - self._received_s > _SECOND_CTRL_C_S:
            self._break_off(signum, frame)

    def _break_off(self, signum: int, frame: FrameType | None) -> None:
        """Raise inside a batch of a training, but not while it writes a checkpoint."""
        if self.phase is Phase.TRAINING and self.received is not None and not self._writing:
            self.phase = Phase.ENDING
            raise Stopped(self.received)

    def _watch(self, pipe: int) -> None:
        """Read the first signal from the pipe, then see to it that the process ends."""
        signum = _first_signal(pipe)
        if signum is None:  # stop() has closed the other end
            os.close(pipe)
            return
        self._forward(signum)
        begin, main = time.monotonic(), threading.main_thread()
        while self._pipe is not None and self._pipe[0] == pipe:
            time.sleep(0.1)
            now = time.monotonic()
            if self._writing or now - self._written_s < _SETTLE_S:
                continue
            if now - begin > self.end_after_s:
                self.received = signum if self.received is None else self.received
                self._end()
            if now - begin > self.break_after_s and self.phase is Phase.TRAINING and main.ident is not None:
                signal.pthread_kill(main.ident, signal.SIGALRM)
                time.sleep(1)
        os.close(pipe)

    def _forward(self, signum: int) -> None:
        """Pass a signal on to the process of Lightning that started this one: its exit code is that of the run."""
        if self._forwarded or not is_started_by_lightning() or os.getppid() != self._parent or self._parent == 1:
            return
        self._forwarded = True
        with contextlib.suppress(OSError):
            os.kill(self._parent, signum)

    def _end(self) -> NoReturn:
        """End the process at once, with the processes that it started as ranks."""
        stop = Stopped(signal.SIGTERM if self.received is None else self.received)
        self._forward(stop.signum)  # the thread may not have come to it
        sys.stderr.write(f"{stop}\n")
        with contextlib.suppress(Exception):
            self.requeue()
        for child in self.children:
            with contextlib.suppress(OSError):
                child.kill()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(stop.exit_code)

    def forget(self) -> None:
        """Give a forked process the default actions of the signals."""
        if self._pipe is None:
            return
        signal.set_wakeup_fd(-1)
        for number in (*SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        for end in self._pipe:
            with contextlib.suppress(OSError):
                os.close(end)
        self.phase, self._pipe, self._program, self.children = Phase.OFF, None, False, ()


def is_started_by_lightning() -> bool:
    """Whether the first process of the run started this one, and not ``srun`` or ``torchrun``."""
    outside = "TORCHELASTIC_RUN_ID" in os.environ or started_by_srun()
    return not outside and (whole_number("LOCAL_RANK") or 0) > 0


def _first_signal(pipe: int) -> int | None:
    """The first of :data:`SIGNALS` that arrives in a pipe; None at its end."""
    os.set_blocking(pipe, True)
    while received := os.read(pipe, 1):
        if received[0] in SIGNALS:
            return received[0]
    return None


WATCH = SignalWatch()
"""The watch of this process."""
os.register_at_fork(after_in_child=WATCH.forget)
