import math
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from datamodules.rooms.datamodule import RoomsDataModule
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.evaluation import DepthEvaluation
from tests.data.make_huggingface import make_depth_anything
from tests.data.make_teachers import save_affine_checkpoint, save_depth_checkpoint
from tests.helpers import Affine, quiet_trainer
from tools import compare
from tools.compare import Row, main, measure, table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def words(tmp_path, rooms_root):
    """The call on tiny test rooms."""
    settings = yaml.safe_load((ROOT / "tests" / "overlays" / "rooms.yaml").read_text())["data"]["init_args"]
    settings |= {"root": str(rooms_root), "batch_size": 1}
    file = tmp_path / "data.yaml"
    file.write_text(
        yaml.safe_dump({"class_path": "datamodules.rooms.datamodule.RoomsDataModule", "init_args": settings})
    )
    return ["--data", str(file), "--device", "cpu"]


@pytest.fixture
def checkpoints(tmp_path):
    save_depth_checkpoint(tmp_path / "constant.ckpt", depth_m=2.0)
    save_affine_checkpoint(tmp_path / "affine.ckpt")
    return [str(tmp_path / "constant.ckpt"), str(tmp_path / "affine.ckpt")]


def test_networks_of_every_kind_are_measured_alike(tmp_path, words, checkpoints):
    make_depth_anything(tmp_path / "hf")
    sources = [*checkpoints, f"hf:{tmp_path / 'hf'}"]
    rows = [measure(source, [*words, "--models", str(sources)]) for source in sources]
    assert all(isinstance(row, Row) for row in rows), rows
    assert [row.model for row in rows] == sources
    assert len({row.images for row in rows}) == 1
    for row in rows:
        assert 0 < row.metrics["abs_rel"] < 2
        assert row.parameters > 0
        assert row.memory_mb > 10
    assert rows[0].parameters == 1
    evaluation = DepthEvaluation(alignment="least_squares", min_depth_m=0.1)
    module = SupervisedDepth(Affine(), canonical_focal_px=50.0, evaluation=evaluation)
    settings = yaml.safe_load((tmp_path / "data.yaml").read_text())["init_args"]
    made = ArgumentParser()
    made.add_class_arguments(RoomsDataModule, "data")
    data = made.instantiate(made.parse_object({"data": settings})).data
    (tested,) = quiet_trainer().test(module, datamodule=data, verbose=False)
    for name in ("abs_rel", "rmse", "delta1"):
        assert rows[1].metrics[name] == pytest.approx(tested[f"test/{name}_img_lsq"], rel=1e-4)


def test_what_cannot_be_compared_is_listed_with_the_reason(tmp_path, words, checkpoints, monkeypatch, capsys):
    class InThisProcess:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def submit(self, call, *arguments):
            value = call(*arguments)
            return type("Done", (), {"result": lambda self: value})()

    monkeypatch.setattr(compare, "ProcessPoolExecutor", InThisProcess)
    gone, out = str(tmp_path / "gone.ckpt"), tmp_path / "table.md"
    assert main([*words, "--models", str([checkpoints[0], gone]), "--output", str(out)]) == 1
    said = capsys.readouterr()
    assert f"left out: {gone}: checkpoint '{gone}' does not exist" in said.err
    assert said.out == out.read_text()
    assert f"| {checkpoints[0]} | **" in said.out
    assert "test images; alignment least_squares, 0.1 to 10 m, on cpu" in said.out
    assert main([*words, "--models", str([checkpoints[0]]), "--alignment", "best"]) == 2
    assert "alignment" in capsys.readouterr().err


def test_the_best_of_each_metric_is_bold():
    rows = [
        Row("a", {"abs_rel": 0.2, "delta1": 0.9, "other": 1.0}, 1200, 10.0, 500.0, 7),
        Row("b", {"abs_rel": 0.1, "delta1": math.nan}, None, math.nan, 600.0, 7),
    ]
    text = table(rows, "the protocol").splitlines()
    assert text[0] == "| model | abs_rel | delta1 | parameters | images/s | memory (MB) |"
    assert text[2] == "| a | 0.2000 | **0.9000** | 1,200 | 10.0 | 500 |"
    assert text[3] == "| b | **0.1000** | nan | - | nan | 600 |"
    assert text[5] == "7 test images; the protocol"
