"""Arrays as bytes: exact for every type, and refusal of everything else."""

import json
import pickle
import struct
import zlib

import numpy as np
import pytest

from datamodules.shards.encoding import DamagedSampleError, decode, encode

SHAPES = [(0, 4), (3,), (7, 5), (40, 50), (33, 21, 3), (2, 30, 31)]
TYPES = ["bool", "uint8", "int16", "uint16", "int32", "float16", "int64", "float32", "float64"]


def drawn(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of random bits of a type, with NaN and infinity among floats."""
    generator = np.random.default_rng(len(shape))
    if dtype == "bool":
        return generator.random(shape) < 0.3
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(generator.bytes(size), dtype=dtype).reshape(shape) if size else np.zeros(shape, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_come_back_bit_for_bit(shape: tuple[int, ...], dtype: str) -> None:
    array = drawn(shape, dtype)
    arrays, meta = decode(encode({"a": array, "b": array[:1]}, {"name": "ä/1"}))
    assert meta == {"name": "ä/1"}
    for found, wanted in ((arrays["a"], array), (arrays["b"], array[:1])):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert found.tobytes() == wanted.tobytes()
        assert found.flags.writeable


def test_strided_and_big_endian_arrays_are_stored_as_their_values() -> None:
    array = np.arange(2000, dtype=">i4").reshape(40, 50)
    arrays, _ = decode(encode({"a": array, "b": array.T, "c": array[::2, ::-1]}, {}))
    assert np.array_equal(arrays["a"], array)
    assert np.array_equal(arrays["b"], array.T)
    assert np.array_equal(arrays["c"], array[::2, ::-1])


def test_smooth_images_and_depth_become_smaller() -> None:
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    image = np.stack([x, y, x + y], axis=-1).astype(np.uint8)
    depth = (2 + 0.01 * x + 0.02 * y).astype(np.float32)
    plain = len(zlib.compress(image.tobytes(), 3)) + len(zlib.compress(depth.tobytes(), 3))
    assert len(encode({"image": image, "depth": depth}, {})) < 0.8 * plain


def test_skipped_arrays_are_not_returned() -> None:
    arrays, _ = decode(encode({"a": np.ones(3), "b": np.zeros(2)}, {}), skip=frozenset({"a"}))
    assert list(arrays) == ["b"]


def test_every_flipped_byte_is_noticed() -> None:
    data = encode({"a": drawn((40, 50), "uint8")}, {"name": "x"})
    for position in range(0, len(data), 37):
        changed = bytearray(data)
        changed[position] ^= 0x10
        with pytest.raises(DamagedSampleError):
            decode(bytes(changed))


@pytest.mark.parametrize("length", [0, 3, 11, 40, -1])
def test_torn_bytes_are_refused(length: int) -> None:
    with pytest.raises(DamagedSampleError):
        decode(encode({"a": np.ones((40, 50))}, {})[:length])


class Trap:
    def __reduce__(self) -> tuple:
        return pytest.fail, ("the pickle ran",)


def test_a_pickle_is_refused_without_being_run() -> None:
    with pytest.raises(DamagedSampleError, match="no encoded sample"):
        decode(pickle.dumps(Trap()))


def test_objects_are_not_written() -> None:
    with pytest.raises(TypeError, match="'a' has the type object"):
        encode({"a": np.array([Trap()], dtype=object)}, {})


def forged(arrays: object, bodies: bytes = b"", meta: object = None) -> bytes:
    """Bytes with a valid checksum and any header."""
    header = json.dumps({"meta": {} if meta is None else meta, "arrays": arrays}).encode()
    rest = header + bodies
    return struct.pack("<4sII", b"PLS1", zlib.crc32(rest), len(header)) + rest


BODY = zlib.compress(bytes(100))


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        (["a", "|O", [1], "none", len(BODY)], r"type '\|O'"),
        (["a", "<f8", [10**9, 10**9], "none", len(BODY)], "more than its"),
        (["a", "|b1", [2**62], "bits", len(BODY)], "more than its"),
        (["a", "|u1", [101], "none", len(BODY)], "another number"),
        (["a", "|u1", [99], "none", len(BODY)], "another number"),
        (["a", "|u1", [-100], "none", len(BODY)], "a size of -100"),
        (["a", "|u1", [100], "delta", len(BODY)], "filter 'delta'"),
        (["a", "|u1", [100], "lzma", len(BODY)], "filter 'lzma'"),
        (["a", "|u1", [1] * 40, "none", len(BODY)], "40 dimensions"),
        (["a", "|u1", [100], "none", 10 * len(BODY)], "does not fit"),
        (["a", "|u1"], "cannot be read"),
        (["a", ["|u1"], [100], "none", len(BODY)], "cannot be read"),
    ],
)
def test_forged_headers_are_refused_before_anything_is_allocated(entry: list, match: str) -> None:
    with pytest.raises(DamagedSampleError, match=match):
        decode(forged([entry], BODY))


def test_a_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(DamagedSampleError, match="another number"):
        decode(forged([["a", "|u1", [10], "none", len(bomb)]], bomb))
