"""Arguments that the Makefile passes on, recorded by fake commands in a fake environment."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRINT_ARGUMENTS = '#!/bin/sh\necho "$(basename "$0")"\nfor word in "$@"; do echo "[$word]"; done\n'


@pytest.fixture
def environment(tmp_path):
    """An environment that is up to date for ``make setup``, whose commands print their arguments."""
    folder = tmp_path / "env"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(PRINT_ARGUMENTS)
    (folder / "bin" / "python").chmod(0o755)
    (folder / ".plumbline").write_text(requirements(ROOT))
    return folder


def requirements(project):
    """Hash of the requirements, as the environment stores it."""
    content = (project / "pyproject.toml").read_bytes() + (project / "constraints.txt").read_bytes()
    return f"{hashlib.sha256(content).hexdigest()}  -\n"


def make(*words, cwd=ROOT, **variables):
    # Variables of an outer `make test` must not be passed on.
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS")) and k not in ("VENV", "PYTHON")
    }
    command = ["make", "--no-print-directory", *words, *(f"{name}={value}" for name, value in variables.items())]
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=60)


def arguments(done):
    assert done.returncode == 0, done.stderr
    return [line[1:-1] for line in done.stdout.splitlines() if line.startswith("[")]


def test_help_is_the_default_and_names_every_target(environment):
    printed = make(VENV=environment).stdout
    targets = ["setup", "doctor", "train", "ablation", "pseudo-labels", "vanishing", "evaluate", "predict", "data"]
    for target in (*targets, "submit", "test", "lint", "bench", "clean"):
        assert f"\n  {target} " in printed
    # One column of explanations.
    rows = [line for line in printed.splitlines() if line.startswith("  ") and "=dir" not in line]
    starts = {len(line) - len(line[2:].partition(" ")[2].lstrip()) for line in rows}
    assert len(starts) == 1


@pytest.mark.parametrize("root", ["/data/nyu depth", 'it\'s "here"', "a;b & c"])
def test_paths_with_any_characters_are_one_word(environment, root):
    done = make("train", EXP="resnet_unet", DATA="rooms", ROOT=root, ARGS="--trainer.max_steps 3", VENV=environment)
    data = ["--data", "experiments/data/rooms.yaml", "--data.init_args.root", root]
    words = ["--config", "experiments/resnet_unet.yaml", *data, "--trainer.max_steps", "3"]
    assert arguments(done) == ["-m", "tools.prepare_inputs", *words, "-m", "cli", "fit", *words]
    done = make("evaluate", EXP="resnet_unet", CKPT=root, VENV=environment)
    assert arguments(done) == ["-m", "cli", "test", "--config", "experiments/resnet_unet.yaml", "--ckpt_path", root]
    done = make("predict", EXP="", CKPT=root, IN=f"{root}/*.png", OUT=f"{root} out", VENV=environment)
    paths = ["--checkpoint", root, "--input", f"{root}/*.png", "--output", f"{root} out"]
    assert arguments(done) == ["-m", "tools.predict", *paths]
    done = make("pseudo-labels", DATA="rooms", ROOT=root, TEACHER=f"{root}.ckpt", OUT=f"{root}.h5", VENV=environment)
    made = ["--teacher", f"{root}.ckpt", "--kind", "semantic", "--out", f"{root}.h5"]
    assert arguments(done) == ["-m", "tools.pseudo_labels", *data, *made]
    done = make("manifest", IMAGES=f"{root}/*.jpg", DEPTHS=f"{root}/*.png", OUT=f"{root}.csv", VENV=environment)
    paths = ["--images", f"{root}/*.jpg", "--depths", f"{root}/*.png", "--out", f"{root}.csv"]
    assert arguments(done) == ["-m", "tools.make_manifest", *paths]
    done = make("vanishing", DATA="rooms", ROOT=root, OUT=f"{root}.h5", ARGS="--split val", VENV=environment)
    assert arguments(done) == ["-m", "tools.vanishing", *data, "--out", f"{root}.h5", "--split", "val"]


@pytest.mark.parametrize(
    "name", ["", "nothing", "_defaults", "data/rooms", "../pyproject", "resnet_unet lite_unet", "%"]
)
@pytest.mark.parametrize("target", ["train", "submit", "evaluate"])
def test_an_unknown_experiment_lists_the_known_ones_and_installs_nothing(tmp_path, target, name):
    done = make(target, EXP=name, CKPT="x", VENV=tmp_path / "env")
    assert done.returncode == 2
    assert "resnet_unet " in done.stderr
    assert "_defaults " not in done.stderr
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("target", ["train", "evaluate", "data", "pseudo-labels", "vanishing"])
def test_unknown_data_is_one_sentence_with_the_known_names_and_installs_nothing(tmp_path, target):
    done = make(target, EXP="resnet_unet", CKPT="x", TEACHER="x", OUT="x", DATA="typ'o", VENV=tmp_path / "env")
    assert done.returncode == 2
    names = " ".join(sorted(path.stem for path in (ROOT / "experiments" / "data").glob("[!_]*.yaml")))
    assert done.stderr.splitlines()[0] == f"There is no data 'typ'o'. Known data: {names}."
    assert not (tmp_path / "env").exists()


def test_a_job_has_the_data_and_the_size_of_the_command(environment, tmp_path):
    for name in ("Makefile", "cluster", "experiments", "tools", "pyproject.toml", "constraints.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    size = {"NODES": "2", "GPUS": "4", "TIME": "1:00:00"}
    done = make(
        *("submit", "EXP=resnet_unet", "DATA=rooms", "ROOT=/it's here", "ARGS=--trainer.max_steps 3"),
        *(f"{name}={value}" for name, value in size.items()),
        cwd=tmp_path,
        VENV=environment,
    )
    assert done.returncode == 0, done.stderr
    (job,) = (tmp_path / "runs" / "jobs").glob("resnet_unet-*.sbatch")
    text = job.read_text()
    for option in ("--nodes=2", "--gpus-per-node=4", "--ntasks-per-node=4", "--time=1:00:00"):
        assert f"#SBATCH {option}\n" in text
    command = text.splitlines()[-1].replace("exec bash cluster/slurm.sbatch", "printf '%s\\n'")
    words = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    data = ["--data", "experiments/data/rooms.yaml", "--data.init_args.root", "/it's here"]
    assert words == ["experiments/resnet_unet.yaml", *data, "--trainer.max_steps", "3"]


def test_export_and_compare_pass_their_words_on(environment):
    done = make("export", CKPT="a b.ckpt", OUT="net.onnx", VENV=environment)
    words = ["--checkpoint", "a b.ckpt", "--format", "onnx", "--output", "net.onnx"]
    assert arguments(done) == ["-m", "tools.export", *words]
    done = make("compare", MODELS="a.ckpt hf:org/model", DATA="rooms", ARGS="--alignment median", VENV=environment)
    data = ["--data", "experiments/data/rooms.yaml"]
    models = ["--models+", "a.ckpt", "--models+", "hf:org/model"]
    assert arguments(done) == ["-m", "tools.compare", *data, *models, "--alignment", "median"]
    assert "MODELS is not set" in make("compare", DATA="rooms", VENV=environment).stderr


def test_the_documentation_goes_into_any_folder(environment):
    assert arguments(make("docs", VENV=environment)) == ["-m", "tools.docs_site", "--out", "site"]
    done = make("docs", OUT="a folder", ARGS="--help", VENV=environment)
    assert arguments(done) == ["-m", "tools.docs_site", "--out", "a folder", "--help"]


def test_labels_may_be_depth(environment):
    done = make("pseudo-labels", DATA="frames", TEACHER="a", OUT="b.h5", KIND="depth", VENV=environment)
    words = ["--data", "experiments/data/frames.yaml", "--teacher", "a", "--kind", "depth", "--out", "b.h5"]
    assert arguments(done) == ["-m", "tools.pseudo_labels", *words]


def test_an_ablation_makes_its_inputs_first(environment):
    done = make("ablation", EXP="gam_depth", ARGS="--jobs 2", VENV=environment)
    file = "experiments/ablations/gam_depth.yaml"
    assert arguments(done) == [
        *("-m", "tools.prepare_inputs", "--ablation", file),
        *("-m", "tools.ablation", file, "--jobs", "2"),
    ]


def test_a_sweep_and_a_dashboard_pass_their_project_on(environment):
    done = make("sweep", EXP="gam_depth", PROJECT="my team/x", ARGS="--local", VENV=environment)
    file = "experiments/sweeps/gam_depth.yaml"
    assert arguments(done) == ["-m", "tools.sweep", file, "--project", "my team/x", "--local"]
    assert arguments(make("sweep", EXP="gam_depth", VENV=environment)) == ["-m", "tools.sweep", file]
    done = make("dashboard", PROJECT="team/x", OUT="a b", VENV=environment)
    assert arguments(done) == ["-m", "tools.dashboard", "--project", "team/x", "--out", "a b"]


@pytest.mark.parametrize("name", ["", "nothing", "../no", "gam_depth monodepth2", "it's"])
def test_an_unknown_sweep_lists_the_known_ones_and_installs_nothing(tmp_path, name):
    done = make("sweep", EXP=name, VENV=tmp_path / "env")
    assert done.returncode == 2
    names = " ".join(sorted(path.stem for path in (ROOT / "experiments" / "sweeps").glob("[!_]*.yaml")))
    assert done.stderr.splitlines()[0] == f"There is no sweep '{name}'. Known sweeps: {names}."
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("target", ["train", "ablation"])
def test_nothing_is_trained_if_its_inputs_cannot_be_made(environment, target):
    (environment / "bin" / "python").write_text('#!/bin/sh\n[ "$1" = -c ]\n')  # a Python with which every tool fails
    done = make(target, EXP="gam_depth", VENV=environment)
    assert done.returncode == 2
    assert "Python" not in done.stderr
    assert " cli fit" not in done.stdout
    assert "tools.ablation" not in done.stdout


@pytest.mark.parametrize("name", ["", "nothing", "*", "%", "../no", "gam_depth monodepth2", "it's"])
def test_an_unknown_ablation_lists_the_known_ones_and_installs_nothing(tmp_path, name):
    done = make("ablation", EXP=name, VENV=tmp_path / "env")
    assert done.returncode == 2
    names = " ".join(sorted(path.stem for path in (ROOT / "experiments" / "ablations").glob("[!_]*.yaml")))
    assert done.stderr.splitlines()[0] == f"There is no ablation '{name}'. Known ablations: {names}."
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize(
    ("target", "given", "sentence"),
    [
        ("train", {"EXP": "lite_unett"}, "There is no experiment 'lite_unett'; did you mean 'lite_unet'? Known"),
        (
            "train",
            {"EXP": "Boxinst_Depht"},
            "There is no experiment 'Boxinst_Depht'; did you mean 'boxinst_depth'? Known",
        ),
        ("data", {"DATA": "romms"}, "There is no data 'romms'; did you mean 'rooms'? Known data: "),
        ("sweep", {"EXP": "gamdepth"}, "There is no sweep 'gamdepth'; did you mean 'gam_depth'? Known sweeps: "),
        ("ablation", {"EXP": "gamdepth"}, "There is no ablation 'gamdepth'; did you mean 'gam_depth'? Known"),
        ("pseudo-depth", {"DATA": "rom", "TEACHER": "x"}, "There is no instance data 'rom'. Known: "),
        ("pseudo-depth", {"DATA": "cityscape", "TEACHER": "x"}, "There is no instance data 'cityscape'; did you mean"),
    ],
)
def test_the_nearest_known_name_is_offered(tmp_path, target, given, sentence):
    done = make(target, **given, VENV=tmp_path / "env")
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("predict", {"CKPT": "a", "IN": "b", "OUT": "c"}),
        ("pseudo-labels", {"DATA": "rooms", "TEACHER": "a", "OUT": "b"}),
        ("vanishing", {"DATA": "rooms", "OUT": "b"}),
        ("dashboard", {"PROJECT": "a/b"}),
    ],
)
def test_a_missing_variable_is_named(tmp_path, target, given):
    for name in given:
        done = make(target, **{k: v for k, v in given.items() if k != name}, VENV=tmp_path / "env")
        assert done.returncode == 2
        assert done.stderr.startswith(f"{name} is not set")
    assert not (tmp_path / "env").exists()


def test_clean_leaves_the_environments_alone(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    kept = [tmp_path / folder / "lib" / "__pycache__" for folder in ("env", ".venv", ".venv-gpu")]
    removed = [tmp_path / "networks" / "__pycache__", tmp_path / ".ruff_cache"]
    for folder in (*kept, *removed):
        folder.mkdir(parents=True)
    for venv in ("env", tmp_path / "env"):
        assert make("clean", cwd=tmp_path, VENV=venv).returncode == 0
        assert all(folder.exists() for folder in kept)
        assert not any(folder.exists() for folder in removed)
