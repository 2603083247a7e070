"""The cluster job with fake commands of SLURM that print their arguments."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm.sbatch"
SRUN = """#!/bin/bash
echo "run $RUN_ID cpus $SRUN_CPUS_PER_TASK threads $OMP_NUM_THREADS in $PWD with $SITE"
for word in "$@"; do echo "[$word]"; done
"""
SCONTROL = '#!/bin/bash\necho "scontrol $*"\n'
JOB = {
    "SLURM_JOB_ID": "77",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_GPUS_PER_NODE": "h100:4",
    "SLURM_CPUS_PER_TASK": "12",
}


def put(path, content):
    path.write_text(content)
    path.chmod(0o755)


def submit(folder, *words, srun=SRUN, scontrol=SCONTROL, site="", **job):
    """Run the script as SLURM does: a copy, started in another folder than the submit folder."""
    (folder / "bin").mkdir()
    put(folder / "bin" / "srun", srun)
    put(folder / "bin" / "scontrol", scontrol)
    project = folder / "project"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "activate").write_text("export SITE=venv\n")
    (project / "cluster").mkdir()
    (project / "cluster" / "site.env").write_text((ROOT / "cluster" / "site.env").read_text() + site)
    ours = ("SLURM_", "SRUN_", "PLUMBLINE_", "VENV", "OMP_", "DATA_ROOT", "MODULES", "MAX_RESTARTS")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**inherited, "SLURM_SUBMIT_DIR": str(project), **job, "PATH": path}
    copy = folder / "slurm_script"
    copy.write_text(SCRIPT.read_text())
    return subprocess.run(
        ["bash", str(copy), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def words_of(done):
    """The run's line and the words of srun."""
    head, run, *rest = done.stdout.splitlines()
    assert re.fullmatch(r"[\d-]+ [\d:]+ job \w+ on .*, restart \d+: run \S+ of \S+", head)
    return run, [line[1:-1] for line in rest if line.startswith("[")]


@pytest.mark.parametrize("file", ["slurm.sbatch", "submit.sh", "site.env"])
def test_it_is_valid_shell(file):
    assert subprocess.run(["bash", "-n", str(SCRIPT.with_name(file))], check=False).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-x", "-s", "bash", f"cluster/{file}"], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stdout


def test_nodes_devices_cpus_and_the_run_come_from_the_job(tmp_path):
    done = submit(tmp_path, "experiments/a.yaml", "--data.init_args.root", "/nyu depth", **JOB)
    run, words = words_of(done)
    assert run == f"run 77 cpus 12 threads 12 in {tmp_path / 'project'} with venv"
    config = ["--config", "experiments/a.yaml", "--trainer.num_nodes", "2", "--trainer.devices", "4"]
    given = ["--data.init_args.root", "/nyu depth"]
    assert words == ["--kill-on-bad-exit=1", "python", "-m", "cli", "fit", *config, *given]


def test_the_tasks_of_an_array_are_runs_of_their_own_and_a_name_comes_first(tmp_path):
    for name, given in (("array", {}), ("named", {"RUN_ID": "mine"})):
        (tmp_path / name).mkdir()
        done = submit(tmp_path / name, "a.yaml", **JOB, **given, SLURM_ARRAY_JOB_ID="70", SLURM_ARRAY_TASK_ID="3")
        assert words_of(done)[0].startswith(f"run {given.get('RUN_ID', '70_3')} ")


@pytest.mark.parametrize("gpus", ["4", "h100:4", None, "0"])
def test_forms_of_the_gpu_request(tmp_path, gpus):
    job = {k: v for k, v in JOB.items() if k != "SLURM_GPUS_PER_NODE"} | ({"SLURM_GPUS_PER_NODE": gpus} if gpus else {})
    printed = submit(tmp_path, "a.yaml", **job).stdout
    assert "[--trainer.devices]\n[4]\n" in printed
    assert ("[--trainer.accelerator]\n[cpu]\n" in printed) is (gpus == "0")


def test_gpus_without_a_task_are_refused(tmp_path):
    done = submit(tmp_path, "a.yaml", **{**JOB, "SLURM_NTASKS_PER_NODE": "1"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "ask for --ntasks-per-node=4" in done.stderr


def test_settings_of_the_site(tmp_path):
    site = "module() { echo \"modules $*\"; }\nMODULES='python/3.11 cuda/12.8'\nDATA_ROOT='/scratch/nyu depth'\n"
    done = submit(tmp_path, "a.yaml", site=site, **JOB)
    assert done.stdout.startswith("modules load python/3.11 cuda/12.8\n")
    assert "[--data.init_args.root]\n[/scratch/nyu depth]\n" in done.stdout
    for number, given in enumerate((["--data.init_args.root", "/b"], ["--data.init_args.root=/b"])):
        (tmp_path / str(number)).mkdir()
        words = words_of(submit(tmp_path / str(number), "a.yaml", *given, DATA_ROOT="/a", **JOB))[1]
        assert words[-len(given) :] == given
        assert "/a" not in words


def test_a_failure_of_srun_is_the_failure_of_the_job(tmp_path):
    done = submit(tmp_path, "a.yaml", srun="#!/bin/bash\nexit 5\n", **JOB)
    assert done.returncode == 5
    assert "scontrol" not in done.stdout


@pytest.mark.parametrize("code", [0, 1, 130, 138, 143])
def test_only_a_killed_process_is_requeued_by_the_job(tmp_path, code):
    done = submit(tmp_path, "a.yaml", srun=f"#!/bin/bash\nexit {code}\n", **JOB)
    assert done.returncode == code
    assert "scontrol" not in done.stdout


@pytest.mark.parametrize(("restarts", "requeued"), [(None, True), ("1", True), ("2", False), ("3", False)])
def test_a_killed_process_is_requeued_a_bounded_number_of_times(tmp_path, restarts, requeued):
    given = {} if restarts is None else {"SLURM_RESTART_COUNT": restarts}
    done = submit(tmp_path, "a.yaml", srun="#!/bin/bash\nexit 137\n", MAX_RESTARTS="2", **given, **JOB)
    assert done.returncode == 137
    assert ("scontrol requeue 77\n" in done.stdout) is requeued
    said = "goes on from its newest checkpoint" if requeued else f"the job has restarted {restarts} times (MAX_RESTARTS"
    assert said in done.stderr


def test_a_task_of_an_array_is_requeued_by_its_name(tmp_path):
    array = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}
    done = submit(tmp_path, "a.yaml", srun="#!/bin/bash\nexit 137\n", **array, **JOB)
    assert "scontrol requeue 70_3\n" in done.stdout


def test_wrong_calls_are_one_sentence(tmp_path):
    done = submit(tmp_path, **JOB)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
    (tmp_path / "other").mkdir()
    done = submit(tmp_path / "other", "a.yaml", **JOB, VENV="nowhere")
    assert done.returncode == 2
    assert "make setup" in done.stderr
    done = subprocess.run(
        ["bash", str(SCRIPT), "a.yaml"], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "submit from the repository's folder" in done.stderr


def test_the_header():
    lines = dict(line.partition("=")[::2] for line in re.findall(r"^#SBATCH (--\S+)", SCRIPT.read_text(), re.MULTILINE))
    assert lines["--output"] == "slurm-%j.out", "it needs no folder"
    assert lines["--signal"] == "USR1@120", "to the tasks, not to the script"
    assert lines["--open-mode"] == "append"
    assert "--requeue" in lines
