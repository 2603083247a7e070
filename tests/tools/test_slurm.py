"""The cluster job with a fake srun that prints its arguments."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sbatch"
SRUN = """#!/bin/bash
echo "run $PLUMBLINE_RUN_ID cpus $SRUN_CPUS_PER_TASK threads $OMP_NUM_THREADS in $PWD with $SITE"
for word in "$@"; do echo "[$word]"; done
"""
JOB = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_GPUS_PER_NODE": "h100:4",
    "SLURM_CPUS_PER_TASK": "12",
}


def submit(folder, *words, srun=SRUN, **job):
    """Run the script as SLURM does: a copy, started in another folder than the submit folder."""
    (folder / "bin").mkdir()
    (folder / "bin" / "srun").write_text(srun)
    (folder / "bin" / "srun").chmod(0o755)
    project = folder / "project"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "activate").write_text("export SITE=venv\n")
    ours = ("SLURM_", "SRUN_", "PLUMBLINE_", "VENV", "OMP_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**inherited, "SLURM_SUBMIT_DIR": str(project), **job, "PATH": path}
    copy = folder / "slurm_script"
    copy.write_text(SCRIPT.read_text())
    return subprocess.run(
        ["bash", str(copy), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_it_is_valid_shell():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


def test_nodes_devices_cpus_and_the_run_come_from_the_job(tmp_path):
    done = submit(tmp_path, "experiments/a.yaml", "--data.init_args.root", "/nyu depth", **JOB)
    first, *words = done.stdout.splitlines()
    assert first == f"run 77 cpus 12 threads 12 in {tmp_path / 'project'} with venv"
    config = ["--config", "experiments/a.yaml", "--trainer.num_nodes", "2", "--trainer.devices", "4"]
    given = ["--ckpt_path", "last", "--data.init_args.root", "/nyu depth"]
    assert [word[1:-1] for word in words] == ["--kill-on-bad-exit=1", "python", "-m", "cli", "fit", *config, *given]


def test_the_tasks_of_an_array_are_runs_of_their_own(tmp_path):
    done = submit(tmp_path, "a.yaml", **JOB, SLURM_ARRAY_JOB_ID="70", SLURM_ARRAY_TASK_ID="3")
    assert done.stdout.startswith("run 70_3 ")


@pytest.mark.parametrize("gpus", ["4", "h100:4", None])
def test_forms_of_the_gpu_request(tmp_path, gpus):
    job = {k: v for k, v in JOB.items() if k != "SLURM_GPUS_PER_NODE"} | ({"SLURM_GPUS_PER_NODE": gpus} if gpus else {})
    assert "[--trainer.devices]\n[4]\n" in submit(tmp_path, "a.yaml", **job).stdout


def test_gpus_without_a_task_are_refused(tmp_path):
    done = submit(tmp_path, "a.yaml", **{**JOB, "SLURM_NTASKS_PER_NODE": "1"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "ask for --ntasks-per-node=4" in done.stderr


def test_a_failure_of_srun_is_the_failure_of_the_job(tmp_path):
    assert submit(tmp_path, "a.yaml", srun="#!/bin/bash\nexit 5\n", **JOB).returncode == 5


def test_wrong_calls_are_one_sentence(tmp_path):
    done = submit(tmp_path, **JOB)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
    (tmp_path / "other").mkdir()
    done = submit(tmp_path / "other", "a.yaml", **JOB, VENV="nowhere")
    assert done.returncode == 2
    assert "make setup" in done.stderr


def test_the_output_file_needs_no_folder():
    output = re.findall(r"^#SBATCH --output=(.*)$", SCRIPT.read_text(), flags=re.MULTILINE)
    assert output == ["slurm-%j.out"]
