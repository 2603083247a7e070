"""A real SLURM on this machine (``make drills``): time limit, requeue, a killed task, and the run's equality.

It needs root and Debian's packages: ``apt-get install slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins``.
SLURM's "GPUs" are two empty files, since the job asks for some; the training runs on the CPU.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS = 60
LONGEST_S = 900
CONFIGURATION = """
ClusterName=drill
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
SlurmctldPort={port}
SlurmdPort={other_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,batch_sched_delay=1
MpiDefault=none
ReturnToService=2
KillWait=20
MinJobAge=600
JobRequeue=1
PropagateResourceLimits=NONE
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=drill Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4 PreemptMode=REQUEUE
"""


def run(*words, check=True):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=check).stdout


def wait_for(what, reached, timeout=LONGEST_S):
    deadline = time.monotonic() + timeout
    while not reached():
        assert time.monotonic() < deadline, f"not reached: {what}"
        time.sleep(0.2)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of one node, in a folder that all users may read, as SLURM requires."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}, see the head of this file")
    folder = Path(tempfile.mkdtemp(prefix="slurm_drill_"))
    folder.chmod(0o755)
    for name in ("state", "spool", "log"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, folder=folder, port=free_port(), other_port=free_port())
    )
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
    for number in range(2):
        (folder / f"gpu{number}").touch()
    own_munge = subprocess.run("munge -n | unmunge", shell=True, capture_output=True, check=False).returncode != 0
    if own_munge:
        for path in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(path).mkdir(mode=0o755, exist_ok=True)
            shutil.chown(path, "munge", "munge")
        run("runuser", "-u", "munge", "--", "/usr/sbin/munged")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        run("slurmctld", "-f", str(folder / "slurm.conf"))
        run("slurmd", "-f", str(folder / "slurm.conf"))
        wait_for("an idle node", lambda: "idle" in run("sinfo", "-h", "-o", "%T", check=False), timeout=60)
        yield folder
    finally:
        pids = [folder / "slurmd.pid", folder / "slurmctld.pid"] + [Path("/run/munge/munged.pid")] * own_munge
        for path in pids:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGTERM)
        time.sleep(2)
        os.environ.pop("SLURM_CONF", None)
        shutil.rmtree(folder, ignore_errors=True)


class Job:
    """A job of a slow training of a one-parameter model, submitted from the repository's folder."""

    def __init__(self, folder, *options, processes=1, pause_s=0.5):
        self.folder = folder
        pause = {"class_path": "tests.data.pause_at.PauseAt"}
        pause["init_args"] = {"place": "batch", "marker": str(folder / "at"), "seconds": pause_s}
        trainer = {"max_steps": STEPS, "val_check_interval": 10, "check_val_every_n_epoch": None, "accelerator": "cpu"}
        trainer |= {"log_every_n_steps": 1, "enable_progress_bar": False, "callbacks+": [pause]}
        data = {"sizes": [24, 8, 8], "batch_size": 2 // processes, "num_workers": 1}
        model = yaml.safe_load((ROOT / "experiments" / "mean_depth.yaml").read_text())["model"]
        self.config = folder / "mean_depth.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "model": model,
                    "data": {"class_path": "tests.data.memory.MemoryDataModule", "init_args": data},
                    "trainer": trainer,
                }
            )
        )
        python = folder / "env" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/bash\nexport CUDA_VISIBLE_DEVICES=\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (python.parent / "activate").write_text(f"export PATH={python.parent}:$PATH\n")
        self.words = ["--runs_dir", str(folder / "runs")]
        self.words += ["--trainer.strategy", "ddp"] if processes > 1 else []
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("RUN_ID", "SLURM_JOB"))}
        self.environment |= {"VENV": str(folder / "env"), "WANDB_MODE": "disabled"}
        done = subprocess.run(
            [
                *("sbatch", "--parsable", "--cpus-per-task=1", f"--output={folder}/%j.out", *options),
                *("cluster/slurm.sbatch", str(self.config), *self.words),
            ],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.id = done.stdout.strip()

    def whole(self, processes):
        """The last checkpoint of the same training without SLURM and without a pause."""
        quick = self.folder / "quick.yaml"
        quick.write_text(re.sub(r"seconds: [\d.]+", "seconds: 0", self.config.read_text()))
        words = ["--config", str(quick), *self.words, "--trainer.devices", str(processes)]
        own = {"RUN_ID": "whole", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "-m", "cli", "fit", *words, "--experiment", "mean_depth"],
            cwd=ROOT,
            env=self.environment | own,
            check=True,
            timeout=LONGEST_S,
            capture_output=True,
        )
        return self.folder / "runs" / "mean_depth" / "whole" / "checkpoints" / "last.ckpt"

    @property
    def last(self):
        return self.folder / "runs" / "mean_depth" / self.id / "checkpoints" / "last.ckpt"

    def output(self):
        path = self.folder / f"{self.id}.out"
        return path.read_text() if path.exists() else ""

    def state(self, name):
        found = re.search(rf"\b{name}=(\S+)", run("scontrol", "show", "job", self.id))
        return found.group(1) if found else ""

    def step(self):
        with contextlib.suppress(Exception):  # there is none yet
            return torch.load(self.last, weights_only=True)["global_step"]
        return 0

    def trains(self):
        """Wait for the first steps of an attempt."""
        marker = self.folder / "at0"
        marker.unlink(missing_ok=True)
        wait_for(f"training\n{self.output()}", marker.exists)

    def is_requeued(self, restarts):
        wait_for(f"restart {restarts}", lambda: self.state("Restarts") == str(restarts))
        wait_for("the end of the processes", lambda: self.state("JobState") == "PENDING")
        time.sleep(2)  # slurmd compares whole seconds: "already killed, do not launch", if a job starts where it ended
        run("scontrol", "update", f"JobId={self.id}", "StartTime=now")  # SLURM waits two minutes otherwise

    def is_completed(self):
        wait_for("the end", lambda: self.state("JobState") in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"))
        log = Path(os.environ["SLURM_CONF"]).parent / "log" / "slurmctld.log"
        said = f"{self.output()}\n{run('scontrol', 'show', 'job', self.id)}\n{log.read_text()[-3000:]}"
        assert self.state("JobState") == "COMPLETED", said

    def processes(self):
        """The trainings of the job, not their loader workers."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode().split("\0")
                ours = str(self.config) in words and "cli" in words and "python" in words[0]
                if ours and "pt_data_worker" not in path.with_name("comm").read_text():
                    found.append(int(path.parent.name))
        return sorted(found)


def assert_equal(one, two):
    one, two = (torch.load(path, weights_only=True) for path in (one, two))
    assert one["global_step"] == two["global_step"] == STEPS
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())


@pytest.mark.parametrize(
    ("processes", "options"),
    [(1, ["--gpus-per-node=0"]), (2, ["--ntasks-per-node=2", "--gpus-per-node=2"])],
    ids=["one process, CPU only", "two processes"],
)
def test_a_job_goes_on_through_every_fault(processes, options, slurm, tmp_path, capsys):
    tmp_path.chmod(0o755)
    job = Job(tmp_path, *options, processes=processes)
    job.trains()
    run("scancel", "--signal=USR1", job.id)  # as before the time limit, to workers as well
    job.is_requeued(1)
    assert "is requeued" in job.output()
    saved = job.step()
    assert saved > 0
    job.trains()
    run("scontrol", "requeue", job.id)  # a preemption: SIGTERM, then SIGKILL
    job.is_requeued(2)
    assert "stopped by SIGTERM" in job.output()
    assert job.step() > saved
    job.trains()
    os.kill(job.processes()[-1], signal.SIGKILL)
    job.is_requeued(3)
    assert "A process was killed" in job.output()
    job.is_completed()
    assert "Traceback" not in job.output()
    assert_equal(job.last, job.whole(processes))
    with capsys.disabled():
        print(
            "\n" + "\n".join(line for line in job.output().splitlines() if re.search("job|stopped|killed|last", line))
        )


def test_a_job_goes_on_after_its_time_limit(slurm, tmp_path):
    tmp_path.chmod(0o755)
    job = Job(tmp_path, "--gpus-per-node=0", "--time=3", pause_s=2.0)
    job.is_requeued(1)
    assert "stopped by SIGUSR1" in job.output()
    run("scontrol", "update", f"JobId={job.id}", "TimeLimit=30")
    job.is_completed()
    assert_equal(job.last, job.whole(1))


def test_a_cancelled_job_ends(slurm, tmp_path):
    tmp_path.chmod(0o755)
    job = Job(tmp_path, "--gpus-per-node=0")
    job.trains()
    run("scancel", job.id)
    wait_for("the end", lambda: job.state("JobState") == "CANCELLED" and not job.processes())
    assert job.state("Restarts") == "0"
    assert job.step() > 0
