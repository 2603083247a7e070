"""The benchmark of instances compares like with like, and its made-up detections are worth scoring."""

import pytest
import torch

from benchmarks import instances as bench
from lightning_modules.command_line.extends import read_settings
from metrics.instances import InstanceMetrics

SMALL = (2, 64, 96)


def test_only_the_depth_layer_differs_between_the_two_networks():
    guided, plain = bench.make_module(depth_guided=True), bench.make_module()
    missing, unknown = guided.network.load_state_dict(plain.network.state_dict(), strict=False)
    assert not unknown
    assert missing
    assert all("depth_controller" in name for name in missing)


def test_the_experiment_with_depth_has_the_same_network():
    files = (bench.EXPERIMENT, bench.EXPERIMENT.with_name("boxinst_depth.yaml"))
    plain, guided = (read_settings(file)["model"]["init_args"]["network"] for file in files)
    assert guided["init_args"].pop("depth_guided")
    assert guided == plain


def test_modules_do_not_shift_the_random_numbers_of_others():
    state = torch.random.get_rng_state()
    bench.make_module()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_ellipses_touch_the_sides_of_their_boxes():
    (mask,) = bench.ellipses(torch.tensor([[8.0, 4.0, 40.0, 20.0]]), (32, 48))
    rows, columns = mask.any(dim=1).nonzero().squeeze(1), mask.any(dim=0).nonzero().squeeze(1)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 19, 8, 39)
    assert float(mask.sum()) == pytest.approx(torch.pi / 4 * 32 * 16, rel=0.02)


def test_the_made_up_detections_score_neither_nothing_nor_everything():
    scored = bench.make_scored(4)
    assert all(len(found["labels"]) == bench.FOUND and len(truth["labels"]) == bench.OBJECTS for found, truth in scored)
    values = bench.scores(InstanceMetrics(subsets=["camouflaged"]), scored, 3)
    assert 0.1 < values["mask_ap"] < 0.9
    assert 0.5 < values["mask_iou"] < 1


def test_networks_that_find_unequally_much_stop_the_benchmark(monkeypatch):
    def other(*, depth_guided=False):
        module = make_module(depth_guided=depth_guided)
        module.max_detections = 5 if depth_guided else 4
        return module

    make_module = bench.make_module
    monkeypatch.setattr(bench, "make_module", other)
    with pytest.raises(RuntimeError, match=r"With the depth layer \d+ instances are found, without it \d\."):
        bench.inference_rows(size=SMALL, repeats=1)


def test_rows_give_images_a_second_and_a_percentage():
    ((what, guided, plain),) = bench.inference_rows(size=SMALL, repeats=1)
    assert "instances an image" in what
    assert min(guided, plain) > 0
    ((what, percent, aim),) = bench.evaluation_rows(size=SMALL, images=4, repeats=1)
    assert "scores of 4 images" in what
    assert percent > 0
    assert aim == 10
