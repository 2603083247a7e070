"""Compilation with and without a cache folder."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest

from datamodules.files.compiled import compiled
from datamodules.rooms.texture import hash2


def triple(x: float) -> float:
    """Return three times a number."""
    return 3.0 * x


@pytest.mark.parametrize("folder", ["writable", "/dev/null/nowhere"])
def test_function_compiles_for_any_cache_folder(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = str(tmp_path) if folder == "writable" else folder
    monkeypatch.setattr(numba.config, "CACHE_DIR", configured)
    assert compiled(triple)(2.0) == 6.0
    assert configured == numba.config.CACHE_DIR
    assert bool(list(tmp_path.rglob("*.nbc"))) == (folder == "writable")


def test_hash_equals_its_formula_in_exact_integers() -> None:
    for x, y, seed in ((0, 0, 0), (3, -7, 12345), (-100000, 99999, 2**31 - 1)):
        h = (x * 374761393 + y * 668265263 + seed * 1442695041) % 2**32
        h = (h ^ (h >> 13)) * 1274126177 % 2**32
        h = (h ^ (h >> 16)) * 668265263 % 2**32
        assert hash2(x, y, seed) == (h ^ (h >> 15)) / 2**32
