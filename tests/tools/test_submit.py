"""``make submit`` writes a job and submits it with a fake sbatch."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMON = ["--requeue", "--signal=USR1@120", "--open-mode=append", "--output=slurm-%j.out"]


@pytest.fixture
def project(tmp_path):
    """The folder ``cluster`` in a project of its own, and an empty folder of commands."""
    shutil.copytree(ROOT / "cluster", tmp_path / "project" / "cluster")
    (tmp_path / "bin").mkdir()
    return tmp_path / "project"


def submit(project, *words, sbatch=True, site="", **variables):
    if sbatch:
        (project.parent / "bin" / "sbatch").write_text('#!/bin/bash\necho "sbatch [$*] in $PWD"\n')
        (project.parent / "bin" / "sbatch").chmod(0o755)
    with (project / "cluster" / "site.env").open("a") as file:
        file.write(site)
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "sbatch").exists()]
    environment = {"PATH": os.pathsep.join([str(project.parent / "bin"), *folders]), **variables}
    return subprocess.run(
        [str(project / "cluster" / "submit.sh"), *words],
        cwd=project.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def written(project):
    """Options and command of the job that was written."""
    (job,) = (project / "runs" / "jobs").glob("*.sbatch")
    text = job.read_text()
    assert subprocess.run(["bash", "-n", str(job)], check=False).returncode == 0
    command = next(line for line in text.splitlines() if line.startswith("exec "))
    return job, re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE), command


def test_a_job_of_two_nodes_is_written_and_submitted(project):
    done = submit(project, "experiments/gam_depth.yaml", "--data.init_args.root", "/nyu 'depth'", NODES="2", GPUS="8")
    assert done.returncode == 0, done.stderr
    job, options, command = written(project)
    name = job.relative_to(project)
    assert done.stdout == f"{name}\nsbatch [{name}] in {project}\n"
    size = ["--nodes=2", "--gpus-per-node=8", "--cpus-per-task=8", "--ntasks-per-node=8", "--time=24:00:00"]
    assert options == ["--job-name=gam_depth", *size, *COMMON]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {command.removeprefix('exec ')}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    given = ["experiments/gam_depth.yaml", "--data.init_args.root", "/nyu 'depth'"]
    assert words == ["bash", "cluster/slurm.sbatch", *given]


def test_settings_of_the_site_are_options(project):
    site = "export SBATCH_PARTITION=gpu\nexport SBATCH_ACCOUNT=my_project\nNODES=${NODES:-1}\n"
    done = submit(project, "experiments/a.yaml", site=site, TIME="2:00:00", CPUS="4", GPUS="", NODES="")
    assert done.returncode == 0, done.stderr
    _, options, _ = written(project)
    size = ["--nodes=1", "--gpus-per-node=1", "--cpus-per-task=4", "--ntasks-per-node=1", "--time=2:00:00"]
    assert options == ["--job-name=a", *size, "--partition=gpu", "--account=my_project", *COMMON]


@pytest.mark.parametrize(("tasks", "cpus"), [("", "8"), ("2", "4"), ("16", "1")])
def test_a_job_without_gpus_asks_for_none(project, tasks, cpus):
    assert submit(project, "experiments/a.yaml", GPUS="0", TASKS=tasks).returncode == 0
    _, options, command = written(project)
    assert not any("gpu" in option for option in options)
    assert f"--ntasks-per-node={tasks or 1}" in options
    assert f"--cpus-per-task={cpus}" in options
    assert command.endswith("experiments/a.yaml --trainer.accelerator cpu")


def test_without_sbatch_the_job_and_the_command_are_printed(project):
    done = submit(project, "experiments/a.yaml", sbatch=False)
    assert done.returncode == 0, done.stderr
    job, _, command = written(project)
    assert command in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "There is no sbatch on this machine. On the cluster, in the repository's folder: "
        f"sbatch {job.relative_to(project)}"
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NODES": "0"}, "NODES is '0', but has to be a whole number of at least 1."),
        ({"GPUS": "eight"}, "GPUS is 'eight', but has to be a whole number of at least 0."),
        ({"GPUS": "4", "TASKS": "2"}, "TASKS is 2, but with GPUS=4 there is one task per GPU."),
    ],
)
def test_wrong_sizes_are_one_sentence_and_write_nothing(project, variables, said):
    done = submit(project, "experiments/a.yaml", **variables)
    assert (done.returncode, done.stderr) == (2, f"{said}\n")
    assert not (project / "runs").exists()
