"""One-sentence messages for exceptions, instead of an error number or the traceback of another process."""

import errno
import os
import re
from pathlib import Path

_IN_WORKER = re.compile(r"Caught (?P<name>\w+) in [^\n]*\.\nOriginal Traceback")
"""Prefix of the message of an exception that torch re-raises from a loader's process or thread."""
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?P<how>.*)", flags=re.DOTALL)
_HDF5 = re.compile(r"name = '(?P<name>.*?)', errno = (?P<number>\d+)", flags=re.DOTALL)


def plain_reason(error: BaseException) -> str:
    """Reason of an exception as a sentence.

    Args:
        error: Any exception. The traceback that torch puts into the message of an exception from a loader's worker is
            removed; for errors of the operating system the reason and the path replace the number.

    Returns:
        The sentence, without a full stop; the exception's own message in all other cases.
    """
    if isinstance(error, OSError) and (reason := _os_reason(error)) is not None:
        return reason
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return _worker_reason(message) or message


def one_line(error: BaseException) -> str:
    r"""Reason of an exception in one line, without a full stop: :func:`plain_reason`, or its name if it has none.

    >>> one_line(ValueError("the service died.\nAt once.")), one_line(TimeoutError())
    ('the service died. At once', 'TimeoutError')
    """
    return " ".join(plain_reason(error).split()).rstrip(".") or type(error).__name__


def comes_from_worker(error: BaseException) -> bool:
    """Whether an exception was re-raised from a loader's worker process, or reports the end of one."""
    message = str(error)
    return _IN_WORKER.match(message) is not None or _DEAD_WORKER.match(message) is not None


def _worker_reason(message: str) -> str | None:
    """The original message of a worker's exception, extracted from torch's text; None for other text."""
    if dead := _DEAD_WORKER.match(message):
        return (
            f"a loader process ended by itself ({dead['how'].strip().rstrip('.')}), most often because memory ran out: "
            "choose a smaller num_workers or batch_size"
        )
    carried = _IN_WORKER.match(message)
    if carried is None:
        return None
    # A traceback ends with the exception: its name, with a module where it is not built in, then its message.
    lines = list(re.finditer(rf"^(?:\w+\.)*{carried['name']}(?:: (?P<text>.*))?$", message, flags=re.MULTILINE))
    if not lines:
        return None
    last = lines[-1]
    reason = message[last.start("text") :] if last["text"] is not None else carried["name"]
    reason = reason.strip()
    if carried["name"] == "KeyError":
        reason = reason.strip("'\"")
    number = re.match(r"\[Errno (\d+)\] .*?: '(.*)'$", reason, flags=re.DOTALL)
    return _path_reason(int(number[1]), Path(number[2])) if number is not None else reason


def _os_reason(error: OSError) -> str | None:
    hdf5 = _HDF5.search(str(error))
    if hdf5 is not None:
        return _path_reason(int(hdf5["number"]), Path(hdf5["name"]))
    # The first path of a rename is the temporary file; the second is the one the user named.
    name = error.filename2 if error.filename2 is not None else error.filename
    if error.errno is None:
        return None
    if not isinstance(name, str | bytes | os.PathLike):
        return error.strerror
    return _path_reason(error.errno, Path(os.fsdecode(name)))


def _path_reason(number: int, path: Path) -> str:
    """Meaning of an error number for a path."""
    if number in (errno.ENOTDIR, errno.EEXIST, errno.ENOENT):
        in_the_way = next((p for p in (path, *path.parents) if p.exists() or p.is_symlink()), None)
        if in_the_way is not None and not in_the_way.is_dir() and (number != errno.ENOENT or in_the_way != path):
            if in_the_way.is_symlink() and not in_the_way.exists():
                return f"'{in_the_way}' is a link to something that does not exist"
            inside = "" if in_the_way == path else f" to hold '{path.relative_to(in_the_way)}'"
            return f"'{in_the_way}' is a file, but a folder is needed{inside}: choose another path"
        if number == errno.EEXIST:
            return f"'{path}' exists already: choose another path"
        if not path.parent.is_dir():
            return f"'{path}' does not exist, nor does its folder '{path.parent}'"
        return f"'{path}' does not exist"
    return {
        errno.EISDIR: f"'{path}' is a folder, but a file is needed: choose another path",
        errno.EACCES: f"'{path}' may not be read or written by this user",
        errno.EPERM: f"'{path}' may not be read or written by this user",
        errno.EROFS: f"'{path}' lies on a disk that can only be read",
        errno.ENOSPC: f"the disk of '{path}' is full",
        errno.EDQUOT: f"'{path}' cannot be written, because the quota of its disk is used up",
        errno.ENAMETOOLONG: f"'{path}' cannot be used, because a name in it is too long",
    }.get(number, f"'{path}' cannot be used ({os.strerror(number)})")
