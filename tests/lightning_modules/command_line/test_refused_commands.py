"""Wrong command lines: one line with the whole key, the value, what is expected and the nearest name; exit code 2."""

from argparse import ArgumentError
from pathlib import Path

import pytest
import yaml

from cli import PlumblineCLI, main

ROOT = Path(__file__).parents[3]
EXPERIMENTS = ROOT / "experiments"
EXPERIMENT = str(EXPERIMENTS / "lite_unet.yaml")
MODEL, DATA = "model.init_args", "data.init_args"
STOPPING = "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping"
NEVER = (
    "Union",
    "subtypes",
    "Does not validate",
    "Traceback",
    "<class",
    "typing.",
    "usage:",
    "Parser key",
    "NestedArg",
)


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch):
    def fail(*_):
        raise AssertionError("the command was accepted")

    monkeypatch.setattr(PlumblineCLI, "before_instantiate_classes", fail)


def refused(words, capsys):
    """The one line that a wrong command ends in."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.endswith("\n")
    assert printed.count("\n") == 1, "one line"
    assert not [text for text in NEVER if text in printed]
    assert not Path("runs").exists()
    return printed


CASES = [
    # unknown settings
    (["--trainer.max_stepz", "5"], "trainer.max_stepz: there is no such setting; did you mean 'trainer.max_steps'?"),
    (["--trainr.max_steps", "5"], "trainr.max_steps: there is no such setting; did you mean 'trainer.max_steps'?"),
    (["--max_steps", "5"], "max_steps: there is no such setting; did you mean 'trainer.max_steps'?"),
    (
        ["--optimizer", "Adam"],
        "optimizer: there is no such setting; did you mean 'model.init_args.optimisation.optimizer'?",
    ),
    (["--print_confg"], "there is no option '--print_confg'; did you mean '--print_config'?"),
    (["--confg", "x.yaml"], "confg: there is no such setting; did you mean '--config'?"),
    (["--print_confg", "x"], "print_confg: there is no such setting; did you mean '--print_config'?"),
    (["-x"], "there is no option '-x'"),
    (["extra"], "'extra' is one word too many"),
    (
        [f"--{DATA}.batch_sise", "4"],
        f"{DATA}.batch_sise: RoomsDataModule has no argument 'batch_sise'; did you mean 'batch_",
    ),
    (
        ["--data.batch_sise=4"],
        f"{DATA}.batch_sise: RoomsDataModule has no argument 'batch_sise'; did you mean 'batch_size'?",
    ),
    (
        [f"--{MODEL}.los_weights", "{l1: 1}"],
        f"{MODEL}.los_weights: SupervisedDepth has no argument 'los_weights'; did you",
    ),
    (
        ["--model.evaluation.alignmnt=none"],
        f"{MODEL}.evaluation.alignmnt: there is no such setting; did you mean 'alignment'?",
    ),
    (
        ["--model.optimisation={optimizr: torch.optim.Adam}"],
        f"{MODEL}.optimisation.optimizr: there is no such setting; did you mean 'optimizer'?",
    ),
    (
        ["--model.evaluation.xyz=1"],
        f"{MODEL}.evaluation.xyz: there is no such setting; there are alignment, min_depth_m, max_",
    ),
    (
        ["--model.evaluation.max_depth=80"],
        f"{MODEL}.evaluation.max_depth: there is no such setting; did you mean 'max_depth_m'?",
    ),
    # settings that have moved into a group
    (
        ["--model.alignment=none"],
        f"{MODEL}.alignment: SupervisedDepth has no argument 'alignment'; did you mean '{MODEL}.evaluation.alignment'?",
    ),
    ([f"--{MODEL}.max_depth_m=80"], f"did you mean '{MODEL}.evaluation.max_depth_m'?"),
    ([f"--{MODEL}.optimizer", "torch.optim.SGD"], f"did you mean '{MODEL}.optimisation.optimizer'?"),
    ([f"--{MODEL}.optimizer.init_args.lr", "1"], f"did you mean '{MODEL}.optimisation.optimizer'?"),
    ([f"--{MODEL}.lr_scheduler=null"], f"did you mean '{MODEL}.optimisation.lr_scheduler'?"),
    ([f"--{MODEL}.lr_scheduler_interval", "epoch"], f"did you mean '{MODEL}.optimisation.interval'?"),
    ([f"--{MODEL}.lr_monitor", "val/score"], f"did you mean '{MODEL}.optimisation.monitor'?"),
    (["--average", "pixel"], "average: there is no such setting; did you mean 'model.init_args.evaluation.average'?"),
    (
        [f"--{MODEL}.network.init_args.alignmnt=none"],
        f"{MODEL}.network.init_args.alignmnt: UNetDepth has no argument 'alignmnt'",
    ),
    (
        [f"--{MODEL}.network.init_args.encodr", "x"],
        f"{MODEL}.network.init_args.encodr: UNetDepth has no argument 'encodr'",
    ),
    (
        [f"--{MODEL}.optimisation.optimizer.init_args.lrr", "1"],
        f"{MODEL}.optimisation.optimizer.init_args.lrr: AdamW has no argument 'lrr'; did you",
    ),
    (
        [f"--{MODEL}.optimisation.lr_scheduler.warmup_fractoin", "1"],
        "WarmupCosine has no argument 'warmup_fractoin'; did you mean 'warm",
    ),
    (
        [f"--{DATA}.augmentation.flp", "1"],
        f"{DATA}.augmentation.init_args.flp: DepthAugmentation has no argument 'flp'",
    ),
    ([STOPPING, "--trainer.callbacks.monitorr=a"], "EarlyStopping has no argument 'monitorr'; did you mean 'monitor'?"),
    # missing
    ([STOPPING], "trainer.callbacks[7].init_args.monitor: EarlyStopping needs it, and it is not set: give a text"),
    (["--trainer.max_steps"], "--trainer.max_steps: a value is missing (a whole number)"),
    (["--config"], "--config: a value is missing"),
    (["--ckpt_path"], "--ckpt_path: a value is missing"),
    (["--data", "null"], "data: null is given, but a class with its settings is needed"),
    (["--model", "null"], "model: null is given, but a class with its settings is needed"),
    (["--trainer.max_steps=null"], "trainer.max_steps: a value is missing (null); a whole number is needed"),
    # wrong types
    (
        [f"--{MODEL}.optimisation.optimizer.init_args.lr", "abc"],
        f"{MODEL}.optimisation.optimizer.init_args.lr: 'abc' is not a number",
    ),
    (["--trainer.max_steps", "abc"], "trainer.max_steps: 'abc' is not a whole number"),
    (["--trainer.max_steps", "1.5"], "trainer.max_steps: 1.5 is not a whole number"),
    ([f"--{DATA}.batch_size", "[4]"], f"{DATA}.batch_size: [4] is not a whole number"),
    ([f"--{DATA}.batch_size", "four"], f"{DATA}.batch_size: 'four' is not a whole number"),
    ([f"--{DATA}.seed=1.5"], f"{DATA}.seed: 1.5 is not a whole number or null"),
    ([f"--{DATA}.image_size", "96"], f"{DATA}.image_size: 96 is not a list of 2 values"),
    ([f"--{DATA}.image_size", "[96]"], f"{DATA}.image_size: [96] has 1 value, but 2 are needed"),
    ([f"--{DATA}.image_size", "[a, 9]"], f"{DATA}.image_size[0]: 'a' is not a whole number"),
    (
        [f"--{DATA}.augmentation.init_args.brightness", "abc"],
        f"{DATA}.augmentation.init_args.brightness: 'abc' is not a li",
    ),
    ([f"--{DATA}.augmentation.flip", "abc"], f"{DATA}.augmentation.init_args.flip: 'abc' is not a number"),
    ([f"--{MODEL}.loss_weights", "{l1: abc}"], f"{MODEL}.loss_weights.l1: 'abc' is not a number"),
    ([f"--{MODEL}.loss_weights.l1", "abc"], f"{MODEL}.loss_weights.l1: 'abc' is not a number"),
    ([f"--{MODEL}.loss_weights", "l1"], f"{MODEL}.loss_weights: 'l1' is not a mapping such as {{name: value}} or null"),
    (["--task_callbacks", "maybe"], "task_callbacks: 'maybe' is not true or false or a list such as [a, b]"),
    ([f"--{MODEL}.evaluation.max_depth_m", "nann"], f"{MODEL}.evaluation.max_depth_m: 'nann' is not a number"),
    ([f"--{MODEL}.evaluation.crop", "[0, 1]"], f"{MODEL}.evaluation.crop: [0, 1] has 2 values, but 4 are needed"),
    ([f"--{MODEL}.evaluation", "5"], f"{MODEL}.evaluation: 5 is no mapping of settings such as {{alignment: value}}"),
    (["--test_after_fit", "maybe"], "test_after_fit: 'maybe' is not true or false"),
    (["--trainer.fast_dev_run", "maybe"], "trainer.fast_dev_run: 'maybe' is not a whole number or true or false"),
    (["--seed_everything", "abc"], "seed_everything: 'abc' is not true or false or a whole number"),
    (["--tags", "a"], "tags: 'a' is not a list such as [a, b]"),
    (["--trainer", "abc"], "trainer: 'abc' is no mapping of settings"),
    (
        ["--trainer.plugins", "abc"],
        "trainer.plugins: 'abc' is not a list such as [a, b] or the class path of a subclass of",
    ),
    # choices
    (
        [f"--{MODEL}.evaluation.alignment", "medain"],
        f"{MODEL}.evaluation.alignment: 'medain' is none of none, median, least_squares; did you mean",
    ),
    (
        [f"--{MODEL}.optimisation.interval", "stp"],
        f"{MODEL}.optimisation.interval: 'stp' is none of step, epoch; did you",
    ),
    (["--trainer.precision", "33"], "trainer.precision: 33 is not one of 64, 32, 16, "),
    (["--trainer.precision", "bf16-mixd"], "did you mean 'bf16-mixed'?"),
    # classes
    (
        ["--model", "lightning_modules.supervised_dept.SupervisedDepth"],
        "has no module 'supervised_dept'; did you mean 'super",
    ),
    (
        ["--model", "lightning_modules.supervised_depth.SupervizedDepth"],
        "no class 'SupervizedDepth'; did you mean 'Supervised",
    ),
    (
        ["--model", "SupervisedDepht"],
        "model: 'SupervisedDepht' is no class path such as package.module.Class; did you mean",
    ),
    (
        ["--model", "torch.nn.Linear"],
        "model: 'torch.nn.Linear' is no subclass of lightning_modules.tasks.base.PaperModule",
    ),
    (["--model", "nosuchpackage.X"], "model: 'nosuchpackage.X' cannot be found: there is no module 'nosuchpackage'"),
    (["--model", ""], "model: '' is no class path"),
    (
        ["--data", "datamodules.room.RoomsDataModule"],
        "data: 'datamodules.room.RoomsDataModule' cannot be found: datamodules",
    ),
    (["--data", "torch.nn.Linear"], "data: 'torch.nn.Linear' is no subclass of datamodules.base.ProjectDataModule"),
    (["--data", str(EXPERIMENTS / "data" / "romms.yaml")], "romms.yaml' does not exist; did you mean 'rooms'?"),
    (
        ["--data", str(EXPERIMENTS / "resnet_unet.yaml")],
        "data: settings of a whole experiment are given where a data module",
    ),
    (
        [f"--{MODEL}.network", "networks.unet.UNett"],
        f"{MODEL}.network: the module networks.unet has no class 'UNett'; did",
    ),
    (
        [f"--{MODEL}.network", "networks.fcnn.FCN"],
        f"{MODEL}.network: 'networks.fcnn.FCN' cannot be found: networks has no",
    ),
    (
        [f"--{MODEL}.optimisation.optimizer", "torch.optim.Adamm"],
        f"{MODEL}.optimisation.optimizer: the module torch.optim has no class 'Adamm'; did",
    ),
    (
        [f"--{MODEL}.optimisation.optimizer.class_path", "torch.nn.Linear"],
        "'torch.nn.Linear' is no subclass of torch.optim.optimizer.Opt",
    ),
    (
        [f"--{MODEL}.optimisation.lr_scheduler", "lightning_modules.schedules.WarmupCosin"],
        "no class 'WarmupCosin'; did you mean 'Warmup",
    ),
    (
        ["--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStoping"],
        "no class 'EarlyStoping'; did you mean 'EarlyStopp",
    ),
]


@pytest.mark.parametrize(
    ("words", "sentence"), CASES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_setting_is_one_sentence(words, sentence, capsys):
    assert sentence in refused(["fit", "--config", EXPERIMENT, *words], capsys)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no command is given: fit, validate, test or predict comes first"),
        (["fitt"], "there is no command 'fitt'; did you mean 'fit'?"),
        (["dance"], "there is no command 'dance'; there are fit, validate, test or predict"),
        (["--config", EXPERIMENT, "fit"], "--config is before 'fit': the command comes first"),
        (["fit"], "no experiment is given (model and data are missing): add --config experiments/NAME.yaml"),
        (
            ["fit", f"--{DATA}.batch_size", "3", "--config", EXPERIMENT],
            "data has no class yet at that place: begin with --co",
        ),
    ],
)
def test_a_wrong_command_is_one_sentence(words, sentence, capsys):
    assert sentence in refused(words, capsys)


FILES = [
    (b"", "is empty: a YAML file of settings is needed"),
    (b"# nothing but words\n", "is empty: a YAML file of settings is needed"),
    (b"- a\n- b\n", "holds a list, where a mapping of settings (name: value) is needed"),
    (b"hello\n", "holds a single value, where a mapping"),
    (b"model:\n\tclass_path: x\n", "is indented by a tab in line 2: YAML takes spaces only"),
    (b"\x89PNG\r\n\x1a\n\0\0\1\xff", "is no text: a YAML file of settings is needed"),
    (b"a: \xe9\n", "is no UTF-8 text (byte 3)"),
    (b"model: a: b\n", "is no YAML in line 1: mapping values are not allowed here"),
    (
        b"trainer:\n  max_steps: 5\ntrainer:\n  max_epochs: 2\n",
        "'trainer' is given twice, in lines 1 and 3: keep one of them",
    ),
    (b"modle: {}\n", "there is no setting 'modle'; did you mean 'model'?"),
    (b"3: 4\n", "has the key 3, where the name of a setting is needed"),
    (b"trainer: [3]\n", "trainer: [3] is no mapping of settings"),
    (b"trainer: {max_stepz: 3}\n", "trainer.max_stepz: there is no such setting; did you mean 'trainer.max_steps'?"),
    (
        b"trainer: {max_steps: 3}\n",
        "names no class of model and data: a file that only changes settings is laid over an exp",
    ),
]


@pytest.mark.parametrize(("content", "sentence"), FILES, ids=[sentence for _, sentence in FILES])
def test_a_file_that_is_no_experiment_is_named_with_what_it_is(content, sentence, capsys, tmp_path):
    path = tmp_path / "given.yaml"
    path.write_bytes(content)
    line = refused(["fit", "--config", str(path)], capsys)
    assert sentence in line
    assert "given.yaml" in line or "trainer" in sentence


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing_like_it.yaml", "nothing_like_it.yaml' does not exist"),
        ("lite_unett.yaml", "lite_unet.yaml'?"),
        ("lite_unet", "lite_unet.yaml'?"),
        ("data/lite_unet.yaml", "experiments/lite_unet.yaml'?"),
        ("nowhere/x.yaml", "does not exist: there is no folder"),
        ("", "is a folder: name a file in it"),
        ("ablations/gam_depth.yaml", "is an ablation: `make ablation EXP=gam_depth` or `python -m tools.ablation"),
        ("data/rooms.yaml", "describes a data set (datamodules.rooms.datamodule.RoomsDataModule), no experiment"),
        (
            "evaluation/nyuv2.yaml",
            "names no class of model: a file that only changes settings is laid over an experiment",
        ),
    ],
)
def test_another_file_of_this_project_is_named_with_what_it_is(name, sentence, capsys):
    assert sentence in refused(["fit", "--config", str(EXPERIMENTS / name)], capsys)


def test_a_checkpoint_given_as_a_configuration_is_told_apart(tmp_path, capsys):
    import torch

    torch.save({"a": 1}, tmp_path / "best.ckpt")
    assert "a checkpoint is --ckpt_path" in refused(["fit", "--config", str(tmp_path / "best.ckpt")], capsys)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"model": {"init_args": {"loss_wieghts": {"l1": 1.0}}}},
            "no argument 'loss_wieghts'; did you mean 'loss_weights'?",
        ),
        (
            {"model": {"init_args": {"optimisation": {"optimizer": {"init_args": {"lr": "fast"}}}}}},
            "model.init_args.optimisation.optimizer.init_args.lr: 'fast' is not a number",
        ),
        ({"data": {"init_args": {"batch_size": "many"}}}, "data.init_args.batch_size: 'many' is not a whole number"),
        (
            {"model": {"init_args": {"evaluation": {"alignment": "medain"}}}},
            "model.init_args.evaluation.alignment: 'medain' is none of none",
        ),
        ({"model": {"init_args": {"crop": [0, 1, 0, 1]}}}, "did you mean 'model.init_args.evaluation.crop'?"),
        ({"model": {"init_args": {"evaluation": {"cropp": None}}}}, "evaluation.cropp: there is no such setting; did"),
    ],
)
def test_a_wrong_setting_in_an_overlay_is_found_from_any_folder(content, sentence, capsys, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "over.yaml").write_text(yaml.safe_dump(content))
    # The path is relative, and the parser moves into the folder of a file that it reads.
    assert sentence in refused(["fit", "--config", EXPERIMENT, "--config", "below/over.yaml"], capsys)


def test_the_traceback_is_there_for_who_asks(monkeypatch, capsys):
    monkeypatch.setenv("PLUMBLINE_TRACEBACK", "1")
    with pytest.raises((ArgumentError, TypeError, ValueError)):
        main(["fit", "--config", EXPERIMENT, "--trainer.max_steps", "abc"])
