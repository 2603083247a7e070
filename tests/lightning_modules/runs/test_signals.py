"""Signals before, in and after a command, and processes that do not end by themselves."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lightning_modules.runs import signals
from lightning_modules.runs.signals import WATCH, SignalWatch, Stopped, is_started_by_lightning

ROOT = Path(__file__).parents[3]
SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]
BEGIN = "import os, signal, sys, time\nfrom lightning_modules.runs.signals import WATCH, Phase, Stopped\n"


@pytest.fixture
def variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


def script(body, *, expected, **environment):
    """Run a script that prints ``ready``; it gets the signal then."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + body],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    process.send_signal(expected[0])
    output, errors = process.communicate(timeout=60)
    assert process.returncode == expected[1], errors
    return time.monotonic() - begin, output, errors


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_process_that_imports_ends_at_once(signum, code):
    body = "WATCH.start()\nprint('ready', flush=True)\ntime.sleep(60)\n"
    seconds, _, errors = script(body, expected=(signum, code))
    assert seconds < 10
    assert errors == f"stopped by {signal.Signals(signum).name}\n"


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
@pytest.mark.parametrize("begin", ["WATCH.start()\n", ""])
def test_a_command_is_left_by_an_exception(signum, code, begin):
    body = (
        begin + "try:\n    with WATCH.command():\n        print('ready', flush=True)\n        time.sleep(60)\n"
        "except Stopped as stop:\n    print(WATCH.phase.name)\n    sys.exit(stop.exit_code)\n"
    )
    _, output, errors = script(body, expected=(signum, code))
    assert output == ("ENDING\n" if begin else "OFF\n")
    assert errors == ""


def test_a_training_notes_the_signal_and_the_others_after_it_are_ignored():
    body = (
        "WATCH.start()\nWATCH.phase = Phase.TRAINING\nprint('ready', flush=True)\n"
        "while WATCH.received is None:\n    time.sleep(0.01)\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):\n    os.kill(os.getpid(), number)\n"
        "time.sleep(0.2)\nprint(WATCH.received)\n"
    )
    assert script(body, expected=(signal.SIGUSR1, 0))[1] == "10\n"


LATE = "WATCH.break_after_s, WATCH.end_after_s = 0.3, {end}\nWATCH.start()\nWATCH.phase = Phase.TRAINING\n"


def test_a_batch_that_takes_too_long_is_broken_off():
    body = (
        LATE.format(end=60) + "print('ready', flush=True)\ntry:\n    time.sleep(60)\n"
        "except Stopped as stop:\n    print(stop.agreed)\n    sys.exit(stop.exit_code)\n"
    )
    seconds, output, _ = script(body, expected=(signal.SIGTERM, 143))
    assert output == "False\n"
    assert seconds > 0.3


def test_a_checkpoint_is_written_to_its_end():
    body = (
        LATE.format(end=0.6) + "try:\n    with WATCH.writing():\n        print('ready', flush=True)\n"
        "        end = time.monotonic() + 2\n        while time.monotonic() < end:\n            time.sleep(0.01)\n"
        "        print('written', flush=True)\n    time.sleep(60)\n"
        "except Stopped as stop:\n    sys.exit(stop.exit_code)\n"
    )
    assert script(body, expected=(signal.SIGTERM, 143))[1] == "written\n"


def test_a_process_that_hangs_in_compiled_code_ends():
    # The main thread waits inside C, where no handler of Python runs.
    body = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nWATCH.end_after_s = 0.5\nWATCH.start()\nWATCH.phase = Phase.COMMAND\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "import threading\nthreading.Timer(1, print, ('ready',), {'flush': True}).start()\n"
        "libc.poll(None, 0, 60000)\n"
    )
    seconds, _, errors = script(body, expected=(signal.SIGTERM, 143))
    assert 0.5 < seconds < 30
    assert errors == "stopped by SIGTERM\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM])
def test_forked_processes_have_the_default_actions(number):
    reading, writing = os.pipe()
    with WATCH.command():
        child = os.fork()
        if child == 0:
            os.write(writing, WATCH.phase.name.encode())
            time.sleep(60)
            os._exit(2)
        assert os.read(reading, 10) == b"OFF"
        os.kill(child, number)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -number
        time.sleep(0.3)
        assert WATCH.received is None, "the parent must not read what its child received"


def test_the_handlers_of_before_come_back():
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    count = threading.active_count()
    with pytest.raises(Stopped) as stop, WATCH.command():
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.signum == signal.SIGTERM
    assert {number: signal.getsignal(number) for number in before} == before
    deadline = time.monotonic() + 5
    while threading.active_count() > count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() == count


def test_a_process_that_agrees_to_stop_ends_in_time_too():
    body = (
        "WATCH.end_after_s = 0.5\nWATCH.start()\nWATCH.phase = Phase.TRAINING\n"
        "signal.signal(signal.SIGWINCH, lambda *_: None)\nprint('ready', flush=True)\ntime.sleep(1)\n"
        "stop = WATCH.agree(signal.SIGUSR1)\nprint(stop.agreed, WATCH.phase.name, flush=True)\ntime.sleep(60)\n"
    )
    assert script(body, expected=(signal.SIGWINCH, 138))[1] == "True ENDING\n"


def test_a_rank_passes_its_signal_to_the_process_that_started_it():
    body = (
        "import subprocess\nWATCH.start()\nWATCH.phase = Phase.TRAINING\n"
        "code = 'import os, signal, time\\nfrom lightning_modules.runs.signals import WATCH\\nWATCH.start()\\n'\n"
        "code += 'os.kill(os.getpid(), signal.SIGUSR1)\\ntime.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'LOCAL_RANK': '1'})\n"
        "for _ in range(6000):\n    if WATCH.received is None:\n        time.sleep(0.01)\nprint('ready', flush=True)\n"
        "time.sleep(2)\nprint(WATCH.received, child.wait(), flush=True)\n"  # the test's own signal is ignored
    )
    assert script(body, expected=(signal.SIGTERM, 0))[1] == "10 0\n"


def test_exit_codes_of_the_processes_of_a_run(variables):
    assert Stopped(signal.SIGTERM).exit_code == Stopped(signal.SIGTERM, agreed=True).exit_code == 143
    variables("LOCAL_RANK", "1")
    assert is_started_by_lightning()
    assert Stopped(signal.SIGTERM).exit_code == Stopped(signal.SIGTERM, agreed=True).exit_code == 0
    variables("TORCHELASTIC_RUN_ID", "none")
    variables("RANK", "1")
    assert not is_started_by_lightning()
    assert Stopped(signal.SIGINT).exit_code == 130
    assert Stopped(signal.SIGINT, agreed=True).exit_code == 0


@pytest.mark.parametrize(
    ("received", "rank", "step", "calls"),
    [
        (signal.SIGUSR1, "0", "0", 1),
        (signal.SIGTERM, "0", "0", 0),
        (None, "0", "0", 0),
        (signal.SIGUSR1, "1", "0", 0),
        (signal.SIGUSR1, "0", "4294967291", 0),  # a command in the batch script
    ],
)
def test_only_the_announced_end_of_a_job_requeues_it_once(received, rank, step, calls, variables, monkeypatch):
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_PROCID": rank, "SLURM_STEP_ID": step}.items():
        variables(name, value)
    called = []
    monkeypatch.setattr(signals, "requeue_job", lambda: called.append(1))
    watch = SignalWatch()
    watch.received = received
    for _ in range(2):
        watch.requeue()
    assert len(called) == calls
