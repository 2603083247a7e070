"""Missing label files are made before a training, in order and once; those that cannot be made are one sentence."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import tools.prepare_inputs as prepare_inputs
from lightning_modules.command_line.extends import read_settings
from structures.label_writer import LabelWriter
from tools.prepare_inputs import (
    DEPTH_TEACHER,
    DEPTH_TEACHER_ARGUMENTS,
    ROOMS,
    SEGMENTER,
    data_settings,
    main,
    trainings,
)

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
GAM = str(EXPERIMENTS / "gam_depth.yaml")
LABELS, DIRECTIONS = Path("data/labels/rooms_semantic.h5"), Path("data/labels/rooms_vanishing.h5")
TEACHER = Path("runs/segmenter/teacher")


def write(path, kind):
    with LabelWriter(path, kind=kind, teacher="t", settings={}) as writer:
        writer.write("a", np.ones((3, 3), np.uint8) if kind == "semantic" else np.eye(3))
        writer.finish()


@pytest.fixture
def commands(monkeypatch):
    """List of commands that would be run; each writes the files of the real command."""
    called = []

    def run(*words, environment=None):
        called.append((list(words), environment))
        if words[0] == "cli":
            finish_teacher()
        else:
            out = words[words.index("--out") + 1]
            write(out, "semantic" if words[0] == "tools.pseudo_labels" else "vanishing")

    monkeypatch.setattr(prepare_inputs, "run", run)
    return called


def finish_teacher(record='{"test": {"test/score": 0.5}}'):
    (TEACHER / "checkpoints").mkdir(parents=True, exist_ok=True)
    (TEACHER / "checkpoints" / "best.ckpt").touch()
    (TEACHER / "run.json").write_text(record)


def experiment(folder, data):
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({"model": {}, "data": data}))
    return path


def test_a_fresh_experiment_gets_teacher_labels_and_directions_in_this_order(commands, capsys):
    assert main(["--config", GAM, "--trainer.max_steps", "3"]) == 0
    data = ["--data", str(EXPERIMENTS / "data" / "rooms_video_labelled.yaml")]
    (teacher, environment), (labels, _), (directions, _) = commands
    assert teacher == ["cli", "fit", "--config", str(SEGMENTER)]
    assert environment == {"RUN_ID": "teacher"}
    assert labels == [
        *("tools.pseudo_labels", *data, "--data.init_args.fields", "[semantic]"),
        *("--data.init_args.image_size", "[96, 128]", "--teacher", str(TEACHER / "checkpoints" / "best.ckpt")),
        *("--kind", "semantic", "--out", str(LABELS)),
    ]
    assert directions == ["tools.vanishing", *data, "--settings.min_length", "0.05", "--out", str(DIRECTIONS)]
    printed = capsys.readouterr().out
    assert "about 15 minutes" in printed
    assert "labels ready after" in printed
    # Existing files are not made again, and nothing is printed.
    assert main(["--config", GAM]) == 0
    assert len(commands) == 3
    assert capsys.readouterr().out == ""


def test_pseudo_depth_is_predicted_by_a_network_trained_on_other_scenes(commands, capsys):
    config = str(EXPERIMENTS / "boxinst_depth.yaml")
    where = ["--data.init_args.root", "/some where"]
    assert main(["--config", config, *where]) == 0
    (teacher, environment), (labels, _) = commands
    assert teacher == ["cli", "fit", "--config", str(DEPTH_TEACHER), *where, *DEPTH_TEACHER_ARGUMENTS]
    assert teacher[teacher.index("--data.init_args.parts") + 1] == "[video]"
    assert environment == {"RUN_ID": "depth_teacher"}
    assert labels == [
        *("tools.pseudo_labels", "--data", str(EXPERIMENTS / "data" / "rooms_instances_depth.yaml"), *where),
        *("--data.init_args.image_size", "[96, 128]"),
        *("--teacher", "runs/lite_unet/depth_teacher/checkpoints/best.ckpt", "--kind", "depth"),
        *("--out", "data/labels/rooms_instances_depth.h5"),
    ]
    assert "about 10 minutes" in capsys.readouterr().out
    assert main(["--config", config, *where]) == 0
    assert len(commands) == 2
    exact = ["--data.init_args.pseudo_depth=exact", "--data.init_args.pseudo_depth_file=null"]
    Path("data/labels/rooms_instances_depth.h5").unlink()
    assert main(["--config", config, *exact]) == 0
    assert len(commands) == 2


def test_missing_depth_of_other_data_is_refused(commands, capsys):
    assert main(["--config", str(EXPERIMENTS / "boxinst_depth_coco.yaml")]) == 1
    assert capsys.readouterr().err.startswith(
        "error: data/labels/coco_depth.h5 does not exist: make pseudo-labels DATA=... TEACHER=... OUT=... KIND=depth "
    )
    assert not commands


def test_only_what_is_missing_is_made(commands):
    write(LABELS, "semantic")
    assert main(["--config", GAM]) == 0
    assert [words[0] for words, _ in commands] == ["tools.vanishing"]


def test_a_finished_teacher_is_reused_and_an_interrupted_one_resumed(commands):
    finish_teacher()
    assert main(["--config", GAM]) == 0
    assert [words[0] for words, _ in commands] == ["tools.pseudo_labels", "tools.vanishing"]
    commands.clear()
    LABELS.unlink()
    finish_teacher(record='{"steps": 70}')
    (TEACHER / "checkpoints" / "last.ckpt").touch()
    assert main(["--config", GAM]) == 0
    assert commands[0][0] == ["cli", "fit", "--config", str(SEGMENTER), "--ckpt_path", "last"]


@pytest.mark.parametrize("joined", [True, False])
def test_root_and_content_of_the_data_reach_all_commands(commands, joined):
    overrides = {"root": "/some where", "processes": "0", "settings.n_stills": "5", "image_size": "[64, 64]"}
    words = [w for name, text in overrides.items() for w in (f"--data.init_args.{name}", text)]
    given = [f"{name}={text}" for name, text in zip(words[::2], words[1::2], strict=True)] if joined else words
    assert main(["--config", GAM, *given]) == 0
    handed_on = words[:6]  # the image size of the clips does not apply to the teacher
    for called, _ in commands:
        assert " ".join(handed_on) in " ".join(called)
        assert "[64, 64]" not in called


@pytest.mark.parametrize(
    "words",
    [
        ["--data.init_args.proxy_labels=null", "--data.init_args.vanishing=null"],
        ["--data.init_args.proxy_labels", "null", "--data.init_args.vanishing", "null"],
        ["--data.proxy_labels=null", "--data.vanishing", "null"],
        ["--data", str(EXPERIMENTS / "data" / "rooms_video.yaml")],
        [f"--data={EXPERIMENTS / 'data' / 'rooms_video.yaml'}"],
        ["--data=datamodules.rooms.video.RoomsVideoDataModule"],
    ],
)
def test_arguments_that_need_no_labels_run_nothing(commands, words):
    assert main(["--config", GAM, *words]) == 0
    assert not commands


def test_settings_are_those_of_the_file_with_the_arguments_applied(tmp_path):
    config = EXPERIMENTS / "gam_depth.yaml"
    words = ["--data.init_args.window=3", "--data.init_args.proxy_labels", "x y.h5", "--data.init_args.root=a=b"]
    settings, handed_on = data_settings(config, ["--trainer.max_steps=3", *words, "--model.init_args.x", "1"])
    file = EXPERIMENTS / "data" / "rooms_video_labelled.yaml"
    expected = read_settings(file)
    expected["init_args"] |= {"window": 3, "proxy_labels": "x y.h5", "root": "a=b"}
    assert settings == expected
    assert handed_on == ["--data", str(file), "--data.init_args.root", "a=b"]
    inline = {"class_path": "some.Data", "init_args": {"root": "x"}}
    assert data_settings(experiment(tmp_path, inline), []) == (inline, ["--data", json.dumps(inline)])
    bare = experiment(tmp_path, {"class_path": "some.Data"})
    assert data_settings(bare, ["--data.init_args.window=3"])[0]["init_args"] == {"window": 3}


def test_missing_labels_of_other_data_are_refused(commands, capsys):
    assert main(["--config", str(EXPERIMENTS / "gam_depth_nyuv2.yaml")]) == 1
    assert capsys.readouterr().err == (
        "error: data/labels/nyuv2_semantic.h5 does not exist: make pseudo-labels DATA=... TEACHER=... OUT=... makes "
        "it, or set it to null and leave out its loss terms\n"
    )
    write("data/labels/nyuv2_semantic.h5", "semantic")
    assert main(["--config", str(EXPERIMENTS / "gam_depth_nyuv2.yaml")]) == 1
    assert capsys.readouterr().err.startswith("error: data/labels/nyuv2_vanishing.h5 does not exist: make vanishing")
    assert not commands


def test_the_exit_code_of_a_failed_command_is_returned(monkeypatch, capsys):
    called = []

    def fail(words, **settings):
        called.append(words)
        raise subprocess.CalledProcessError(7, words)

    monkeypatch.setattr(prepare_inputs.subprocess, "run", fail)
    assert main(["--config", GAM]) == 7
    assert called == [[sys.executable, "-m", "cli", "fit", "--config", str(SEGMENTER)]]
    assert not capsys.readouterr().err  # the command has printed the reason


def test_a_command_that_leaves_no_labels_is_noticed(monkeypatch, capsys):
    finish_teacher()
    monkeypatch.setattr(prepare_inputs, "run", lambda *words, environment=None: None)
    assert main(["--config", GAM]) == 1
    assert "there is no label file 'data/labels/rooms_semantic.h5'" in capsys.readouterr().err


def test_commands_run_with_this_python_and_environment(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("KEPT", "1")
    text = "import os, sys\nopen('out', 'w').write(f'{sys.argv[1:]} {os.environ[\"KEPT\"]} {os.environ[\"ADDED\"]}')\n"
    (tmp_path / "noting.py").write_text(text)
    prepare_inputs.run("noting", "a b", environment={"ADDED": "2"})
    assert Path("out").read_text() == "['a b'] 1 2"
    (tmp_path / "failing.py").write_text("raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError):
        prepare_inputs.run("failing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "is no YAML"),
        ("just words", "holds a single value, where a mapping of settings"),
        ("model: {}", "names no data"),
        ("data: data/none.yaml", "the data file 'data/none.yaml' of"),
    ],
)
def test_broken_files_have_one_sentence(tmp_path, capsys, text, message):
    (tmp_path / "experiment.yaml").write_text(text)
    assert main(["--config", str(tmp_path / "experiment.yaml")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["--config"], ["--data", "x"], ["x.yaml"]])
def test_a_wrong_call_prints_the_usage(capsys, words):
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: give --config experiments/NAME.yaml")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (EXPERIMENTS / "gam_dept.yaml", "gam_dept.yaml does not exist; did you mean 'gam_depth'?\n"),
        (EXPERIMENTS, "experiments is a folder: a YAML file of settings is needed\n"),
    ],
)
def test_a_missing_file_is_one_sentence_with_the_nearest_name(capsys, path, sentence):
    assert main(["--config", str(path)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.endswith(sentence)


def test_the_inputs_of_an_ablation_are_those_of_its_variants(commands, tmp_path):
    assert main(["--ablation", str(EXPERIMENTS / "ablations" / "gam_depth_true_poses.yaml")]) == 0
    assert not commands  # none of its variants uses labels
    assert main(["--ablation", str(EXPERIMENTS / "ablations" / "gam_depth.yaml")]) == 0
    assert [words[0] for words, _ in commands] == ["cli", "tools.pseudo_labels", "tools.vanishing"]


def test_trainings_of_an_ablation_are_its_variants(tmp_path):
    path = tmp_path / "ablations" / "x.yaml"
    path.parent.mkdir()
    content = {"experiment": "e", "common": ["--trainer.max_steps", 5], "variants": {"a": None, "b": {"args": ["-b"]}}}
    path.write_text(yaml.safe_dump(content))
    common = ["--trainer.max_steps", "5"]
    assert trainings(path) == [(tmp_path / "e.yaml", common), (tmp_path / "e.yaml", [*common, "-b"])]
    path.write_text("experiment: e")
    with pytest.raises(ValueError, match="is no ablation: it needs an experiment and variants"):
        trainings(path)


def test_the_inputs_of_every_experiment_can_be_made(commands, capsys):
    for config in sorted(EXPERIMENTS.glob("[a-z]*.yaml")):
        code = main(["--config", str(config)])
        rooms = read_settings(EXPERIMENTS / read_settings(config)["data"])
        assert code == 0 or rooms["class_path"] != ROOMS, config


def test_an_experiment_without_missing_inputs_costs_a_fraction_of_a_second():
    command = [sys.executable, "-X", "importtime", "-m", "tools.prepare_inputs", "--config"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, str(EXPERIMENTS / "resnet_unet.yaml")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert time.perf_counter() - started < 10  # on a busy machine
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "lightning", "cv2", "scipy"} & imported
