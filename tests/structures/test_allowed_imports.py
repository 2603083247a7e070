"""What settings and checkpoints may name as code."""

import os

import pytest

from structures import allowed_imports
from structures.allowed_imports import ImportRefusedError, allowing, check_function, check_import, may_call, may_import


@pytest.mark.parametrize(
    "path",
    [
        "lightning_modules.gam_depth.GAMDepth",
        "networks.unet.UNetDepth",
        "torch.nn.Linear",
        "torch.optim.lr_scheduler.LambdaLR",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "torchmetrics.MeanMetric",
        "transformers.SegformerForSemanticSegmentation",
    ],
)
def test_classes_of_the_papers_and_their_libraries_may_be_named(path):
    assert may_import(path)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.exec",
        "subprocess.Popen",
        "wandb.Settings",
        "torch.load",
        "torch.hub.load",
        "torch.jit.load",
        "torch.package.PackageImporter",
        "torch.utils.cpp_extension.load",
        "lightning.pytorch.loggers.wandb.WandbLogger",
        "lightning_modules.runs.folder.RunFolder",
        "networks.torchscript.TorchScriptDepth",
        "networks_of_a_stranger.Network",
        "structures.allowed_imports.allow",
    ],
)
def test_everything_else_is_refused(path):
    assert not may_import(path)
    with pytest.raises(ImportRefusedError, match=r"may not name|so it is not imported"):
        check_import(path)


def test_a_module_of_ones_own_is_allowed_by_name():
    with pytest.raises(
        ImportRefusedError,
        match=r"^'my_module.Paper' is not in lightning_modules, .* or transformers, so it is not imported; if "
        r"'my_module' is a module of your own, --allow-class my_module allows it$",
    ):
        check_import("my_module.Paper")
    with allowing("my_module"):
        check_import("my_module.Paper")
        assert may_call("my_module.schedule")
        assert "my_module" in os.environ[allowed_imports.VARIABLE]  # for loader workers and other ranks
        assert not may_import("my_module_of_another.Paper")
    assert not may_import("my_module.Paper")


def test_a_module_of_python_is_not_suggested():
    with pytest.raises(ImportRefusedError, match=r"so it is not imported$"):
        check_import("os._exit")


def test_a_refused_part_can_be_allowed_and_so_can_everything():
    with allowing("networks.torchscript"):
        assert may_import("networks.torchscript.TorchScriptDepth")
        assert not may_import("torch.jit.load")
    with allowing("*"):
        assert may_call("os.system")


@pytest.mark.parametrize(("path", "allowed"), [("losses.depth.l1", True), ("torch.nn.functional.relu", True)])
def test_functions_of_formulas_may_be_named(path, allowed):
    assert may_call(path) is allowed


def test_other_functions_are_refused():
    with pytest.raises(ImportRefusedError, match=r"'networks.weights.read_state_dict' is a function, but settings and"):
        check_function("networks.weights.read_state_dict")


@pytest.mark.parametrize("name", ["", "a-b", "a b", "a..b"])
def test_only_names_are_allowed(name):
    with pytest.raises(ValueError, match="is not the name of a module"), allowing(name):
        pass
