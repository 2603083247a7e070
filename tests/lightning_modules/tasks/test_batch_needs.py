"""Every paper on every kind of data: it trains, or one sentence says what the data lack and what has it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, LightningModule

from cli import main
from lightning_modules.command_line.extends import read_settings
from lightning_modules.tasks.base import PaperModule
from lightning_modules.tasks.batch_needs import BatchError, Need, check_batch, check_measured, first_validation_batch
from tests.helpers import RandomDepthModule

ROOT = Path(__file__).parents[3]
PAPERS = (
    "fcn_ssim", "gam_depth", "monodepth2", "monodepth2_gam", "sc_depth", "render_consistency", "condinst", "boxinst",
    "boxinst_depth", "segmenter",
)  # fmt: skip
DATA = ("rooms", "rooms_video", "rooms_instances", "rooms_segmentation", "frames")
NOT_FITTING = {
    ("fcn_ssim", "rooms_instances"): "'depth', 'depth_mask', 'depth_scale_m' and 'K'",
    ("render_consistency", "rooms_instances"): "'depth', 'depth_mask', 'depth_scale_m' and 'K'",
    ("segmenter", "rooms"): "",
    ("segmenter", "rooms_video"): "'semantic'",
    ("segmenter", "rooms_instances"): "'semantic'",
    ("segmenter", "frames"): "'semantic'",
} | {
    (paper, data): "'frames' and 'frames_jittered'" if data != "rooms_instances" else "'frames_jittered' and 'K'"
    for paper in ("gam_depth", "monodepth2", "monodepth2_gam", "sc_depth")
    for data in ("rooms", "rooms_instances", "rooms_segmentation")
} | {
    (paper, data): "'image_mask', 'boxes', 'labels', 'has_masks' and 'scale'"
    for paper in ("condinst", "boxinst", "boxinst_depth")
    for data in DATA
    if data != "rooms_instances"
}  # fmt: skip
"""What is said of pairs that do not go together."""

SETTINGS = {
    ("gam_depth", "rooms_video"): ("proxy_labels", "vanishing"),
    ("gam_depth", "frames"): ("proxy_labels", "vanishing"),
    ("boxinst_depth", "rooms_instances"): ("pseudo_depth",),
}
"""Pairs that go together once these settings of the data are made."""

WITHOUT_TRUTH = (("fcn_ssim", "frames"), ("render_consistency", "frames"))
"""Pairs of a paper that learns from depth and data without any."""


def build(base: type, settings: dict[str, Any]) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "it", required=True)
    return parser.instantiate(parser.parse_object({"it": settings})).it


def paper_of(name: str) -> PaperModule:
    settings = read_settings(ROOT / "experiments" / f"{name}.yaml")["model"]
    network = settings["init_args"].get("network")
    if network and network.get("init_args", {}).get("n_classes", 0) is None:
        network["init_args"]["n_classes"] = 17
    return build(LightningModule, settings)


@pytest.fixture(scope="module")
def batches(rooms_root, frames_root) -> dict[str, dict[str, Any]]:
    """A training batch of each kind of data."""
    found = {}
    for name in DATA:
        settings = read_settings(ROOT / "experiments" / "data" / f"{name}.yaml")
        shrinks = "rooms" if name == "rooms_segmentation" else name
        changes = yaml.safe_load((ROOT / "tests" / "overlays" / f"{shrinks}.yaml").read_text())["data"]["init_args"]
        arguments = settings["init_args"]
        arguments["settings"] = arguments.get("settings", {}) | changes.pop("settings", {})
        arguments |= changes | {"root": str(frames_root if name == "frames" else rooms_root)}
        if name == "frames":
            del arguments["settings"]
        if name == "rooms_instances":
            arguments |= {"pseudo_depth": None, "pseudo_depth_file": None}
        data = build(LightningDataModule, settings)
        data.prepare_data()
        data.setup("fit")
        found[name] = next(iter(data.train_dataloader()))
    return found


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_trains_on_data_or_says_what_they_lack(batches, paper, data):
    module, batch = paper_of(paper), batches[data]
    if (paper, data) in SETTINGS:
        with pytest.raises(BatchError) as error:
            module.check_first("train", batch)
        for name in SETTINGS[paper, data]:
            assert f"data.init_args.{name}" in str(error.value)
        return
    if (paper, data) in WITHOUT_TRUTH:
        with pytest.raises(ValueError, match=r"learns from measured depth, but not one pixel of the first 2 training"):
            module.check_first("train", batch)
        return
    if (paper, data) in NOT_FITTING and not (paper == "segmenter" and "semantic" in batch):
        with pytest.raises(BatchError) as error:
            module.check_first("train", batch)
        sentence = str(error.value)
        assert NOT_FITTING[paper, data] in sentence
        assert f"{module.paper} cannot train on the data of the given loaders, which lack " in sentence
        named = re.findall(r"DATA=([a-z0-9_]+(?:, [a-z0-9_]+)*(?: or [a-z0-9_]+)?)", sentence)
        names = [name for group in named for name in re.split(", | or ", group) if name != "or"]
        assert names
        assert all((ROOT / "experiments" / "data" / f"{name}.yaml").is_file() for name in names), names
        return
    module.check_first("train", batch)
    if paper == "segmenter":  # these classes may be more than the network's
        batch = {**batch, "semantic": batch["semantic"].clamp(max=module.n_classes)}
    terms = module.train().loss_terms(batch)  # nothing that is read is missing
    assert all(bool(term.isfinite()) for term in terms.values())


def test_only_the_first_batch_of_a_loop_is_looked_at_and_later_ones_pass():
    module = paper_of("fcn_ssim")
    good = next(iter(RandomDepthModule().train_dataloader()))
    module.check_first("train", good)
    module.check_first("train", {})
    with pytest.raises(BatchError, match=r"cannot be validated on .* lack images \('image'\)"):
        module.check_first("val", {})


def test_a_kind_of_data_goes_before_a_setting():
    needs = (Need(("a", "b"), "letters", "take DATA=x"), Need(("c",), "more", "set y", setting=True))
    with pytest.raises(BatchError) as error:
        check_batch({"b": 1}, needs, paper="p", loop="test", data="D")
    assert str(error.value) == "p cannot be tested on the data of D, which lack letters ('a'): take DATA=x"
    with pytest.raises(BatchError) as error:
        check_batch({"a": 0, "b": 1}, needs, paper="p", loop="predict", data="D")
    assert str(error.value) == "p cannot predict from the data of D: set y"
    check_batch({"a": 0, "b": 1, "c": 2}, needs, paper="p", loop="train", data="D")


def test_one_measured_pixel_is_enough():
    mask = torch.zeros(3, 1, 4, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"first 3 training images of D has any: .*depth_root"):
        check_measured(mask, paper="p", data="D")
    mask[1, 0, 2, 3] = True
    check_measured(mask, paper="p", data="D")


def test_a_validation_sample_is_read_without_a_draw():
    before = torch.get_rng_state()
    batch = first_validation_batch(RandomDepthModule())
    assert torch.equal(before, torch.get_rng_state())
    assert batch["image"].shape == (1, 3, 16, 24)
    assert batch["name"] == ["0000"]


@pytest.mark.parametrize(
    ("experiment", "data", "words"),
    [
        ("fcn_ssim", "rooms_instances", r"supervised_depth cannot be validated on the data of RoomsInstanceDataModule"),
        ("monodepth2", "rooms", r"monodepth2 cannot train on the data of RoomsDataModule, which lack clips of a video"),
    ],
)
def test_a_run_on_other_data_ends_before_step_1_in_one_sentence(experiment, data, words, rooms_root, tmp_path, capsys):
    args = ["fit", "--config", str(ROOT / "experiments" / f"{experiment}.yaml")]
    args += ["--data", str(ROOT / "experiments" / "data" / f"{data}.yaml")]
    args += ["--config", str(ROOT / "tests" / "overlays" / f"{data}.yaml"), "--data.init_args.root", str(rooms_root)]
    if data == "rooms_instances":
        args += ["--data.init_args.pseudo_depth", "null"]
    with pytest.raises(SystemExit, match=words) as error:
        main(args)
    assert str(error.value.code).startswith("error: ")
    assert "\n" not in str(error.value.code)
    assert not list((tmp_path / "runs").rglob("*.ckpt"))


def test_a_test_on_other_data_ends_in_one_sentence():
    module, batch = paper_of("gam_depth"), {"image": torch.rand(1, 3, 64, 64)}
    with pytest.raises(BatchError, match=r"gam_depth cannot be tested on .*'depth', 'depth_mask' and 'depth_scale_m'"):
        module.on_test_batch_start(batch, 0)
    module.on_predict_batch_start(batch, 0)  # images are enough
