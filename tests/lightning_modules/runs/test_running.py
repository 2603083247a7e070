"""Processes that run, have ended, or belong to another user."""

import os
import subprocess
import sys

from lightning_modules.runs.running import is_running


def test_this_process_runs_and_one_that_was_waited_for_does_not():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_running(os.getpid())
    assert not is_running(ended.pid)


def test_a_process_of_another_user_runs(monkeypatch):
    def refuse(process, number):
        assert number == 0
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(1)
