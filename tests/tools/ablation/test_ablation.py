"""Ablations with a fake training: started, kept, resumed and failed runs, and the numbers of the tables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import yaml

import cli
from lightning_modules.command_line.experiment_metrics import experiment_metrics
from tools.ablation import runs
from tools.ablation.__main__ import main
from tools.ablation.file import EXPERIMENTS, read_ablation
from tools.ablation.runs import runs_of, starts_of
from tools.ablation.table import paired_interval

CONTENT = {
    "experiment": "mean_depth",
    "common": ["--trainer.max_steps", 7],
    "seeds": [0, 1, 4],
    "baseline": "full",
    "metrics": ["abs_rel_img", "delta1_img"],
    "variants": {
        "full": {},
        "less": {"args": ["--model.init_args.x", False, {"a": 1.5}], "note": "without x"},
    },
}
SCORES = {
    ("full", 0): 0.30,
    ("full", 1): 0.32,
    ("full", 4): 0.28,
    ("less", 0): 0.35,
    ("less", 1): 0.36,
    ("less", 4): 0.34,
}


def option(command, name):
    return command[command.index(name) + 1]


class Training:
    """Fake of ``subprocess.Popen``: writes the record of a run, or behaves as ``orders`` of a test."""

    started: list["Training"]
    orders: dict
    alive = 0
    most_alive = 0

    def __init__(self, command, *, stdin, stdout, stderr, env, start_new_session):
        assert command[:3] == [sys.executable, "-m", "cli"]
        assert start_new_session
        self.command, self.env = command[3:], env
        self.run_id = env["RUN_ID"]
        self.folder = Path(option(command, "--runs_dir")) / option(command, "--experiment") / self.run_id
        self.polls, self.terminated = 0, False
        Training.started.append(self)
        Training.alive += 1
        Training.most_alive = max(Training.most_alive, Training.alive)
        order = Training.orders.get(self.run_id, "finish")
        self.status = 0
        if order == "fail":
            stdout.write(
                b"Epoch 0\nerror: no such thing\n   at all (PLUMBLINE_TRACEBACK=1 shows where)\n" + 400 * b"x " + b"\n"
            )
            self.status = 1
        elif order == "crash":
            stdout.write(b"Traceback (most recent call last):\n  File x\nRuntimeError: broken\n\n")
            self.status = 1
        elif order == "silent":
            self.status = 1
        elif order == "finish":
            variant, seed = self.run_id.removeprefix("study_").rsplit("_s", 1)
            score = SCORES.get((variant, int(seed)), 0.5)
            record = {"test": {"test/abs_rel_img": score, "test/delta1_img": 1 - score}, "fit_minutes": 2.0}
            (self.folder / "run.json").write_text(json.dumps({**record, "commit": "0123456789"}))
        elif order == "interrupt":
            raise KeyboardInterrupt
        self.order = order

    def poll(self):
        self.polls += 1
        if self.order == "hang" or self.polls < 2:
            return None
        Training.alive -= 1
        return self.status

    def terminate(self):
        self.terminated = True

    def wait(self):
        return -15


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", Training)
    monkeypatch.setattr(runs, "_POLL_S", 0.0)
    Training.started, Training.orders, Training.alive, Training.most_alive = [], {}, 0, 0
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
    return str(path)


def started():
    return [training.run_id for training in Training.started]


def test_every_variant_is_trained_with_every_seed(study, capsys):
    assert main([study]) == 0
    names = ["study_full_s0", "study_less_s0", "study_full_s1", "study_less_s1", "study_full_s4", "study_less_s4"]
    assert started() == names
    assert Training.most_alive == 1
    first, second = Training.started[:2]
    assert first.command[:2] == ["fit", "--config"]
    assert Path(first.command[2]).resolve() == (EXPERIMENTS / "mean_depth.yaml").resolve()
    place = ["--experiment", "mean_depth", "--runs_dir", "runs", "--seed_everything", "0"]
    assert first.command[3:] == ["--trainer.max_steps", "7", *place]
    changed = ["--model.init_args.x", "false", '{"a": 1.5}']
    assert second.command[3:] == ["--trainer.max_steps", "7", *changed, *place]
    assert yaml.safe_load(changed[2]) == {"a": 1.5}
    assert first.env.get("OMP_NUM_THREADS") == os.environ.get("OMP_NUM_THREADS")
    printed = capsys.readouterr().out
    assert printed == Path("runs/study.md").read_text()
    assert "| full | 3 | 0.3000 ± 0.0200 | 0.7000 ± 0.0200 |" in printed


def test_a_table_of_a_metric_that_no_run_has_is_refused_with_the_known_ones(study, capsys):
    assert main([study]) == 0
    content = {**CONTENT, "metrics": ["abs_rel_img", "delta1_imgg"]}
    Path(study).write_text(yaml.safe_dump(content, sort_keys=False))
    capsys.readouterr()
    assert main([study, "--table-only"]) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert "no finished run has the metric 'delta1_imgg'; did you mean 'delta1_img'? known are abs_rel_img, del" in line
    assert printed.out == ""


def test_several_at_once_have_one_thread_each(study, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert main([study, "--jobs", "4", "--runs-dir", "elsewhere"]) == 0
    assert Training.most_alive == 4
    assert {training.env["OMP_NUM_THREADS"] for training in Training.started} == {"1"}
    assert len(list(Path("elsewhere/mean_depth").iterdir())) == 6


def test_differences_are_paired_and_their_intervals_are_scipys(study, capsys):
    main([study])
    ours = np.array([SCORES["less", seed] for seed in CONTENT["seeds"]])
    theirs = np.array([SCORES["full", seed] for seed in CONTENT["seeds"]])
    interval = scipy.stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    mean, low, high = paired_interval(list(ours - theirs))
    np.testing.assert_allclose([mean, low, high], [np.mean(ours - theirs), interval.low, interval.high], rtol=1e-12)
    assert low > 0
    assert f"| less | **{mean:+.4f} [{low:+.4f}, {high:+.4f}]** | **" in capsys.readouterr().out


def test_an_interval_that_holds_zero_is_not_bold(study, capsys, monkeypatch):
    monkeypatch.setitem(SCORES, ("less", 4), 0.25)
    main([study])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| less | +")]
    assert "*" not in row
    mean, low, high = paired_interval([0.05, 0.04, -0.03])
    assert row.startswith(f"| less | {mean:+.4f} [{low:+.4f}, {high:+.4f}] | ")


@pytest.mark.parametrize("n", [2, 3, 10])
def test_intervals_for_any_number_of_seeds(n):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    result = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    mean, low, high = paired_interval(list(differences), confidence=0.9)
    np.testing.assert_allclose([mean, low, high], [differences.mean(), result.low, result.high], rtol=1e-12)


def test_one_seed_has_a_difference_but_no_interval(study, capsys):
    content = {**CONTENT, "seeds": [4]}
    Path(study).write_text(yaml.safe_dump(content))
    assert main([study]) == 0
    printed = capsys.readouterr().out
    assert "| full | 1 | 0.2800 | 0.7200 |" in printed
    assert "| less | +0.0600 | -0.0600 |" in printed


def test_finished_runs_are_kept_and_interrupted_ones_continue(study):
    main([study])
    folder = Path("runs/mean_depth/study_full_s1")
    (folder / "run.json").write_text(json.dumps({"fit_minutes": 1.0}))  # trained, but not tested
    for name, age in (("best.ckpt", 1), ("last.ckpt", 2)):
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / name).touch()
        os.utime(folder / "checkpoints" / name, (1000 - age, 1000 - age))
    fresh = Path("runs/mean_depth/study_less_s4")
    (fresh / "run.json").unlink()
    Training.started = []
    assert main([study]) == 0
    assert started() == ["study_full_s1", "study_less_s4"]
    assert option(Training.started[0].command, "--ckpt_path") == str(folder / "checkpoints" / "last.ckpt")
    assert "--ckpt_path" not in Training.started[1].command
    Training.started = []
    (folder / "run.json").unlink()
    (folder / "checkpoints" / "last.ckpt").unlink()
    main([study])
    assert option(Training.started[0].command, "--ckpt_path") == str(folder / "checkpoints" / "best.ckpt")


def test_a_failed_run_is_reported_and_the_others_continue(study, capsys):
    Training.orders = {"study_full_s0": "fail", "study_less_s1": "crash", "study_full_s4": "nothing"}
    assert main([study, "--jobs", "2"]) == 1
    assert len(started()) == 6
    out, err = capsys.readouterr()
    failures = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert max(len(line) for line in failures) < 420
    assert sorted(line.split(" (")[0] for line in failures) == [
        "failed: full, seed 0: exit status 1: error: no such thing at all",
        "failed: full, seed 4: ended without a test result; see runs/mean_depth/study_full_s4/console.log",
        "failed: less, seed 1: exit status 1: RuntimeError: broken",
    ]
    assert "| full | 1 | 0.3200 |" in out
    assert "| less | 2 | 0.3450 ± 0.0071 |" in out
    assert "| less |  |  |" in out  # no seed has both
    assert "3 of 6 runs" in out
    Training.orders, Training.started = {}, []
    assert main([study]) == 0
    assert started() == ["study_full_s0", "study_less_s1", "study_full_s4"]


def test_the_reason_of_a_failure_is_from_the_last_attempt(study, capsys):
    for order, words in (("fail", "no such thing at all"), ("crash", "RuntimeError: broken"), ("silent", "no output")):
        Training.orders = {"study_full_s0": order}
        capsys.readouterr()
        assert main([study]) == 1
        assert (
            f"failed: full, seed 0: exit status 1: {'error: ' if order == 'fail' else ''}{words}"
            in capsys.readouterr().err
        )


def test_table_only_trains_nothing(study, capsys):
    assert main([study, "--table-only"]) == 1
    assert "no run of study is finished below runs" in capsys.readouterr().err
    main([study])
    expected = capsys.readouterr().out
    Training.started = []
    assert main([study, "--table-only"]) == 0
    assert capsys.readouterr().out == expected
    assert started() == []


def test_a_damaged_record_is_named_and_the_others_are_counted(study, capsys):
    main([study])
    torn = next(Path("runs").rglob("run.json"))
    torn.write_text('{"test": {')
    capsys.readouterr()
    assert main([study, "--table-only"]) == 0
    said = capsys.readouterr().err
    assert f"{torn} or " in said
    assert f"(char 10)): move {torn.parent} elsewhere to train it again" in said
    assert "delete" not in said


def test_runs_of_other_settings_are_neither_kept_nor_counted(study, capsys):
    main([study])
    changed = {**CONTENT, "variants": {**CONTENT["variants"], "less": {"args": ["--other", 1]}}}
    Path(study).write_text(yaml.safe_dump(changed))
    Training.started = []
    capsys.readouterr()
    assert main([study]) == 1
    out, err = capsys.readouterr()
    assert started() == []
    assert "trained with other settings (--trainer.max_steps 7 --model.init_args.x false" in err
    assert "| less | 0 |  |  |" in out
    assert "3 of 6 runs" in out


def test_settings_may_change_before_the_first_checkpoint(study):
    Training.orders = {"study_less_s0": "fail"}
    main([study])
    changed = {**CONTENT, "seeds": [0], "variants": {**CONTENT["variants"], "less": {"args": ["--other", 1]}}}
    Path(study).write_text(yaml.safe_dump(changed))
    Training.started, Training.orders = [], {}
    assert main([study]) == 0
    assert started() == ["study_less_s0"]


def with_start(path):
    start = {"name": "motion", "experiment": "lite_unet", "args": ["--trainer.max_steps", 3]}
    Path(path).write_text(yaml.safe_dump({**CONTENT, "seeds": [0, 1], "start": start}))


def test_variants_of_a_seed_start_from_the_last_weights_of_its_start(study, capsys):
    with_start(study)
    assert main([study]) == 0
    variants = ["study_full_s0", "study_less_s0", "study_full_s1", "study_less_s1"]
    assert started() == ["start_motion_s0", "start_motion_s1", *variants]
    start, last = Training.started[0], Training.started[-1]
    assert Path(start.command[2]).name == "lite_unet.yaml"
    place = ["--experiment", "lite_unet", "--runs_dir", "runs", "--seed_everything", "0"]
    assert start.command[3:] == ["--trainer.max_steps", "3", *place]
    assert last.command[6:] == [
        "false",
        '{"a": 1.5}',
        "--trainer.callbacks+=lightning_modules.callbacks.start_from.StartFrom",
        "--trainer.callbacks.checkpoint=runs/lite_unet/start_motion_s1/checkpoints/last.ckpt",
        *["--experiment", "mean_depth", "--runs_dir", "runs", "--seed_everything", "1"],
    ]
    printed = capsys.readouterr().out
    assert "all variants of a seed start from the last weights of `lite_unet` with `--trainer.max_steps 3`" in printed
    assert "4 of 4 runs" in printed
    Training.started = []
    assert main([study]) == 0
    assert started() == []


def test_some_variants_and_seeds_are_trained_with_the_starts_that_they_need(study, capsys):
    with_start(study)
    assert main([study, "--variants", "less", "--seeds", "1"]) == 0
    assert started() == ["start_motion_s1", "study_less_s1"]
    printed = capsys.readouterr().out
    assert "| full | 0 |" in printed
    assert "1 of 4 runs" in printed
    Training.started = []
    assert main([study, "--seeds", "1"]) == 0  # the table then has both
    assert started() == ["study_full_s1"]
    assert "2 of 4 runs" in capsys.readouterr().out
    Training.started = []
    assert main([study]) == 0
    assert started() == ["start_motion_s0", "study_full_s0", "study_less_s0"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--variants", "les"], "error: --variants: the ablation study has no variant 'les'; did you mean 'less'?"),
        (["--variants", "full", "zzz"], "error: --variants: the ablation study has no variant 'zzz'; there are full, "),
        (["--seeds", "2"], "error: --seeds: the ablation study has no seed 2; its seeds are 0, 1, 4."),
    ],
)
def test_a_choice_of_what_there_is_not_is_one_sentence(study, words, sentence, capsys):
    assert main([study, *words]) == 1
    assert capsys.readouterr().err.startswith(sentence)
    assert started() == []


def test_nothing_is_trained_without_its_start(study, capsys):
    with_start(study)
    Training.orders = {"start_motion_s0": "fail"}
    assert main([study]) == 1
    assert started() == ["start_motion_s0", "start_motion_s1", "study_full_s1", "study_less_s1"]
    assert "failed: start motion, seed 0: exit status 1: error: no such thing" in capsys.readouterr().err


def test_an_interrupt_stops_all_trainings(study, capsys):
    Training.orders = {"study_full_s0": "hang", "study_less_s0": "hang", "study_full_s1": "interrupt"}
    assert main([study, "--jobs", "3"]) == 130
    assert [training.terminated for training in Training.started] == [True, True, False]
    assert len(started()) == 3
    assert "run the same command to continue" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"has the unknown key 'seed'; did you mean 'seeds'\?"),
        ({"colour": 1}, "has the unknown key 'colour'; known are common, experiment, seeds"),
        ({"metrics": None}, "metrics is None, but a list of names is needed"),
        ({"metrics": []}, r"metrics is \[\], but"),
        ({"seeds": [0, 0]}, r"seeds is \[0, 0\], but a list of different whole numbers"),
        ({"seeds": [True]}, r"seeds is \[True\]"),
        ({"baseline": "fulll"}, "baseline 'fulll' is none of full, less"),
        ({"experiment": "nothing"}, "no experiment 'nothing' in "),
        ({"experiment": "mean_dept"}, r"no experiment 'mean_dept' in .*; did you mean 'mean_depth'\?"),
        ({"experiment": "../pyproject"}, "experiment is '../pyproject', but it becomes a folder's name"),
        ({"common": "--x 1"}, "common is '--x 1', but a list of command line arguments"),
        ({"variants": {}}, r"variants is \{\}, but a mapping"),
        (
            {"variants": {"full": {"arguments": []}}},
            "variant 'full' has the unknown key 'arguments'; did you mean 'args'",
        ),
        ({"variants": {"full": ["--x"]}}, r"variant 'full' is \['--x'\], but a mapping"),
        ({"start": {"name": "x"}}, "start lacks the key 'experiment'"),
        ({"start": {"name": "x/y", "experiment": "mean_depth"}}, "start is 'x/y', but it becomes a folder's name"),
        ({"start": {"name": "x", "experiment": "nothing"}}, "no experiment 'nothing' in "),
        ({"start": {"name": "x", "experiment": "mean_depth", "args": "--y"}}, "start: args is '--y', but a list"),
        ({"variants": {"full/x": {}}}, "variant is 'full/x', but it becomes a folder's name"),
    ],
)
def test_a_wrong_file_is_named_in_one_sentence(study, change, message, capsys):
    Path(study).write_text(yaml.safe_dump({**CONTENT, **change}))
    with pytest.raises(ValueError, match=message):
        read_ablation(Path(study))
    assert main([study]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert started() == []


def test_files_of_another_kind_are_refused(study, capsys):
    Path(study).write_text("a: [")
    assert main([study]) == 1
    assert "is no YAML" in capsys.readouterr().err
    Path(study).write_text("- a")
    assert main([study]) == 1
    assert "holds a list, where a mapping" in capsys.readouterr().err
    Path(study).write_text("experiment: mean_depth")
    assert main([study]) == 1
    assert "lacks the key 'seeds'" in capsys.readouterr().err
    assert main(["missing.yaml"]) == 1
    assert "missing.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([study, "--jobs", "0"])


def test_every_variant_of_every_ablation_is_a_valid_command(capsys, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)  # their paths are relative to it
    for path in sorted((EXPERIMENTS / "ablations").glob("[!_]*.yaml")):
        runs = runs_of(read_ablation(path), Path("runs"))
        for run in {run.variant: run for run in [*runs, *starts_of(read_ablation(path), Path("runs"))]}.values():
            with pytest.raises(SystemExit) as end:
                cli.main([*run.command, "--print_config"])
            assert end.value.code == 0, f"{path.stem}, {run.variant}: {end.value.code} {capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (["abs_rel_imgg"], "no run has the metric 'abs_rel_imgg'; did you mean 'abs_rel_img'? known are abs_rel_img, "),
        (["abs_rel_img", "abs_rel_img_median"], "no run has the metric 'abs_rel_img_median'; did you mean"),
        (["zzz"], "no run has the metric 'zzz'; known are abs_rel_img, delta1_img"),
    ],
)
def test_an_unknown_metric_is_refused_before_anything_is_trained(study, metrics, sentence, capsys):
    less = {"args": ["--model.init_args.optimisation.interval", "epoch"]}
    Path(study).write_text(yaml.safe_dump({**CONTENT, "metrics": metrics, "variants": {"full": {}, "less": less}}))
    assert main([study]) == 1
    assert sentence in capsys.readouterr().err
    assert Training.started == []
    assert not Path("runs").exists()


def test_a_metric_of_one_variant_alone_is_known(study):
    median = {"args": ["--model.init_args.evaluation.alignment", "median"]}
    content = {**CONTENT, "metrics": ["abs_rel_img_median"], "variants": {"full": {}, "less": median}}
    Path(study).write_text(yaml.safe_dump(content))
    main([study])
    assert len(Training.started) == 6


def test_metrics_of_every_ablation_are_those_of_its_runs():
    for path in sorted((EXPERIMENTS / "ablations").glob("[!_]*.yaml")):
        ablation = read_ablation(path)
        words = next(iter(runs_of(ablation, Path("runs")))).command[1:]
        assert set(ablation.metrics) <= experiment_metrics(words), path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--jobs", "two"], "--jobs: 'two' is not a whole number"),
        (["--jbos", "2"], "there is no option '--jbos'; did you mean '--jobs'?"),
        ([], "file is missing"),
    ],
)
def test_a_wrong_call_is_one_sentence(study, words, sentence, capsys):
    with pytest.raises(SystemExit) as left:
        main([study, *words] if words else [])
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {sentence}")
    assert printed.count("\n") == 1
