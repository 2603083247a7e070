"""Lines about long work: how often they come, and what they say."""

import threading

import pytest

from structures import progress_lines as module
from structures.progress_lines import ProgressLines, duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (95, "1 min 35 s"), (3600 * 5 + 725, "5 h 12 min"), (86400, "1 d")],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration_text(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_comes_when_it_is_time_for_one(clock):
    written = []
    lines = ProgressLines("making rooms", "frames", 1000, every_s=10, write=written.append)
    for _ in range(5):
        clock[0] += 4
        lines.add(20)
    assert written == ["making rooms: 60 of 1000 frames, 5 frames/s, 3 min 8 s left\n"]


@pytest.mark.parametrize("total", [None, float("inf")])
def test_without_a_total_no_time_is_left(clock, total):
    written = []
    lines = ProgressLines("prediction", "batches", total, every_s=1, write=written.append)
    clock[0] += 2
    lines.add()
    assert written == ["prediction: 1 batches, 0.5 batches/s\n"]


def test_threads_lose_no_part(clock):
    written = []
    lines = ProgressLines("work", "parts", 4001, every_s=5, write=written.append)
    threads = [threading.Thread(target=lambda: [lines.add() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock[0] += 5
    lines.add()
    assert written == ["work: 4001 of 4001 parts, 800 parts/s, 0 s left\n"]
