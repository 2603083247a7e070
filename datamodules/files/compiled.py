"""Compilation of per-pixel loops with numba, with an on-disk cache keyed by the source of all compiled functions.

Numba validates cached code only against the file of the function itself, so it misses changes of functions inlined
from other files. The name of the cache folder therefore contains a hash of all files with compiled functions.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config as numba_config

#: Numba's settings, typed as Any because the attributes are defined at run time.
config: Any = numba_config

_KERNEL_FILES = ("arrays.py", "caster.py", "intersect.py", "shading.py", "texture.py", "visibility.py")
_KERNEL_FOLDER = Path(__file__).parents[1] / "rooms"
_SOURCE_HASH = hashlib.sha256(b"".join((_KERNEL_FOLDER / name).read_bytes() for name in _KERNEL_FILES)).hexdigest()[:12]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled with ``numba.njit``.

    The machine code is cached on disk, or only in memory if the folder is not writable.

    Args:
        function: A function in numba's subset of Python. Division follows numpy (no exception on zero), the global
            interpreter lock is released and fast-math is off, so results are bit-identical in all processes of a
            machine.

    Returns:
        The compiled function.
    """
    configured = config.CACHE_DIR
    base = Path(configured) if configured else Path(__file__).parent / "__pycache__"
    folder = base / f"rooms-{_SOURCE_HASH}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        config.CACHE_DIR = str(folder)
        try:
            return numba.njit(nogil=True, error_model="numpy", fastmath=False, cache=True)(function)
        except RuntimeError:  # numba cannot use this cache folder
            pass
        finally:
            config.CACHE_DIR = configured
    return numba.njit(nogil=True, error_model="numpy", fastmath=False)(function)
