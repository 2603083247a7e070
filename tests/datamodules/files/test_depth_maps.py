"""Depth map files: matching with images, reading of values and conversion to depth."""

import unicodedata

import cv2
import numpy as np
import pytest

from datamodules.files.depth_map_values import DepthEncoding, Tally, depth_of_map
from datamodules.files.depth_maps import map_shape, match_maps, read_map

RAMP = np.arange(12, dtype=np.float32).reshape(3, 4) + 1


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".npy"):
            np.save(folder / name, RAMP)
        else:
            cv2.imwrite(str(folder / name), RAMP.astype(np.uint16))


def found(folder, names, **options):
    maps = match_maps(folder, names, **options)
    return {name: path.relative_to(folder).as_posix() for name, path in maps.paths.items()}


def test_maps_are_found_by_path_and_then_by_stem(tmp_path):
    put(tmp_path, "b/1.png", "a/1.npy", "c/2.png", "3.v2.png", ".hidden/9.png")
    names = ["a/1", "b/1", "deep/er/2", "3.v2"]
    assert found(tmp_path, names) == {"a/1": "a/1.npy", "b/1": "b/1.png", "deep/er/2": "c/2.png", "3.v2": "3.v2.png"}
    assert match_maps(tmp_path, ["3.v2"]).n_unused == 3


def test_one_map_is_never_used_for_two_images(tmp_path):
    put(tmp_path, "1.png")
    with pytest.raises(FileNotFoundError, match=r"no depth map for 2 of 2 images, such as 'a/1', 'b/1'"):
        match_maps(tmp_path, ["a/1", "b/1"])


def test_decomposed_unicode_names_match(tmp_path):
    name = "Füße/Stühle"
    put(tmp_path, unicodedata.normalize("NFD", name) + ".png")
    assert list(found(tmp_path, [unicodedata.normalize("NFC", name)])) == [name]
    put(tmp_path / "other", unicodedata.normalize("NFC", name) + ".npy")
    assert len(found(tmp_path / "other", [unicodedata.normalize("NFD", name)])) == 1


def test_suffix_of_map_names_is_ignored(tmp_path):
    put(tmp_path, "a_depth.png", "a_depth.npy", "a_color.png", "b_depth.png", "b.jpg.npy")
    assert found(tmp_path, ["b"], suffix="_depth") == {"b": "b_depth.png"}
    assert found(tmp_path, ["b"], suffix=".jpg") == {"b": "b.jpg.npy"}
    assert found(tmp_path, ["a"], suffix="_depth.npy") == {"a": "a_depth.npy"}
    with pytest.raises(ValueError, match=r"'a' has 2 depth maps, .*a_depth.npy' and '.*a_depth.png': select one"):
        match_maps(tmp_path, ["a"], suffix="_depth")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images, such as 'c' with '_depth' behind; it holds 5 .png"):
        match_maps(tmp_path, ["b", "c"], suffix="_depth")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        match_maps(tmp_path / "none", ["b"])


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (3, 4, 1), (1, 1, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_arrays_of_any_number_are_read(tmp_path, shape, dtype):
    np.save(tmp_path / "a.npy", RAMP.astype(dtype).reshape(shape))
    np.testing.assert_array_equal(read_map(tmp_path / "a.npy"), RAMP)
    assert map_shape(tmp_path / "a.npy") == (3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 3])
def test_grey_pictures_are_read_as_written(tmp_path, dtype, channels):
    pixels = (RAMP * 20).astype(dtype)
    cv2.imwrite(str(tmp_path / "a.png"), pixels if channels is None else np.stack([pixels] * channels, axis=-1))
    values = read_map(tmp_path / "a.png")
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, pixels)
    assert map_shape(tmp_path / "a.png") == (3, 4)


def test_files_that_are_no_depth_maps_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "colours.png"), np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
    put(tmp_path, "torn.png", "torn.npy")
    for name in ("torn.png", "torn.npy"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) - 20])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "channels.npy", np.ones((3, 4, 5)))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "objects.npy", np.array([{}, 3], dtype=object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.ones((3, 4), complex))
    np.save(tmp_path / "empty.npy", np.ones((0, 4)))
    said = {
        "colours.png": "picture in colours",
        "torn.png": "damaged or truncated",
        "torn.npy": "damaged or truncated",
        "text.png": "is no PNG",
        "text.npy": "no array of numbers",
        "channels.npy": r"shape \(3, 4, 5\)",
        "words.npy": "but numbers are needed",
        "objects.npy": "no array of numbers",
        "complex.npy": "complex128, but numbers",
        "empty.npy": r"shape \(0, 4\)",
    }
    for name, sentence in said.items():
        with pytest.raises(ValueError, match=sentence) as caught:
            read_map(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def depth(values, unit=1.0, inverse=False, size=None, tally=None):
    values = np.asarray(values)
    written = DepthEncoding(unit, inverse)
    return depth_of_map(values, written, size=size or values.shape, name="x", tally=tally or Tally())


def test_units_and_inverse():
    millimetres = np.array([[1000, 2500], [0, 65535]], np.uint16)
    np.testing.assert_allclose(depth(millimetres, 1000), [[1, 2.5], [0, 0]])
    np.testing.assert_allclose(depth(millimetres[:1], 1000, True), [[1, 0.4]])  # 1000 / value metres
    np.testing.assert_allclose(depth([[0.5, 4.0]], None), [[0.5, 4]])
    # Relative inverse depth: the nearest is 1, and 0 is the far end, a thousandth of the nearest.
    np.testing.assert_allclose(depth([[10.0, 5.0, 0.0, -1.0]], None, True), [[1, 2, 1000, 1000]], rtol=1e-6)


def test_invalid_values_are_unknown_and_counted():
    tally = Tally()
    values = np.array([[np.nan, np.inf, -np.inf], [-2.0, 0.0, 3.0]])
    np.testing.assert_allclose(depth(values, tally=tally), [[0, 0, 0], [0, 0, 3]])
    assert tally.pixels == {"NaN": 1, "infinite": 2, "negative": 1, "zero": 1}
    far = Tally()
    depth(np.array([[65535, 2000, 1000]], np.uint16), 1000, tally=far)
    assert far.pixels == {"65535 (too far for 16 bits)": 1}
    lines = far.lines(DepthEncoding(1000))
    assert lines == ["1 pixels in 1 of 1 maps are 65535 (too far for 16 bits): unknown"]


def test_constant_and_empty_maps_and_implausible_units_are_reported():
    tally = Tally()
    depth(np.full((2, 2), 2500.0), tally=tally)
    depth(np.zeros((2, 2)), tally=tally)
    constant, empty, odd = tally.lines(DepthEncoding(1.0))[1:]
    assert "1 of 2 maps hold one value everywhere and carry no information, such as 'x'" in constant
    assert "1 of 2 maps hold no depth at all" in empty
    assert "the median depth is 2.5e+03 m, which is implausible: check --unit 1, the number" in odd


def test_maps_are_upsampled_linearly_and_downsampled_by_area():
    half = np.array([[1.0, 3.0]])
    # Corner convention: centres of 4 pixels lie at 0.25, 0.75, 1.25, 1.75 of the 2.
    np.testing.assert_allclose(depth(half, size=(1, 4)), [[1, 1.5, 2.5, 3]])
    np.testing.assert_allclose(depth([[1.0, 3.0, 5.0, 9.0]], size=(1, 2)), [[2, 7]])
    # Inverse depth is resized before inversion.
    np.testing.assert_allclose(depth(half, 1.0, True, size=(1, 4)), [[1, 1 / 1.5, 1 / 2.5, 1 / 3]], rtol=1e-6)
    # Unknown pixels do not mix into known ones.
    np.testing.assert_allclose(depth([[4.0, 0.0]], size=(1, 4)), [[4, 4, 0, 0]])
