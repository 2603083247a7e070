"""Named arrays and JSON values as bytes, and back, without pickle: reading runs no code.

Layout, little-endian: magic (4 bytes), CRC-32 of all that follows (uint32), length of the header (uint32), the header
as JSON, then the arrays in the order of the header. They are compressed by zlib after a reversible filter:

- ``delta``: differences along rows and columns modulo the integer range (images), on the bits of the values;
- ``planes``: ``delta`` along rows, then all first bytes, all second bytes, and so on (depth, labels);
- ``bits``: eight booleans a byte (masks);
- ``none``.
"""

import json
import math
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

MAGIC = b"PLS1"
PREFIX = struct.Struct("<4sII")

DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in (
        "bool",
        "uint8",
        "uint16",
        "uint32",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    )
}
"""Types that an array may have. All others, objects above all, are refused."""

LEVEL = 3
"""Level of zlib: beyond it, files shrink by a few per cent while writing takes several times as long."""

LARGEST_RATIO = 1100
"""zlib's compression ratio is at most 1032, so a larger declared size is wrong; it is refused before allocation."""

SMALL = 1024
"""Arrays of fewer bytes are not filtered."""

MAX_DIMENSIONS = 6


class DamagedSampleError(ValueError):
    """Bytes that are no encoded sample: torn, changed, or written by something else."""


def encode(arrays: dict[str, Array], meta: dict[str, Any]) -> bytes:
    """Return arrays and values as bytes.

    Args:
        arrays: Arrays by name, of a type in :data:`DTYPES`.
        meta: Values that JSON can represent.

    Raises:
        TypeError: If an array has another type.
    """
    entries, bodies = [], []
    for name, array in arrays.items():
        little_endian = np.dtype(array.dtype).newbyteorder("<")
        if little_endian.str not in DTYPES:
            raise TypeError(
                f"the array '{name}' has the type {array.dtype}, but shards hold only numbers and booleans."
            )
        array = np.ascontiguousarray(array, dtype=little_endian).reshape(array.shape)
        kind = _filter_of(array)
        body = zlib.compress(_FILTERS[kind](array), LEVEL)
        entries.append([name, array.dtype.str, list(array.shape), kind, len(body)])
        bodies.append(body)
    header = json.dumps({"meta": meta, "arrays": entries}, separators=(",", ":")).encode()
    rest = b"".join([header, *bodies])
    return PREFIX.pack(MAGIC, zlib.crc32(rest), len(header)) + rest


def decode(data: bytes, *, skip: frozenset[str] = frozenset()) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and values of encoded bytes.

    Args:
        data: Result of :func:`encode`, possibly from an untrusted source.
        skip: Names of arrays that are not decompressed and not returned.

    Raises:
        DamagedSampleError: If the bytes are not what :func:`encode` returns; nothing large is allocated.
    """
    if len(data) < PREFIX.size or data[:4] != MAGIC:
        raise DamagedSampleError("holds data that are no encoded sample (a pickle, perhaps), which are not read")
    _, checksum, length = PREFIX.unpack_from(data)
    rest = memoryview(data)[PREFIX.size :]
    if zlib.crc32(rest) != checksum:
        raise DamagedSampleError("is damaged: its checksum differs")
    try:
        header = json.loads(bytes(rest[:length]))
        arrays, position = {}, length
        for name, dtype, shape, kind, size in header["arrays"]:
            body = rest[position : position + _whole(size)]
            position += size
            if name not in skip:
                arrays[str(name)] = _array(body, dtype, shape, kind)
        meta = header["meta"]
        if position != len(rest) or not isinstance(meta, dict):
            raise DamagedSampleError("is damaged: its header does not fit its content")
    except (KeyError, TypeError, ValueError, RecursionError, zlib.error) as error:
        if isinstance(error, DamagedSampleError):
            raise
        raise DamagedSampleError("is damaged: its header cannot be read") from error
    return arrays, meta


def _array(body: memoryview, dtype: str, shape: list[int], kind: str) -> Array:
    if dtype not in DTYPES or kind not in _FILTERS or len(shape) > MAX_DIMENSIONS:
        raise DamagedSampleError(f"declares an array of type {dtype!r}, filter {kind!r} and {len(shape)} dimensions")
    count = math.prod(_whole(length) for length in shape)
    size = -(-count // 8) if kind == "bits" else count * DTYPES[dtype].itemsize
    if size > LARGEST_RATIO * len(body):
        raise DamagedSampleError(f"declares an array of {size} bytes, more than its {len(body)} bytes can hold")
    if count == 0:
        return np.zeros(shape, dtype=DTYPES[dtype])
    inflater = zlib.decompressobj()
    raw = inflater.decompress(body, size + 1)
    if len(raw) != size:
        raise DamagedSampleError(f"declares an array of {size} bytes, but holds another number of them")
    if kind == "bits":
        bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=count)
        return bits.view(np.bool_).reshape(shape)
    if kind in ("delta", "planes"):
        if len(shape) < 2:
            raise DamagedSampleError(f"declares the filter {kind!r} for an array of {len(shape)} dimension")
        return _UNFILTERS[kind](raw, DTYPES[dtype], tuple(shape))
    return np.frombuffer(bytearray(raw), dtype=DTYPES[dtype]).reshape(shape)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DamagedSampleError(f"declares a size of {value!r}")
    return value


def _filter_of(array: Array) -> str:
    if array.dtype == np.bool_:
        return "bits"
    if array.ndim < 2 or array.nbytes < SMALL or array.dtype.itemsize == 8:
        return "none"
    return "delta" if array.dtype.itemsize == 1 else "planes"


def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"<u{dtype.itemsize}")


def _delta(array: Array) -> bytes:
    values = array.view(_unsigned(array.dtype)).copy()
    values[:, 1:] -= values[:, :-1].copy()
    values[1:] -= values[:-1].copy()
    return values.tobytes()


def _undelta(raw: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    unsigned = _unsigned(dtype)
    values = np.frombuffer(raw, dtype=unsigned).reshape(shape)
    values = np.cumsum(values, axis=0, dtype=unsigned)
    return np.cumsum(values, axis=1, dtype=unsigned, out=values).view(dtype)


def _planes(array: Array) -> bytes:
    values = array.view(_unsigned(array.dtype)).copy()
    values[:, 1:] -= values[:, :-1].copy()
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, array.dtype.itemsize).T).tobytes()


def _unplanes(raw: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    unsigned = _unsigned(dtype)
    columns = np.frombuffer(raw, dtype=np.uint8).reshape(dtype.itemsize, -1)
    values = np.ascontiguousarray(columns.T).view(unsigned).reshape(shape)
    return np.cumsum(values, axis=1, dtype=unsigned, out=values).view(dtype)


_FILTERS = {
    "none": lambda array: array.tobytes(),
    "bits": lambda array: np.packbits(array).tobytes(),
    "delta": _delta,
    "planes": _planes,
}
_UNFILTERS = {"delta": _undelta, "planes": _unplanes}
