"""Settings cannot choose the code that runs: each case ends in one sentence, before anything is imported."""

import sys
from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace
from torch import nn

from cli import PlumblineCLI, main
from lightning_modules.command_line.checked_parser import CheckedParser, check_classes, take_allowed
from lightning_modules.command_line.settings_check import check_settings
from lightning_modules.runs.loading import CheckpointError, load_module
from structures.allowed_imports import ImportRefusedError, allowing
from tests.data.make_constant_depth import ConstantDepth, write_checkpoint

EXPERIMENT = str(Path(__file__).parents[3] / "experiments" / "lite_unet.yaml")
LIBRARIES = "torch, lightning, torchmetrics, timm, segmentation_models_pytorch or transformers"
SCHEDULE = "model.init_args.optimisation.lr_scheduler"
LAMBDA = "{class_path: torch.optim.lr_scheduler.LambdaLR, init_args: {lr_lambda: %s}}"
PART = "is in a part of %s that settings and checkpoints may not name"

EVIL = """
from pathlib import Path
Path("ran").touch()
from lightning_modules.supervised_depth import SupervisedDepth
class Evil(SupervisedDepth):
    pass
"""


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module in the working folder that leaves a file when it is imported."""
    (tmp_path / "evil_of_a_stranger.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("evil_of_a_stranger", None)


def refused(words, capsys, monkeypatch, code=2):
    def fail(*_):
        raise AssertionError("the command was accepted")

    monkeypatch.setattr(PlumblineCLI, "before_instantiate_classes", fail)
    with pytest.raises(SystemExit) as left:
        main(["fit", "--config", EXPERIMENT, *words])
    assert left.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    return printed


CASES = [
    ("--model=os.system", f"model: 'os.system' is not in lightning_modules, datamodules, networks, {LIBRARIES}, so"),
    ("--data=subprocess.Popen", "data: 'subprocess.Popen' is not in lightning_modules, datamodules, networks, torch"),
    ("--model.network=torch.hub.load", f"model.init_args.network: 'torch.hub.load' {PART % 'torch'}"),
    (
        "--model.network=networks.torchscript.TorchScriptDepth",
        f"model.init_args.network: 'networks.torchscript.TorchScriptDepth' {PART % 'networks'}",
    ),
    (
        f"--{SCHEDULE}={LAMBDA % 'os._exit'}",
        f"{SCHEDULE}.init_args.lr_lambda: 'os._exit' is not in lightning_modules, datamodules, networks, {LIBRARIES}",
    ),
    (
        f"--{SCHEDULE}={LAMBDA % '{class_path: functools.partial, init_args: {func: os._exit}}'}",
        f"{SCHEDULE}.init_args.lr_lambda: 'functools.partial' is not in lightning_modules",
    ),
    (f"--{SCHEDULE}={LAMBDA % 'torch.load'}", f"{SCHEDULE}.init_args.lr_lambda: 'torch.load' {PART % 'torch'}"),
    (
        "--trainer.callbacks+={class_path: lightning.pytorch.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: os.system}}",
        "init_args.on_fit_start: 'os.system' is not in lightning_modules",
    ),
    (
        "--trainer.logger=lightning.pytorch.loggers.WandbLogger",
        f"trainer.logger: 'lightning.pytorch.loggers.wandb.WandbLogger' {PART % 'lightning'}",
    ),
]


@pytest.mark.parametrize(("word", "sentence"), CASES)
def test_settings_cannot_name_other_code(word, sentence, capsys, monkeypatch):
    assert sentence in refused([word], capsys, monkeypatch)


def test_a_file_in_the_working_folder_is_not_imported(evil, capsys, monkeypatch):
    printed = refused(["--model", "evil_of_a_stranger.Evil"], capsys, monkeypatch)
    assert "--allow-class evil_of_a_stranger allows it" in printed
    assert not evil.exists()


def test_a_file_of_settings_cannot_allow_its_own_classes(evil, tmp_path, capsys, monkeypatch):
    (tmp_path / "x.yaml").write_text("allow_class: evil_of_a_stranger\nmodel: evil_of_a_stranger.Evil\n")
    assert "there is no setting 'allow_class'" in refused(["--config", "x.yaml"], capsys, monkeypatch)
    assert not evil.exists()


@pytest.mark.parametrize("words", [["--allow-class"], ["--allow-class", "*"], ["--allow-class=--x"]])
def test_allowing_needs_a_name(words):
    with pytest.raises(ValueError, match=r"^--allow-class needs the name of a module of your own, such as my_module$"):
        take_allowed(words)


def test_options_that_allow_are_taken_out_of_the_words():
    with allowing():
        assert take_allowed(["fit", "--allow-class", "a.b,c", "--x=1", "--allow-any-class"]) == ["fit", "--x=1"]
        check_classes({"class_path": "os.path"})


@pytest.mark.parametrize("words", [["--allow-class", "evil_of_a_stranger"], ["--allow-any-class"]])
def test_an_own_module_is_allowed_by_name(evil, words):
    with allowing():
        parser = CheckedParser(exit_on_error=False)
        parser.add_subclass_arguments(nn.Module, "module")
        take_allowed(words)
        path = "evil_of_a_stranger.Evil"
        config = parser.parse_object({"module": {"class_path": path, "init_args": {"network": "torch.nn.Identity"}}})
        assert config.module.class_path == path
        assert evil.exists()
    take_allowed([])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"a": {"class_path": "timm.create_model"}}, "^a: 'timm.models._factory.create_model' is a function, but"),
        ({"a": [torch.load]}, r"^a\[0\]: 'torch.serialization.load' is in a part of torch that settings"),
        ({"a": {"b": nn.Linear(1, 1).load_state_dict}}, "^a.b: 'torch.nn.modules.module.Module.load_state_dict' is a"),
        ({"class_path": "lightning.pytorch.LightningModule.load_from_checkpoint"}, "is a function|may not name"),
    ],
)
def test_functions_are_not_called(settings, sentence):
    with pytest.raises(ImportRefusedError, match=sentence):
        check_classes(settings)


def test_classes_and_formulas_are_accepted():
    check_classes({"class_path": "torch.optim.Adam", "init_args": {"f": nn.functional.relu, "x": [nn.Linear, "os"]}})


def test_a_class_in_an_argument_without_a_type_stays_a_mapping():
    parser = CheckedParser(exit_on_error=False)
    parser.add_argument("--x", type=object)
    parser.add_argument("--any")
    value = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 1}}
    made = parser.instantiate(parser.parse_object({"any": value}))
    assert not isinstance(made.any, nn.Module)


def test_a_checkpoint_cannot_import_a_file_of_the_working_folder(evil, tmp_path):
    path = write_checkpoint(tmp_path / "x.ckpt", ConstantDepth(3.5, None), depth_m=1.0)
    content = torch.load(path, weights_only=True)
    content["plumbline"]["class_path"] = "evil_of_a_stranger.Evil"
    torch.save(content, path)
    with pytest.raises(
        CheckpointError,
        match=r"x.ckpt' names a class that is not used: 'evil_of_a_stranger.Evil' is not in .*, so it is not imported",
    ):
        load_module(path)
    assert not evil.exists()


def test_arguments_in_a_checkpoint_cannot_name_other_code(evil, tmp_path):
    path = write_checkpoint(tmp_path / "x.ckpt", ConstantDepth(3.5, None), depth_m=1.0)
    content = torch.load(path, weights_only=True)
    content["plumbline"] = {
        "class_path": "lightning_modules.supervised_depth.SupervisedDepth",
        "model": {"network": {"class_path": "evil_of_a_stranger.Evil"}},
    }
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"names a class that is not used: 'evil_of_a_stranger.Evil' is not in"):
        load_module(path)
    assert not evil.exists()


def test_weights_only_cannot_be_switched_off():
    with pytest.raises(ValueError, match=r"^weights_only is false, but a checkpoint may hold code then, which"):
        check_settings(Namespace(weights_only=False), "test")
