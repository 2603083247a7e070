"""A null of the command line is null however deep its setting lies."""

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from cli import PlumblineCLI, main
from datamodules.base import ProjectDataModule
from lightning_modules.command_line.classes import find_class, parameters_of
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.command_line.settings_tree import settings_tree
from lightning_modules.tasks.base import PaperModule

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
WEIGHTS = "model.init_args.network.init_args.encoder_weights"


@pytest.fixture
def resolve(monkeypatch):
    """The resolved configuration of a command line; nothing is built."""

    def run(*words):
        found = []

        def keep(self):
            found.append(self.config[self.subcommand])
            raise SystemExit(0)

        monkeypatch.setattr(PlumblineCLI, "before_instantiate_classes", keep)
        with pytest.raises(SystemExit):
            main(["fit", "--config", str(EXPERIMENTS / "lite_unet.yaml"), *words])
        return found[0]

    return run


@pytest.mark.parametrize(
    "words",
    [
        [f"--{WEIGHTS}", "null"],
        [f"--{WEIGHTS}=null"],
        [f"--{WEIGHTS}", "None"],
        ["--model.network.encoder_weights", "null"],
        ["--model.init_args.network.init_args", "{encoder_weights: null}"],
        ["--model.init_args", "{network: {init_args: {encoder_weights: null}}}"],
        ["--model.init_args.network", "{class_path: networks.unet.UNetDepth, init_args: {encoder_weights: null}}"],
    ],
)
def test_null_is_null_in_every_spelling(resolve, words):
    config = resolve(*words)
    assert config.get(WEIGHTS) is None
    assert config.model.init_args.network.init_args.encoder == "tf_efficientnet_lite0"


def test_other_values_arrive_as_they_are(resolve):
    config = resolve(
        *("--model.init_args.loss_constants", "{ssim: {data_range: 2.5, window: 7}}"),
        *("--data.init_args.augmentation", "null", f"--{WEIGHTS}", "nullify"),
    )
    assert config.model.init_args.loss_constants == {"ssim": {"data_range": 2.5, "window": 7}}
    assert config.data.init_args.augmentation is None
    assert config.get(WEIGHTS) == "nullify"


def optional_texts(value, prefix):
    """Dotted keys of all settings of type ``str | None`` below a class."""
    if not isinstance(value, Mapping) or "class_path" not in value:
        return
    for name, parameter in parameters_of(find_class(value["class_path"], ())).items():
        kinds = get_args(parameter.annotation) if isinstance(parameter.annotation, types.UnionType) else ()
        if {str, type(None)} <= set(kinds):
            yield f"{prefix}.{name}"
    for name, inner in (value.get("init_args") or {}).items():
        yield from optional_texts(inner, f"{prefix}.{name}.init_args")


def test_null_reaches_every_optional_text_of_every_experiment():
    parser = SettingsParser(exit_on_error=False)
    parser.add_subclass_arguments(PaperModule, "model", required=True)
    parser.add_subclass_arguments(ProjectDataModule, "data", required=True)
    checked = set()
    for path in sorted(EXPERIMENTS.glob("[!_]*.yaml")):
        tree = settings_tree(["--config", str(path)])
        given = [word for name in ("model", "data") for word in (f"--{name}", json.dumps(tree[name]))]
        keys = [key for name in ("model", "data") for key in optional_texts(tree[name], f"{name}.init_args")]
        kinds = {(tree[key.split(".")[0]]["class_path"], key) for key in keys}
        if kinds <= checked:
            continue
        checked |= kinds
        config = parser.parse_args([*given, *(word for key in keys for word in (f"--{key}", "null"))])
        assert {key: config.get(key) for key in keys} == dict.fromkeys(keys), path
    assert len(checked) > 10
