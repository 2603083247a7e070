"""Atomic writing of files."""

import os
import secrets
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from structures.output_paths import check_output_file


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Write a file atomically, by renaming a temporary file in the same folder.

    The file is complete or absent after a killed process, a full disk or, because the content is synced before the
    rename, a power failure.

    Args:
        path: Target; missing folders are made, an existing file is replaced.
        chunks: Parts of the content, in order.

    Raises:
        OSError: If the folder cannot be made or the file cannot be written (for example, if it is a folder); the target
            is then unchanged.
    """
    path = check_output_file(path)
    # Not tempfile.mkstemp: its files are readable by their owner only, regardless of the umask.
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_png(path: str | os.PathLike[str], pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write a PNG atomically.

    Args:
        path: Target, ending in ``.png``.
        pixels: uint8 ``(H, W, 3)`` RGB, or uint8 or uint16 ``(H, W)`` grey.

    Raises:
        ValueError: If the shape or type of the pixels is wrong.
        OSError: If the file cannot be written.
    """
    colour = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    if not (colour or grey) or pixels.size == 0:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, but uint8 (H, W, 3) or uint8/16 (H, W) is needed")
    # OpenCV's own choice, meant for photos, makes pictures with text and colour maps twice as large, in more time.
    options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT] if colour else []
    _, encoded = cv2.imencode(".png", pixels[..., ::-1] if colour else pixels, options)
    write_atomically(path, [encoded.tobytes()])


def read_picture(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Pixels of a picture that was written before, uint8 ``(H, W, 3)``, RGB.

    Raises:
        FileNotFoundError: If it is no longer there, or no picture any more.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise FileNotFoundError(f"'{path}' was written and is gone, so it cannot be drawn again")
    return np.ascontiguousarray(pixels[..., ::-1]).astype(np.uint8)
