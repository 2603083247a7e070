"""Compile the per-pixel loops with numba and keep the machine code in a folder keyed by their source.

Numba checks only the file of the function itself when it looks for cached code, so a change in a function that was
inlined from another file would go unseen. The folder's name therefore holds a hash over all files with compiled
functions.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config as numba_config

#: Numba's settings; typed loosely, because their names come from the environment.
config: Any = numba_config

_KERNEL_FILES = ("arrays.py", "caster.py", "intersect.py", "shading.py", "texture.py", "visibility.py")
_KERNEL_FOLDER = Path(__file__).parents[1] / "rooms"
_SOURCE_HASH = hashlib.sha256(b"".join((_KERNEL_FOLDER / name).read_bytes() for name in _KERNEL_FILES)).hexdigest()[:12]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function with ``numba.njit``.

    The machine code is cached on disk where a folder can be written, and kept in memory only where none can.

    Args:
        function: A function in numba's subset of Python. Division follows numpy (no exception on zero), the global
            interpreter lock is released, and no fast-math is used: results are bit-identical in every process of a
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
        except RuntimeError:  # numba found no place for its cache
            pass
        finally:
            config.CACHE_DIR = configured
    return numba.njit(nogil=True, error_model="numpy", fastmath=False)(function)
