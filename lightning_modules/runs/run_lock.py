"""A lock on the folder of a run, so that two jobs never write into it at the same time."""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lightning_modules.runs.launcher_ids import restart_count, started_at
from lightning_modules.runs.running import is_running

LOCK_FILE = "run.lock"
HEARTBEAT_S = 10.0
"""Time between two updates of the lock's time stamp, seconds."""
STALE_AFTER_S = 60.0
"""Time without an update after which the holder of a lock on another machine is taken to have ended, seconds."""
_POLL_S = 1.0

Owner = dict[str, Any]
"""Content of a lock: ``host``, ``namespace`` and ``process`` of its holder, what tells it from later ones, ``key``."""


class RunInUseError(ValueError):
    """Another process writes into the run's folder; the message is one sentence."""


class RunLock:
    """The file ``run.lock`` in a run's folder, held by the first process of the run.

    It is made by a hard link and replaced by a rename, which are atomic on network file systems, too; nothing depends
    on ``flock``. The holder renews the file's time stamp. A lock is stale and is taken over

    - at once if its holder ran on this machine and has ended, e.g. by ``kill -9``, or if SLURM has started the same job
      again since;
    - after :data:`STALE_AFTER_S` without a renewal if its holder ran on another machine. The time is measured here, so
      clocks need not agree.

    A process whose lock was taken over, since it had been suspended for so long, ends at once, without writing.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK_FILE
        self._owner: Owner = {}
        self._ended = threading.Event()

    def acquire(self) -> None:
        """Take the lock, making the folder if needed; wait while it is not known whether its holder has ended.

        Raises:
            RunInUseError: If another process holds it.
            OSError: If the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._owner = _this_process()
        temporary = self.path.with_name(f".{LOCK_FILE}.{self._owner['key']}")
        temporary.write_text(json.dumps(self._owner))
        try:
            while not _link(temporary, self.path):
                holder = _read(self.path)
                if holder is not None and (self._has_ended(holder) or self._stops_renewing(holder)):
                    _take_over(temporary, self.path, holder)
        finally:
            temporary.unlink(missing_ok=True)
        threading.Thread(target=self._renew, name="run lock", daemon=True).start()

    def release(self) -> None:
        """Remove the lock if this process holds it."""
        self._ended.set()
        if self._owner and (_read(self.path) or {}).get("key") == self._owner["key"]:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._owner = {}

    def _has_ended(self, holder: Owner) -> bool:
        """Whether the holder is known to have ended.

        Raises:
            RunInUseError: If it is known to run.
        """
        same_job = holder.get("job") is not None and holder["job"] == self._owner["job"]
        if same_job and holder.get("restart", 0) < self._owner["restart"]:
            return True
        if (holder.get("host"), holder.get("namespace")) != (self._owner["host"], self._owner["namespace"]):
            return False
        if started_at(holder["process"]) == holder.get("started") and is_running(holder["process"]):
            raise RunInUseError(_in_use(self.path, holder))
        return True

    def _stops_renewing(self, holder: Owner) -> bool:
        """Whether the lock is still the same and was not renewed for long enough; waits for that time.

        Raises:
            RunInUseError: If it is renewed.
        """
        stamp = _stamp(self.path)
        sys.stderr.write(
            f"note: {_holder(holder)} holds {self.path}; if it gives no sign of life for {STALE_AFTER_S:g} s, this run "
            "goes on in its place\n"
        )
        deadline = time.monotonic() + STALE_AFTER_S
        while time.monotonic() < deadline:
            time.sleep(_POLL_S)
            if (_read(self.path) or {}).get("key") != holder.get("key"):
                return False
            if _stamp(self.path) != stamp:
                raise RunInUseError(_in_use(self.path, holder))
        return True

    def _renew(self) -> None:
        key = self._owner.get("key")
        while not self._ended.wait(HEARTBEAT_S):
            holder = _read(self.path)
            if self._ended.is_set():
                return
            if holder is not None and holder.get("key") not in (None, key):
                sys.stderr.write(
                    f"error: this process gave no sign of life for {STALE_AFTER_S:g} s or more, and {_holder(holder)} "
                    f"goes on with {self.path.parent} in its place: it ends here, without writing\n"
                )
                sys.stderr.flush()
                os._exit(1)
            with contextlib.suppress(OSError):  # e.g. a file server that restarts
                os.utime(self.path)


def _this_process() -> Owner:
    return {
        "host": socket.gethostname(),
        "namespace": _process_namespace(),
        "process": os.getpid(),
        "started": started_at(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restart": restart_count(),
        "key": secrets.token_hex(8),
    }


def _process_namespace() -> str | None:
    """What numbers of processes belong to: a container, since a boot of the host."""
    try:
        return f"{os.readlink('/proc/self/ns/pid')} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    except OSError:
        return None


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name that is new; whether it was."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with target.open("x") as file:
                file.write(source.read_text())
        except FileExistsError:
            return False
    return True


def _take_over(source: Path, target: Path, holder: Owner) -> None:
    """Replace a stale lock by another file, unless another process does so at the same time."""
    guard = target.with_name(f".{LOCK_FILE}.taking_over")
    try:
        guard.open("x").close()
    except FileExistsError:
        with contextlib.suppress(OSError):
            if source.stat().st_mtime - guard.stat().st_mtime > STALE_AFTER_S:  # its process was killed
                guard.unlink()
        time.sleep(_POLL_S)
        return
    try:
        if (_read(target) or {}).get("key") == holder.get("key"):
            target.unlink()
            sys.stderr.write(f"note: {_holder(holder)} has ended without releasing {target}: this run goes on\n")
    finally:
        guard.unlink(missing_ok=True)


def _read(path: Path) -> Owner | None:
    """Content of a lock; empty if it is not complete, None if there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("process"), int) else {}


def _stamp(path: Path) -> int:
    """Time stamp of a lock; opening it makes a network file system ask its server."""
    try:
        with path.open() as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return -1


def _holder(holder: Owner) -> str:
    if not holder:
        return "another process"
    return f"process {holder['process']} on {holder.get('host')} (since {holder.get('since')})"


def _in_use(path: Path, holder: Owner) -> str:
    return (
        f"{path.parent} is in use by {_holder(holder)}: two jobs cannot write one run. Wait for it, or set RUN_ID to "
        "another id for a run of its own"
    )
