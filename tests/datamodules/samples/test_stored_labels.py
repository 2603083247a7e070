"""Sources with label files: lookup by name, resizing to the frame, and error messages."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from datamodules.samples.frame import Frame
from datamodules.samples.stored_labels import ProxyLabelSource, VanishingSource, fit_labels, open_labels
from structures.label_store import Kind, LabelStore
from structures.label_writer import LabelWriter

HEIGHT, WIDTH = 12, 18


class Three:
    """Frames ``a``, ``b`` and ``c`` with ground-truth class maps."""

    def __len__(self) -> int:
        return 3

    def read(self, index: int) -> Frame:
        return frame("abc"[index])


def frame(name: str = "a") -> Frame:
    return Frame(
        image=np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        depth=np.ones((HEIGHT, WIDTH), np.float32),
        K=np.eye(3),
        name=name,
        labels={"semantic": np.full((HEIGHT, WIDTH), 7, np.uint8)},
    )


def store(path: Path, kind: Kind, arrays: dict[str, npt.NDArray[np.generic]]) -> LabelStore:
    with LabelWriter(path, kind=kind, teacher="t", settings={}) as writer:
        for name, array in arrays.items():
            writer.write(name, array)
        writer.finish()
    return LabelStore(path)


def test_labels_are_joined_by_name(tmp_path: Path) -> None:
    # In another order than the frames, and with one more.
    arrays = {name: np.full((HEIGHT, WIDTH), ord(name), np.uint8) for name in "dcab"}
    source = ProxyLabelSource(Three(), store(tmp_path / "l.h5", "semantic", arrays))
    assert len(source) == 3
    for index, name in enumerate("abc"):
        labels = source.read(index).labels
        assert (labels["proxy_semantic"] == ord(name)).all()
        assert (labels["semantic"] == 7).all()  # the ground-truth labels remain


def test_directions_are_joined_by_name(tmp_path: Path) -> None:
    arrays = {name: ord(name) * np.eye(3)[[2, 0, 1]] for name in "bca"}
    source = VanishingSource(Three(), store(tmp_path / "v.h5", "vanishing", arrays))
    assert len(source) == 3
    for index, name in enumerate("abc"):
        np.testing.assert_array_equal(source.read(index).vanishing, arrays[name])  # type: ignore[arg-type]
    assert "proxy_semantic" not in source.read(0).labels


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_smaller_labels_are_read_at_the_nearest_pixel(factor: int) -> None:
    labels = np.arange(HEIGHT * WIDTH // factor**2).reshape(HEIGHT // factor, WIDTH // factor)
    expected = np.kron(labels, np.ones((factor, factor), labels.dtype))
    np.testing.assert_array_equal(fit_labels(labels, frame(), where="x"), expected)


def test_larger_labels_are_read_in_the_middle_of_each_pixel() -> None:
    labels = np.arange(9 * HEIGHT * WIDTH).reshape(3 * HEIGHT, 3 * WIDTH)
    np.testing.assert_array_equal(fit_labels(labels, frame(), where="x"), labels[1::3, 1::3])


def test_a_map_covers_its_frame_for_any_aspect_ratio() -> None:
    """A teacher may process a 16:9 frame at 4:3."""
    labels = np.arange(12).reshape(3, 4)
    fitted = fit_labels(labels, frame(), where="x")
    assert fitted.shape == (HEIGHT, WIDTH)
    rows, columns = (np.arange(HEIGHT) * 3) // HEIGHT, ((np.arange(WIDTH) + 0.5) * 4 / WIDTH).astype(int)
    assert np.array_equal(fitted, labels[rows[:, None], columns])
    with pytest.raises(ValueError, match=r"x: the labels of a have the shape \(12, 18, 3\), not \(height, width\)"):
        fit_labels(np.ones((HEIGHT, WIDTH, 3)), frame(), where="x")


def test_files_of_another_kind_or_data_are_refused(tmp_path: Path) -> None:
    semantic = store(tmp_path / "l.h5", "semantic", {"z": np.ones((HEIGHT, WIDTH), np.uint8)})
    vanishing = store(tmp_path / "v.h5", "vanishing", {"z": np.eye(3)})
    with pytest.raises(ValueError, match=r"v\.h5.*vanishing.*semantic"):
        open_labels(tmp_path / "v.h5", kind="semantic", content_key=None)
    with pytest.raises(ValueError, match=r"l\.h5.*semantic.*vanishing"):
        open_labels(tmp_path / "l.h5", kind="vanishing", content_key=None)
    for source in (ProxyLabelSource(Three(), semantic), VanishingSource(Three(), vanishing)):
        with pytest.raises(ValueError, match="has nothing for 'a'"):
            source.read(0)


def test_labels_of_other_data_with_the_same_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.h5"
    with LabelWriter(path, kind="semantic", teacher="t", settings={"data": "rooms-1"}) as writer:
        writer.write("a", np.ones((HEIGHT, WIDTH), np.uint8))
        writer.finish()
    assert open_labels(path, kind="semantic", content_key="rooms-1").names == ["a"]
    assert open_labels(path, kind="semantic", content_key=None).names == ["a"]
    with pytest.raises(ValueError, match=r"was made of other data \(rooms-1, not rooms-2\)"):
        open_labels(path, kind="semantic", content_key="rooms-2")
