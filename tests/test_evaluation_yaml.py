"""The files of experiments/evaluation on top of experiments: data, caps, crop and alignment of zero-shot tests."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import Namespace

import cli
from datamodules.manifest.datamodule import ManifestDataModule
from lightning_modules.command_line.extends import read_settings
from lightning_modules.runs.trained_data import use_training_settings
from lightning_modules.tasks.evaluation import DepthEvaluation

ROOT = Path(__file__).parents[1] / "experiments"
FILES = sorted((ROOT / "evaluation").glob("[!_]*.yaml"))

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


def resolved(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as left:
        cli.main(["test", *arguments, "--print_config"])
    assert left.value.code == 0
    content: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return content


def test_every_set_of_the_zero_shot_protocol_has_a_file() -> None:
    assert {path.stem for path in FILES} == {"nyuv2", "kitti", "scannet", "eth3d", "diode", "sintel"}


@pytest.mark.parametrize(
    ("experiment", "path"),
    [("lite_unet", path) for path in FILES] + [(name, FILES[0]) for name in ("densenet_unet_nyuv2", "sc_depth")],
    ids=lambda value: getattr(value, "stem", value),
)
def test_data_and_protocol_come_from_the_file(capsys: pytest.CaptureFixture[str], experiment: str, path: Path) -> None:
    plain = resolved(capsys, "--config", str(ROOT / f"{experiment}.yaml"))
    laid = resolved(capsys, "--config", str(ROOT / f"{experiment}.yaml"), "--config", str(path))
    overlay = read_settings(path)
    protocol = overlay["model"]["init_args"]["evaluation"]
    assert laid["data"]["class_path"] == "datamodules.manifest.datamodule.ManifestDataModule"
    shared = set(inspect.signature(ManifestDataModule).parameters) & set(plain["data"]["init_args"])
    # Of the experiment's data, only the image size of the training stays.
    assert shared - {"image_size"} <= set(overlay["data"]["init_args"])
    assert "image_size" not in overlay["data"]["init_args"]
    arguments = laid["data"]["init_args"]
    assert {name: arguments[name] for name in overlay["data"]["init_args"]} == overlay["data"]["init_args"]
    assert laid["model"]["init_args"]["evaluation"] == protocol, (
        "all five settings, so that none of the experiment remains"
    )
    assert plain["model"]["class_path"] == laid["model"]["class_path"]
    DepthEvaluation(**(protocol | {"crop": None if protocol["crop"] is None else tuple(protocol["crop"])}))
    assert protocol["alignment"] == "least_squares"
    assert arguments["image_size"] == plain["data"]["init_args"]["image_size"]


def test_a_checkpoint_is_evaluated_at_its_trained_size(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.ckpt"
    config = cli_namespace(image_size=(96, 128))
    recipe = {"class_path": config.model.class_path, "model": {}, "data": {"image_size": [288, 384]}}
    torch.save({"state_dict": {}, "plumbline": recipe}, checkpoint)
    for path in FILES:
        use_training_settings(config, checkpoint, ["test", "--config", str(path), "--ckpt_path", str(checkpoint)])
        assert config.data.init_args.image_size == (288, 384)


def cli_namespace(**arguments: Any) -> Namespace:
    model = Namespace(class_path="lightning_modules.supervised_depth.SupervisedDepth")
    return Namespace(model=model, data=Namespace(class_path="x", init_args=Namespace(**arguments)))
