"""The lock of a run's folder: who holds it, and when it is taken over."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from lightning_modules.runs import run_lock as module
from lightning_modules.runs.run_lock import LOCK_FILE, RunInUseError, RunLock


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(module, "STALE_AFTER_S", 0.5)
    monkeypatch.setattr(module, "_POLL_S", 0.05)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)


@pytest.fixture
def locks():
    """Makes locks that are released at the end."""
    made = []

    def make(folder):
        made.append(RunLock(folder))
        return made[-1]

    yield make
    for lock in made:
        lock.release()


def holder(folder, **changes):
    """A lock that another process left."""
    folder.mkdir(exist_ok=True)
    owner = module._this_process() | {"key": "theirs"} | changes
    (folder / LOCK_FILE).write_text(json.dumps(owner))
    return owner


def owner_of(folder):
    return json.loads((folder / LOCK_FILE).read_text())


def test_a_second_lock_is_refused_with_the_holder_until_it_is_released(locks, tmp_path):
    first = locks(tmp_path / "run")
    first.acquire()
    with pytest.raises(RunInUseError, match=f"run is in use by process {os.getpid()} on .*set RUN_ID to another id"):
        locks(tmp_path / "run").acquire()
    first.release()
    assert list((tmp_path / "run").iterdir()) == []
    locks(tmp_path / "run").acquire()


def test_the_lock_of_a_killed_process_is_taken_over_at_once(locks, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "STALE_AFTER_S", 60)
    code = "import sys, time; from pathlib import Path; from lightning_modules.runs.run_lock import RunLock\n"
    code += "RunLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(RunInUseError, match=f"process {process.pid} on"):
        locks(tmp_path).acquire()
    process.kill()
    process.wait()
    begin = time.monotonic()
    locks(tmp_path).acquire()
    assert time.monotonic() - begin < module.STALE_AFTER_S
    assert owner_of(tmp_path)["process"] == os.getpid()
    assert f"process {process.pid} on" in capsys.readouterr().err


def test_a_later_process_of_the_same_number_holds_nothing(locks, tmp_path):
    holder(tmp_path, started="1")
    locks(tmp_path).acquire()
    assert owner_of(tmp_path)["key"] != "theirs"


def test_a_silent_holder_on_another_machine_is_waited_for(locks, tmp_path, capsys):
    holder(tmp_path, host="elsewhere")
    begin = time.monotonic()
    locks(tmp_path).acquire()
    assert time.monotonic() - begin >= module.STALE_AFTER_S
    assert "elsewhere (since " in capsys.readouterr().err


def test_a_holder_on_another_machine_that_renews_its_lock_keeps_it(locks, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALE_AFTER_S", 60)
    holder(tmp_path, host="elsewhere")
    ended = threading.Event()

    def renew():
        while not ended.wait(0.05):
            os.utime(tmp_path / LOCK_FILE)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        with pytest.raises(RunInUseError, match="on elsewhere"):
            locks(tmp_path).acquire()
    finally:
        ended.set()
        renewing.join()
    assert owner_of(tmp_path)["key"] == "theirs"


def test_a_requeued_job_does_not_wait_for_itself(locks, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setattr(module, "STALE_AFTER_S", 60)
    holder(tmp_path, host="elsewhere", job="77", restart=0)
    begin = time.monotonic()
    locks(tmp_path).acquire()
    assert time.monotonic() - begin < module.STALE_AFTER_S


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x"}'])
def test_a_torn_lock_is_taken_over_after_a_while(locks, tmp_path, content):
    (tmp_path / LOCK_FILE).write_text(content)
    locks(tmp_path).acquire()
    assert owner_of(tmp_path)["process"] == os.getpid()


def test_the_time_stamp_is_renewed(locks, tmp_path):
    locks(tmp_path).acquire()
    os.utime(tmp_path / LOCK_FILE, (1, 1))
    deadline = time.monotonic() + 10
    while (tmp_path / LOCK_FILE).stat().st_mtime == 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / LOCK_FILE).stat().st_mtime > 1


def test_a_process_whose_lock_was_taken_over_ends(locks, tmp_path, monkeypatch, capsys):
    ended = threading.Event()
    monkeypatch.setattr(module.os, "_exit", lambda code: ended.set() if code == 1 else None)
    lock = locks(tmp_path)
    lock.acquire()
    holder(tmp_path)
    assert ended.wait(10)
    lock.release()
    assert "goes on with" in capsys.readouterr().err
    assert owner_of(tmp_path)["key"] == "theirs", "the lock of the other process stays"


def test_without_hard_links_the_lock_is_as_exclusive(locks, tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError

    monkeypatch.setattr(module.os, "link", link)
    locks(tmp_path).acquire()
    with pytest.raises(RunInUseError):
        locks(tmp_path).acquire()


def test_of_many_that_find_a_stale_lock_one_gets_it(locks, tmp_path):
    holder(tmp_path, started="1")
    results = []

    def attempt(lock):
        try:
            lock.acquire()
            results.append("held")
        except RunInUseError:
            results.append("refused")

    threads = [threading.Thread(target=attempt, args=(locks(tmp_path),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == ["held"] + ["refused"] * 7
