"""Names of runs: shared by ranks, different otherwise; W&B modes; metrics of earlier attempts."""

import pytest
from jsonargparse import Namespace

from lightning_modules.runs.folder import (
    check_name,
    git_commit,
    is_first_rank,
    keep_previous_metrics,
    place_run,
    run_id,
)

VARIABLES = (
    "SLURM_NTASKS",
    "SLURM_STEP_ID",
    "SLURM_JOB_ID",
    "TORCHELASTIC_RUN_ID",
    "RANK",
    "SLURM_PROCID",
    "LOCAL_RANK",
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch, tmp_path):
    for name in (*VARIABLES, "WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_two_runs_never_share_an_id():
    assert len({run_id() for _ in range(20)}) > 15  # four random digits within the same second


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RUN_ID": "mine", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, "mine"),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"}, "7"),
        ({"TORCHELASTIC_RUN_ID": "abc"}, "abc"),
    ],
)
def test_ranks_share_an_id(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run_id() == expected


def test_a_notebook_job_of_one_task_gets_new_ids(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not run_id().startswith("7.")


def test_folder_and_experiment_come_from_the_first_config(monkeypatch):
    monkeypatch.setenv("RUN_ID", "r1")
    trainer = Namespace(default_root_dir=None)
    config = Namespace(experiment=None, config=["a/x.yaml", "b/y.yaml"], runs_dir="runs", trainer=trainer)
    assert str(place_run(config, "fit")) == "runs/x/r1"
    assert str(place_run(config, "test")) == "runs/x/r1-test"
    assert config.experiment == "x"
    assert trainer.default_root_dir is None, "the configuration has to run again elsewhere"


@pytest.mark.parametrize(
    ("variable", "rank", "first"), [("RANK", "0", True), ("RANK", "1", False), ("LOCAL_RANK", "2", False)]
)
def test_first_rank(monkeypatch, variable, rank, first):
    assert is_first_rank()
    monkeypatch.setenv(variable, rank)
    assert is_first_rank() is first


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "LOCAL_RANK"])
@pytest.mark.parametrize("value", ["", "abc", "-1"])
def test_a_rank_that_is_no_number_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"variable {variable} is {value!r}, but has to be a whole number"):
        is_first_rank()


def test_metrics_of_earlier_attempts_are_kept(tmp_path):
    for attempt in ("first", "second"):
        (tmp_path / "metrics.csv").write_text(attempt)
        keep_previous_metrics(tmp_path)
    keep_previous_metrics(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.glob("metrics*")} == {
        "metrics.1.csv": "first",
        "metrics.2.csv": "second",
    }


def test_commit_is_a_hash_or_says_that_it_is_unknown(monkeypatch):
    assert git_commit() == "unknown" or len(git_commit().removesuffix("+dirty")) == 40
    monkeypatch.setenv("PATH", "")
    assert git_commit() == "unknown"


@pytest.mark.parametrize("name", ["a", "20260101-120000-ab12", "7.2", "über_1", "x" * 100])
def test_names_of_one_folder_pass(name):
    assert check_name(name, "experiment") == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".x", "-x", "a b", "a\n", "x" * 101, None, 3])
def test_names_that_are_no_folder_are_refused(name):
    with pytest.raises(ValueError, match="but it becomes a folder's name"):
        check_name(name, "experiment")


def test_a_file_with_any_name_gives_a_folder(monkeypatch):
    monkeypatch.setenv("RUN_ID", "r1")
    config = Namespace(
        experiment=None, config=["my exp #2.yaml"], runs_dir="runs", trainer=Namespace(default_root_dir=None)
    )
    assert str(place_run(config, "fit")) == "runs/my_exp_2/r1"


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"RUN_ID": ""}, "RUN_ID is ''"),
        ({"TORCHELASTIC_RUN_ID": "../a"}, "torchrun .* is '../a'"),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "../7", "SLURM_STEP_ID": "0"}, "SLURM job is '../7'"),
    ],
)
def test_ids_of_the_environment_are_checked(monkeypatch, environment, what):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=what):
        run_id()
