"""The number of classes comes from the data, or from a checkpoint, into all that is made from a configuration."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace

from cli import main
from datamodules.coco.datamodule import CocoDataModule
from lightning_modules.runs.class_counts import fill_class_count
from lightning_modules.runs.loading import load_module
from networks.condinst import CondInst
from tests.data.make_instance_batch import tiny_network

ROOT = Path(__file__).parents[3]
EXPERIMENT = str(ROOT / "experiments" / "boxinst.yaml")
OVERLAY = str(ROOT / "tests" / "overlays" / "rooms_instances.yaml")
COCO = str(ROOT / "experiments" / "data" / "coco_instances.yaml")
KEY = "--model.init_args.network.init_args.n_classes"
ROOMS, DATA = "datamodules.rooms.instances.RoomsInstanceDataModule", "datamodules.coco.datamodule.CocoDataModule"
IMAGES = "datamodules.prediction_images.ImageFiles"


@pytest.fixture
def settings(rooms_root, monkeypatch):
    """Arguments after the subcommand of two steps on rooms."""
    monkeypatch.setenv("RUN_ID", "run")
    return ["--config", EXPERIMENT, "--config", OVERLAY, "--data.init_args.root", str(rooms_root)]


def configuration(n_classes: int | None, data: Namespace | None) -> Namespace:
    network = Namespace(class_path="networks.condinst.CondInst", init_args=Namespace(n_classes=n_classes))
    model = Namespace(class_path="lightning_modules.boxinst_depth.BoxInstDepth", init_args=Namespace(network=network))
    return Namespace(model=model, data=data)


def filled(n_classes: int | None, data: Namespace | None, checkpoint: Path | None = None) -> int | None:
    config = configuration(n_classes, data)
    fill_class_count(config, checkpoint)
    return config.model.init_args.network.init_args.n_classes


def sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value.code)
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


def test_all_that_a_training_leaves_behind_holds_the_number_of_the_data(settings, tmp_path):
    main(["fit", *settings])
    run_dir = tmp_path / "runs" / "boxinst" / "run"
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    recorded = yaml.safe_load((run_dir / "config.yaml").read_text())["model"]["init_args"]["network"]["init_args"]
    content = torch.load(checkpoint, weights_only=True)
    assert recorded["n_classes"] == 17
    assert content["plumbline"]["model"]["network"]["init_args"]["n_classes"] == 17
    assert content["hyper_parameters"]["network"]["init_args"]["n_classes"] == 17
    assert load_module(checkpoint).n_classes == 17  # without any data

    main(["test", *settings, "--ckpt_path", str(checkpoint)])
    record = json.loads((run_dir.with_name("run-test") / "run.json").read_text())
    assert record["test"] == pytest.approx(json.loads((run_dir / "run.json").read_text())["test"], nan_ok=True)

    # Photos have no classes: the checkpoint says how many there are.
    cv2.imwrite(str(tmp_path / "a.png"), np.full((50, 70, 3), 200, np.uint8))
    own = ["--data", IMAGES, "--data.path", str(tmp_path / "a.png")]
    main(["predict", "--config", EXPERIMENT, *own, "--ckpt_path", str(checkpoint)])
    assert (run_dir.with_name("run-predict") / "predictions" / "a_instances.png").is_file()

    with pytest.raises(SystemExit) as error:
        main(["predict", "--config", EXPERIMENT, *own])
    assert f"the data of {IMAGES} have no classes" in sentence(error)
    with pytest.raises(SystemExit) as error:
        main(["predict", "--config", EXPERIMENT, *own, "--ckpt_path", "nowhere.ckpt"])
    assert "'nowhere.ckpt' does not exist" in sentence(error)


def test_a_number_of_the_users_own_stays_and_is_held_against_the_data(settings):
    with pytest.raises(SystemExit) as error:
        main(["fit", *settings, KEY, "3"])
    assert "the network has 3 classes, but the data have 17" in sentence(error)


def test_chosen_classes_of_rooms_are_counted():
    assert filled(None, Namespace(class_path=ROOMS, init_args=Namespace(classes=["chair", "ball"]))) == 2


def test_a_coco_file_says_how_many_there_are(coco_root):
    data = Namespace(class_path=DATA, init_args=Namespace(root=str(coco_root)))
    assert filled(None, data) == 3 == CocoDataModule(root=str(coco_root)).n_classes
    assert filled(5, data) == 5


def test_a_missing_json_is_the_one_sentence_that_it_was(tmp_path):
    with pytest.raises(SystemExit) as error:
        main(["fit", "--config", EXPERIMENT, "--data", COCO, "--data.init_args.root", str(tmp_path / "nowhere")])
    assert "instances_val2017.json" in sentence(error)
    assert not (tmp_path / "runs").exists()


def test_models_without_the_key_are_left_alone_and_the_random_state_too():
    depth = Namespace(class_path="x", init_args=Namespace(network=Namespace(class_path="y", init_args=Namespace(a=1))))
    for model in (depth, Namespace(class_path="x"), Namespace(class_path="x", init_args=Namespace(network=None))):
        config = Namespace(model=model, data=Namespace(class_path="not.looked.at"))
        before = config.clone()
        fill_class_count(config)
        assert config == before
    state = torch.random.get_rng_state()
    filled(None, Namespace(class_path=ROOMS, init_args=Namespace()))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_data_or_with_another_papers_checkpoint_there_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"^the run has no data, so the number of classes of the network is not known"):
        filled(None, None)
    path = tmp_path / "depth.ckpt"
    torch.save({"state_dict": {}, "plumbline": {"class_path": "x", "model": {"network": None}}}, path)
    with pytest.raises(ValueError, match=r"set model.init_args.network.init_args.n_classes$"):
        filled(None, Namespace(class_path=IMAGES, init_args=Namespace(path="photos")), path)


def test_a_network_is_never_built_without_a_number():
    with pytest.raises(ValueError, match=r"n_classes is None, but a network needs the number"):
        tiny_network(n_classes=None)
    assert isinstance(tiny_network(n_classes=1), CondInst)
