"""The label file: what goes in comes out, whatever is interrupted, foreign, broken or full."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest

from structures.label_store import LabelStore
from structures.label_writer import LabelWriter

ROOT = Path(__file__).parents[2]
NAMES = [f"video/{i:03d}" for i in range(10)]


def labels_of(name: str) -> np.ndarray:
    seed = int(name.rsplit("/", 1)[1])
    return np.random.default_rng(seed).integers(0, 20, (12, 16)).repeat(3, 0).repeat(3, 1)


def writer(path: Path, **changes) -> LabelWriter:
    arguments = {"kind": "semantic", "teacher": "net", "settings": {"size": (36, 48), "flip": False}}
    return LabelWriter(path, **(arguments | changes))


def make(path: Path, names: list[str] = NAMES) -> Path:
    with writer(path) as out:
        for name in out.missing(names):
            out.write(name, labels_of(name))
        out.finish()
    return path


def assert_complete(path: Path, names: list[str] = NAMES) -> None:
    store = LabelStore(path, kind="semantic")
    assert store.names == names
    for name in names:
        np.testing.assert_array_equal(store.read(name), labels_of(name))


def test_labels_come_back_with_what_they_depend_on(tmp_path):
    store = LabelStore(make(tmp_path / "deep" / "labels.h5"))
    assert (store.kind, store.teacher, store.shape) == ("semantic", "net", (36, 48))
    assert store.settings == {"size": [36, 48], "flip": False}
    assert store.missing(["video/003", "other"]) == ["other"]
    assert "video/009" in store
    assert len(store) == 10
    labels = store.read("video/004", shape=(36, 48))
    assert labels.dtype == np.uint8
    labels[:] = 0  # a copy of the caller's own
    assert_complete(store.path)
    assert [path.name for path in store.path.parent.iterdir()] == ["labels.h5"]


def test_labels_are_packed(tmp_path):
    path = make(tmp_path / "labels.h5")
    with h5py.File(path) as file:
        assert file["values"].compression == "gzip"
        assert file["values"].id.get_storage_size() < 0.5 * file["values"].size


@pytest.mark.parametrize(("kind", "shape", "dtype"), [("depth", (5, 7), np.float32), ("vanishing", (3, 3), np.float64)])
def test_numbers_come_back_exactly(tmp_path, kind, shape, dtype):
    arrays = {name: np.random.default_rng(i).random(shape) * 9 for i, name in enumerate(NAMES)}
    with writer(tmp_path / "a.h5", kind=kind) as out:
        for name, array in arrays.items():
            out.write(name, array)
        out.finish()
    store = LabelStore(tmp_path / "a.h5")
    for name, array in arrays.items():
        read = store.read(name)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, array.astype(dtype))


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    path = tmp_path / "labels.h5"
    with writer(path) as out:
        for name in NAMES[:4]:
            out.write(name, labels_of(name))
    with pytest.raises(FileNotFoundError, match="is not finished"):
        LabelStore(path)
    with pytest.raises(FileNotFoundError, match="is not finished"):
        LabelStore(out.partial)
    with writer(path) as out:
        assert out.missing(NAMES) == NAMES[4:]
        with pytest.raises(ValueError, match="'video/000' is already in"):
            out.write(NAMES[0], labels_of(NAMES[0]))
    assert_complete(make(path))


def test_a_finished_file_has_nothing_missing_and_takes_nothing_more(tmp_path):
    path = make(tmp_path / "labels.h5")
    before = path.read_bytes()
    with writer(path) as out:
        assert out.missing([*NAMES, "new"]) == ["new"]
        assert len(out) == 10
        out.finish()
        with pytest.raises(ValueError, match="is finished and lacks 'new', so it was made for other images"):
            out.write("new", labels_of("x/1"))
    assert path.read_bytes() == before


def test_every_torn_end_is_cut_off(tmp_path):
    path = tmp_path / "labels.h5"
    with writer(path) as out:
        for name in NAMES[:3]:
            out.write(name, labels_of(name))
    whole = out.partial.read_bytes()
    ends = [start + length for start, length, _ in out._names.values()]
    for cut in (0, 5, whole.index(b"\n") + 1, ends[0], ends[0] + 9, ends[1] - 1, ends[1], ends[2] - 3, ends[2]):
        out.partial.write_bytes(whole[:cut])
        with writer(path) as again:
            assert len(again) == sum(end <= cut for end in ends)
        kept = [whole.index(b"\n") + 1, *ends]
        assert again.partial.stat().st_size == max((end for end in kept if end <= cut), default=kept[0])
        assert_complete(make(path, NAMES[:5]), NAMES[:5])
        path.unlink()


def test_a_killed_writer_loses_at_most_what_was_not_flushed(tmp_path):
    path = tmp_path / "labels.h5"
    code = f"""
        import time
        from pathlib import Path
        from tests.structures.test_label_store import NAMES, labels_of, writer
        with writer(Path({str(path)!r}), flush_every=3) as out:
            for name in NAMES[:8]:
                out.write(name, labels_of(name))
            print("written", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        with pytest.raises(BlockingIOError, match="another process is writing"):
            writer(path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with writer(path) as out:
        assert len(out) >= 6
        assert out.missing(NAMES)[-2:] == NAMES[8:]
    assert_complete(make(path))


def test_a_kill_while_finishing_leaves_the_log(tmp_path, monkeypatch):
    path = tmp_path / "labels.h5"

    def dying(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        make(path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["labels.h5.partial"]
    assert_complete(make(path))


@pytest.mark.parametrize("limit_kib", [2, 6])
def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_done(tmp_path, limit_kib):
    # A limit on the size of a file makes writing fail like a full disk: 2 KiB stops the log, 6 KiB the finished file.
    path = tmp_path / "labels.h5"
    code = f"""
        import resource, signal
        from pathlib import Path
        from tests.structures.test_label_store import make
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_kib} * 1024, {limit_kib} * 1024))
        make(Path({str(path)!r}))
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "cannot write" in result.stderr.strip().splitlines()[-1]
    assert "what is done is kept in" in result.stderr.strip().splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["labels.h5.partial"]
    with writer(path) as out:
        assert len(out) == len(NAMES) if limit_kib == 6 else 0 < len(out) < len(NAMES)
    assert_complete(make(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "depth"}, r"was made with kind='semantic', not kind='depth'; write to another file"),
        ({"teacher": "other"}, r"was made with teacher='net', not teacher='other'; write to another file"),
        ({"settings": {"size": [36, 48]}}, r"was made with flip=False, not no flip; write to another file"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_teachers_file_is_not_continued(tmp_path, changes, message, finished):
    path = tmp_path / "labels.h5"
    with writer(path) as out:
        out.write(NAMES[0], labels_of(NAMES[0]))
        if finished:
            out.finish()
    with pytest.raises(ValueError, match=message):
        writer(path, **changes)


def test_foreign_files_are_named(tmp_path):
    path = tmp_path / "labels.h5"
    (tmp_path / "labels.h5.partial").write_bytes(b"something else\n")
    with pytest.raises(ValueError, match="no unfinished label file of this version; write to another file"):
        writer(path)
    path.write_bytes(b"certainly not HDF5")
    with pytest.raises(ValueError, match="no label file; name another file"):
        LabelStore(path)
    with h5py.File(path, "w") as file:
        file["values"] = np.zeros(3)
    with pytest.raises(ValueError, match="no label file of this version"):
        LabelStore(path)
    with pytest.raises(FileNotFoundError, match=r"there is no label file .*nowhere\.h5"):
        LabelStore(tmp_path / "nowhere.h5")


def test_truncated_and_damaged_files_are_named(tmp_path):
    path = make(tmp_path / "labels.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is truncated, damaged"):
        LabelStore(path)
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file.attrs.update(format="plumbline-labels", version=1, kind="depth", teacher="x", settings="{}")
        file["names"] = ["a"]
    with pytest.raises(ValueError, match="is truncated, damaged"):
        LabelStore(path)
    path.write_bytes(whole)
    with h5py.File(path) as file:
        chunk = file["values"].id.get_chunk_info(5)
    path.write_bytes(whole[: chunk.byte_offset] + bytes(chunk.size) + whole[chunk.byte_offset + chunk.size :])
    store = LabelStore(path)
    with pytest.raises(ValueError, match="is truncated, damaged"):
        store.read(store.names[5])


def test_a_damaged_log_is_not_finished(tmp_path):
    path = tmp_path / "labels.h5"
    with writer(path) as out:
        for name in NAMES[:3]:
            out.write(name, labels_of(name))
    start, length, _ = out._names[NAMES[1]]
    content = bytearray(out.partial.read_bytes())
    content[start + length // 2] ^= 1
    out.partial.write_bytes(content)
    with writer(path) as again, pytest.raises(ValueError, match="is damaged at 'video/001'"):
        again.finish()
    assert not path.exists()


def test_wrong_questions_are_answered_with_one_sentence(tmp_path):
    store = LabelStore(make(tmp_path / "labels.h5"))
    with pytest.raises(ValueError, match=r"has nothing for 'x' \(10 images from 'video/000' on\)"):
        store.read("x")
    with pytest.raises(ValueError, match=r"have the shape \(36, 48\), but \(24, 32\) is needed"):
        store.read(NAMES[0], shape=(24, 32))
    with pytest.raises(ValueError, match="holds semantic arrays, but depth is needed"):
        LabelStore(store.path, kind="depth")


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        ("semantic", np.full((4, 5), 256), "from 256 to 256, but integers from 0 to 255"),
        ("semantic", np.full((4, 5), -1), "from -1 to -1"),
        ("semantic", np.zeros((4, 5)), "labels of 'a' are float64"),
        ("semantic", np.zeros((1, 4, 5), int), r"shape \(1, 4, 5\), but \(H, W\)"),
        ("depth", np.full((4, 5), np.nan), "finite"),
        ("depth", np.full((4, 5), -0.5), r"goes down to -0\.5 m"),
        ("depth", np.zeros((4, 5), int), "floating-point"),
        ("vanishing", np.zeros((2, 3)), r"\(3, 3\) is needed"),
    ],
)
def test_arrays_that_are_none_of_the_kind_are_refused(tmp_path, kind, array, message):
    with writer(tmp_path / "labels.h5", kind=kind) as out:
        with pytest.raises(ValueError, match=message):
            out.write("a", array)
        assert "a" not in out
        with pytest.raises(ValueError, match="nothing was written"):
            out.finish()


def test_all_arrays_of_a_file_have_one_shape_across_runs_too(tmp_path):
    for _ in range(2):
        with writer(tmp_path / "labels.h5") as out:
            if not len(out):
                out.write(NAMES[0], labels_of(NAMES[0]))
            with pytest.raises(ValueError, match=r"shape \(4, 5\), but the others .* have \(36, 48\)"):
                out.write(NAMES[1], np.zeros((4, 5), int))


def test_settings_and_kind_are_checked(tmp_path):
    with pytest.raises(ValueError, match="kind 'normal' is not known; choose semantic, depth, vanishing"):
        writer(tmp_path / "labels.h5", kind="normal")
    with pytest.raises(ValueError, match="no plain JSON values"):
        writer(tmp_path / "labels.h5", settings={"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def read_in_child(store: LabelStore) -> int:
    return int(store.read(NAMES[3]).astype(int).sum())


def test_store_is_pickled_and_forked_without_its_handle(tmp_path):
    store = LabelStore(make(tmp_path / "labels.h5"))
    here = read_in_child(store)
    assert read_in_child(pickle.loads(pickle.dumps(store))) == here
    with get_context("fork").Pool(2) as pool:
        assert pool.map(read_in_child, [store] * 4) == [here] * 4
    # A child that inherits the object itself opens the file anew: a shared handle would share its position too.
    inherited = store._file
    child = get_context("fork").Process(target=read_anew, args=(store, inherited, here))
    child.start()
    child.join()
    assert child.exitcode == 0


def read_anew(store: LabelStore, inherited: object, expected: int) -> None:
    sys.exit(read_in_child(store) != expected or store._file is inherited)


def test_reading_costs_less_than_a_frame(tmp_path):
    store = LabelStore(make(tmp_path / "labels.h5"))
    store.read(NAMES[0])
    started = time.perf_counter()
    for name in NAMES * 10:
        store.read(name)
    assert time.perf_counter() - started < 1.0


def test_a_folder_in_the_place_of_a_file_is_said_to_be_one(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(IsADirectoryError, match="labels' is a folder, but a label file is needed"):
        LabelStore(tmp_path / "labels")
    with pytest.raises(IsADirectoryError, match="labels' is a folder, but a file is to be written"):
        writer(tmp_path / "labels")
    with pytest.raises(NotADirectoryError, match="taken' is a file, but a folder is needed"):
        writer(tmp_path / "taken" / "labels.h5")
    assert (tmp_path / "taken").read_text() == "a file"
