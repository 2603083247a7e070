"""SLURM's variables in a shell, a batch script and a task of srun, as SLURM sets them."""

import os

import pytest

from lightning_modules.runs.folder import run_id
from lightning_modules.runs.slurm import (
    count_of_tasks,
    ignore_tasks_without_srun,
    is_first_rank,
    requeue_job,
    started_by_srun,
)

JOB = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_JOB_NAME": "train"}
BATCH = JOB | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
TASK = BATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}


@pytest.fixture
def variables(monkeypatch):
    """Sets the variables of SLURM, all others of SLURM being gone, and undoes what the code removes."""
    before = {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}

    def put(values):
        for name in before:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    "shell",
    [
        {"SLURM_NTASKS": "4"},
        JOB,
        BATCH,
        BATCH | {"SLURM_NTASKS_PER_NODE": "4"},
        BATCH | {"SLURM_STEP_ID": "4294967291"},  # the batch step
        BATCH | {"SLURM_STEP_ID": "4294967290"},  # an interactive step of salloc
        TASK | {"SLURM_PTY_PORT": "40123", "SLURM_PROCID": "0"},  # srun --pty bash
    ],
)
def test_a_command_that_is_typed_is_one_process_and_says_so(shell, variables, capsys):
    variables(shell)
    ignore_tasks_without_srun()
    assert count_of_tasks() == 1
    assert "SLURM_PROCID" not in os.environ
    assert is_first_rank()
    assert not run_id().startswith("77.")
    said = capsys.readouterr().err
    assert said.startswith(
        "SLURM gave this shell 4 tasks, but srun did not start this command: it runs as one process."
    )
    assert said.count("\n") == 1


def test_tasks_of_srun_are_left_as_they_are(variables, capsys):
    variables(TASK | {"SLURM_NTASKS_PER_NODE": "4"})
    ignore_tasks_without_srun()
    assert started_by_srun()
    assert count_of_tasks() == 4
    assert not is_first_rank()
    assert run_id() == "77"
    assert capsys.readouterr().err == ""


def test_tasks_without_their_number_on_a_node_are_one_sentence(variables):
    variables(TASK)
    with pytest.raises(ValueError, match=r"srun started 4 tasks, .*--ntasks-per-node in place of --ntasks=4"):
        ignore_tasks_without_srun()


@pytest.mark.parametrize("value", ["", "many"])
def test_a_count_of_tasks_that_is_no_number_is_named(value, variables):
    variables({**BATCH, "SLURM_NTASKS": value})
    with pytest.raises(ValueError, match=f"variable SLURM_NTASKS is {value!r}, but has to be a whole number"):
        ignore_tasks_without_srun()


@pytest.mark.parametrize("value", [None, "1"])
def test_nothing_changes_elsewhere(value, variables, capsys):
    variables({} if value is None else {**BATCH, "SLURM_NTASKS": value})
    ignore_tasks_without_srun()
    assert count_of_tasks() == 1
    assert os.environ.get("SLURM_NTASKS") == value
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("job", "name"),
    [({}, "77"), ({"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}, "70_3")],
)
@pytest.mark.parametrize(("script", "said"), [("exit 0", "is requeued"), ("echo not now >&2; exit 1", "(not now)")])
def test_a_job_is_requeued_by_its_name(job, name, script, said, variables, tmp_path, monkeypatch, capsys):
    variables(TASK | job)
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n{script}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert requeue_job() is (script == "exit 0")
    assert (tmp_path / "called").read_text() == f"requeue {name}\n"
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.startswith(f"job {name} ")


def test_a_machine_without_scontrol_is_a_sentence(variables, tmp_path, monkeypatch, capsys):
    variables(TASK)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not requeue_job()
    assert "submit the same command with the same run id again, and it goes on" in capsys.readouterr().err
