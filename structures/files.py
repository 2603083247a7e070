"""Files that are there completely or not at all."""

import os
import secrets
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from structures.output_paths import check_output_file


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Write a file by way of a temporary one beside it, so that it is there in full or not there.

    That holds for a killed process, a full disk and, because the content is on the disk before the name is, a power
    cut.

    Args:
        path: Target; missing folders are made, an existing file is replaced.
        chunks: Content, written one after the other.

    Raises:
        OSError: If the folder cannot be made or the file cannot be written, a folder lying in its place for one; the
            target is then as it was before.
    """
    path = check_output_file(path)
    # Not tempfile.mkstemp: its files are readable by their owner only, whatever the umask says.
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
        ValueError: If shape or type of the pixels is another.
        OSError: If the file cannot be written.
    """
    colour = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    if not (colour or grey) or pixels.size == 0:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, but uint8 (H, W, 3) or uint8/16 (H, W) is needed")
    _, encoded = cv2.imencode(".png", pixels[..., ::-1] if colour else pixels)
    write_atomically(path, [encoded.tobytes()])
