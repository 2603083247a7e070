"""Ids of SLURM and torchrun, as they set them in a job's first start and when it starts again."""

import os
import sys

import pytest

from lightning_modules.runs.launcher_ids import launcher_id, restart_count, started_at

BATCH = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "plumbline", "SLURM_NTASKS": "1"}
TASK = BATCH | {"SLURM_STEP_ID": "0"}
STANDALONE = "0b6f9f7e-6f0e-4c62-a3a5-3a4f1c2d9e10"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (BATCH, "77"),
        (TASK, "77"),
        (TASK | {"SLURM_STEP_ID": "3", "SLURM_RESTART_COUNT": "2"}, "77"),
        (TASK | {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "4"}, "70_4"),
        (BATCH | {"SLURM_JOB_NAME": "interactive"}, None),
        (BATCH | {"SLURM_STEP_ID": "4294967290"}, None),
        (TASK | {"SLURM_PTY_PORT": "40123"}, None),
        (TASK | {"SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "5"}, "77.5"),
        ({"TORCHELASTIC_RUN_ID": "mine"}, "mine"),
        (TASK | {"TORCHELASTIC_RUN_ID": "mine"}, "mine"),
        (TASK | {"TORCHELASTIC_RUN_ID": "none"}, "77"),
        (TASK | {"TORCHELASTIC_RUN_ID": STANDALONE}, "77"),  # drawn anew at every start
        ({"TORCHELASTIC_RUN_ID": STANDALONE}, STANDALONE),
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, None),
    ],
)
def test_id_of_an_environment(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = launcher_id()
    assert (None if found is None else found[0]) == expected


def test_workers_of_torchrun_without_an_id_share_that_of_its_process(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert launcher_id() == (f"torchrun-{os.getppid()}-{started_at(os.getppid())}", "the id of torchrun's process")


def test_a_command_that_is_typed_in_a_job_is_a_run_of_its_own(monkeypatch):
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert launcher_id() is None


def test_processes_of_equal_number_differ_by_their_start():
    assert started_at(os.getpid()) == started_at(os.getpid()) != started_at(os.getppid())
    assert started_at(2**22 + 1) is None  # above the largest number of a process


def test_restarts_of_a_job(monkeypatch):
    assert restart_count() == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert restart_count() == 3
