"""Rooms file: round trip, interrupted runs, damaged files and full disks."""

import dataclasses
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

from datamodules.rooms import make_store
from datamodules.rooms.make_store import build_store, group_sequences
from datamodules.rooms.settings import plan
from datamodules.rooms.store import FRAME_DATASETS, RoomsStore
from tests.data.make_rooms import BROKEN_RENDERER, RENDERER, SLOW_RENDERER, TINY, make_rooms, render_fake

ROOT = Path(__file__).parents[3]


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path, "r") as file:
        return {name: file[name][...] for name in FRAME_DATASETS} | {"name": file["sequences/name"][...]}


def assert_equal_files(first: Path, second: Path) -> None:
    a, b = contents(first), contents(second)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_every_frame_comes_back_as_rendered(tmp_path: Path) -> None:
    store = RoomsStore(make_rooms(tmp_path))
    assert store.settings == {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(TINY).items()}
    assert store.sequences == plan(TINY)
    for start, sequence in zip(store.starts, store.sequences, strict=True):
        rendered = render_fake(TINY, sequence)
        for k in range(sequence.n_frames):
            read = store.read(start + k, FRAME_DATASETS)
            np.testing.assert_allclose(read["depth"] / 5000, rendered["depth"][k], atol=1.01e-4)
            for name in set(FRAME_DATASETS) - {"depth"}:
                np.testing.assert_array_equal(read[name], rendered[name][k])
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [store.path.name]


def test_number_of_processes_does_not_matter(tmp_path: Path) -> None:
    two = build_store(TINY, tmp_path / "two", processes=2, renderer=RENDERER, progress_bar=False)
    assert_equal_files(make_rooms(tmp_path / "none"), two)


@pytest.mark.parametrize("processes", [0, 2])
def test_without_a_terminal_the_progress_is_printed_in_lines(tmp_path: Path, monkeypatch, capsys, processes) -> None:
    monkeypatch.setattr(make_store, "_SECONDS_PER_LINE", 0.0)
    monkeypatch.setattr(make_store, "FRAMES_PER_SHARD", 4)
    build_store(TINY, tmp_path, processes=processes, renderer=RENDERER)
    lines = capsys.readouterr().err.splitlines()
    frames = sum(sequence.n_frames for sequence in plan(TINY))
    assert lines[-1].startswith(f"making rooms: {frames} of {frames} frames, ")
    assert lines[-1].endswith(" frames/s, 0 s left")


def test_shards_keep_the_plan_in_order() -> None:
    sequences = plan(TINY)
    groups = group_sequences(sequences, frames=10)
    assert [sequence for group in groups for sequence in group] == sequences
    assert all(sum(s.n_frames for s in group) >= 10 for group in groups[:-1])


def test_killed_run_is_resumed_and_leaves_no_worker(tmp_path: Path, monkeypatch) -> None:
    log = tmp_path / "log"
    code = f"""
        from pathlib import Path
        from datamodules.rooms.make_store import build_store
        from tests.data.make_rooms import SLOW_RENDERER, TINY
        build_store(TINY, Path({str(tmp_path)!r}), processes=2, renderer=SLOW_RENDERER, progress_bar=False)
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ROOMS_TEST_LOG": str(log)}
    maker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=environment, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.partial/shard-*.h5")) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        maker.send_signal(signal.SIGKILL)
        maker.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.partial/shard-*.h5")}
    assert kept
    assert not list(tmp_path.glob("rooms-*.h5"))
    workers = {int(line.split()[0]) for line in log.read_text().splitlines()}
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)

    rendered_before = log.read_text()
    monkeypatch.setenv("ROOMS_TEST_LOG", str(log))
    finished = build_store(TINY, tmp_path, processes=0, renderer=SLOW_RENDERER, progress_bar=False)
    again = log.read_text()[len(rendered_before) :].split()[1::2]
    groups = group_sequences(plan(TINY))
    done = {sequence.name for name in kept for sequence in groups[int(name[6:11])]}
    assert not done & set(again)
    assert len(again) < len(plan(TINY))
    assert_equal_files(finished, make_rooms(tmp_path / "straight"))
    assert not list(tmp_path.glob("*.partial"))


def alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_damaged_shard_is_made_again(tmp_path: Path) -> None:
    folder = make_store.store_path(TINY, tmp_path).with_suffix(".partial")
    folder.mkdir()
    (folder / "shard-00000.h5").write_bytes(b"half a file")
    assert_equal_files(make_rooms(tmp_path), make_rooms(tmp_path / "other"))


@pytest.mark.parametrize("limit_kib", [60, 300])
def test_full_disk_is_one_sentence_and_leaves_no_file(tmp_path: Path, limit_kib: int) -> None:
    # A limit on the size of a file makes writing fail like a full disk: 60 KiB stops the first shard (of 200 KiB),
    # 300 KiB lets all shards pass and stops the joined file.
    code = f"""
        import resource
        from pathlib import Path
        from datamodules.rooms.make_store import build_store
        from tests.data.make_rooms import RENDERER, TINY
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_kib} * 1024, {limit_kib} * 1024))
        build_store(TINY, Path({str(tmp_path)!r}), processes=1, renderer=RENDERER, progress_bar=False)
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "is full" in last
    assert "PLUMBLINE_DATA" in last
    assert not list(tmp_path.glob("rooms-*.h5"))
    assert not list(tmp_path.glob("**/*.tmp"))
    assert not list(tmp_path.glob("**/joined.h5"))
    assert bool(list(tmp_path.glob("**/shard-*.h5"))) == (limit_kib == 300)
    build_store(TINY, tmp_path, processes=0, renderer=RENDERER, progress_bar=False)


@pytest.mark.parametrize("processes", [0, 1])
def test_invalid_depth_of_the_renderer_is_an_error(tmp_path: Path, processes: int) -> None:
    with pytest.raises((ChildProcessError, ValueError), match=r"depth outside .* sequence still/val/0002"):
        build_store(TINY, tmp_path, processes=processes, renderer=BROKEN_RENDERER, progress_bar=False)
    assert not list(tmp_path.glob("rooms-*.h5"))


def test_two_concurrent_processes_render_once(tmp_path: Path, monkeypatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("ROOMS_TEST_LOG", str(log))
    context = get_context("fork")
    makers = [
        context.Process(
            target=build_store,
            args=(TINY, tmp_path),
            kwargs={"processes": 0, "renderer": SLOW_RENDERER, "progress_bar": False},
        )
        for _ in range(2)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0]
    assert len(log.read_text().splitlines()) == len(plan(TINY))


def test_truncated_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    path = make_rooms(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"truncated, damaged or no rooms file: move it away and run `make data`"):
        RoomsStore(path)
    path.write_bytes(b"certainly not HDF5")
    with pytest.raises(ValueError, match=r"no rooms file: move it away"):
        RoomsStore(path)
    with h5py.File(path, "w") as file:
        file["image"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"no rooms file of this version"):
        RoomsStore(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no rooms data at .* run `make data`"):
        RoomsStore(path)


def read_in_child(store: RoomsStore) -> int:
    return int(store.read(3, ["image"])["image"].astype(int).sum())


def test_store_is_pickled_and_forked_without_its_handle(tmp_path: Path) -> None:
    store = RoomsStore(make_rooms(tmp_path))
    here = read_in_child(store)
    assert read_in_child(pickle.loads(pickle.dumps(store))) == here
    with get_context("fork").Pool(2) as pool:
        assert pool.map(read_in_child, [store] * 4) == [here] * 4
