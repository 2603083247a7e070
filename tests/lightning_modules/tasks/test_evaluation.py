"""The evaluation settings of each depth paper: its defaults, one changed setting, bad values, unknown names."""

from argparse import ArgumentError

import pytest
import yaml
from jsonargparse import ArgumentParser

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.base import PaperModule
from lightning_modules.tasks.evaluation import DepthEvaluation
from tests.helpers import Affine

DISPARITY = {
    "depth_network": {
        "class_path": "networks.disparity.DisparityNet",
        "init_args": {"encoder": "resnet18", "encoder_weights": None, "decoder_widths": [4, 4, 4, 4, 4]},
    },
    "poses": "exact",
}
LINEAR = {"network": {"class_path": "tests.helpers.Affine"}}
PAPERS = {
    "lightning_modules.supervised_depth.SupervisedDepth": (LINEAR, DepthEvaluation("none", 1e-3, 10.0)),
    "lightning_modules.render_consistency.RenderConsistency": (LINEAR, DepthEvaluation("least_squares", 1e-3, 10.0)),
    "lightning_modules.monodepth2.Monodepth2": (DISPARITY, DepthEvaluation("median", 0.1, 10.0)),
    "lightning_modules.sc_depth.SCDepth": (DISPARITY, DepthEvaluation("median", 0.1, 10.0)),
    "lightning_modules.gam_depth.GAMDepth": (
        DISPARITY | {"loss_weights": {"photometric": 1.0}},
        DepthEvaluation("median", 0.1, 10.0),
    ),
}
GAM_DEPTH = "lightning_modules.gam_depth.GAMDepth"


def parser() -> ArgumentParser:
    made = ArgumentParser(exit_on_error=False)
    made.add_argument("--config", action="config")
    made.add_subclass_arguments(PaperModule, "model", required=True)
    return made


def words(paper: str, *more: str) -> list[str]:
    settings = {"model": {"class_path": paper, "init_args": PAPERS[paper][0]}}
    return [f"--config={yaml.safe_dump(settings)}", *more]


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_has_its_own_protocol(paper):
    reader = parser()
    config = reader.parse_args(words(paper))
    assert reader.instantiate(config).model.evaluation == PAPERS[paper][1]
    assert config.model.init_args.evaluation.as_dict() == vars(PAPERS[paper][1]), "and shows it"


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize(
    "option", ["--model.init_args.evaluation.max_depth_m=80", "--model.evaluation={max_depth_m: 80}"]
)
def test_one_changed_setting_keeps_the_others_of_the_paper(paper, option):
    own, reader = vars(PAPERS[paper][1]), parser()
    module = reader.instantiate(reader.parse_args(words(paper, option))).model
    assert module.evaluation == DepthEvaluation(**(own | {"max_depth_m": 80.0}))
    protocol = module.depth_metrics["val"].protocol
    assert {name: getattr(protocol, name) for name in own} == vars(module.evaluation)


def test_files_change_one_setting_after_the_other():
    reader = parser()
    overlays = [{"crop": [0.1, 0.9, 0, 1]}, {"average": "pixel"}]
    files = [f"--config={yaml.safe_dump({'model': {'init_args': {'evaluation': overlay}}})}" for overlay in overlays]
    module = reader.instantiate(reader.parse_args(words(GAM_DEPTH, *files))).model
    assert module.evaluation == DepthEvaluation("median", 0.1, 10.0, (0.1, 0.9, 0.0, 1.0), "pixel")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model.evaluation.max_dept_m=80", "evaluation.max_dept_m"),
        ("--model.evaluation.max_depth_m=far", "Expected a <class 'float'>. Got value: far"),
        ("--model.evaluation.alignment=mean", "mean"),
        ("--model.evaluation.crop=[0, 1]", "crop"),
        ("--model.ssim_windoww=3", "ssim_windoww"),
        ("--model.depth_frm=0.5", "depth_frm"),
        ("--model.depth_from=early", "depth_from"),
        ("--model.optimisation.intervall=epoch", "intervall"),
    ],
)
def test_three_levels_of_base_classes_refuse_what_none_of_them_takes(option, message):
    """Arguments of SCDepth, VideoDepthModule, DepthModule and PaperModule reach their owner through ``**base``."""
    with pytest.raises(ArgumentError, match=message):
        parser().parse_args(words("lightning_modules.sc_depth.SCDepth", option))


def test_three_levels_of_base_classes_show_all_their_defaults():
    shown = parser().parse_args(words("lightning_modules.sc_depth.SCDepth")).model.init_args
    assert shown.ssim_window == 7
    assert shown.depth_from == 0.0
    assert shown.evaluation.alignment == "median"
    assert shown.loss_weights is None
    assert shown.optimisation.interval == "step"
    assert shown.optimisation.optimizer.class_path == "torch.optim.Adam"


def test_a_module_is_made_by_hand_in_one_line():
    module = SupervisedDepth(Affine(), evaluation=DepthEvaluation(max_depth_m=80))
    assert module.evaluation.max_depth_m == module.depth_metrics["test"].protocol.max_depth_m == 80


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"min_depth_m": 5.0, "max_depth_m": 5.0},
            r"evaluation: The depth range is 5.0 to 5.0 m, but 0 < min_depth_m <",
        ),
        ({"min_depth_m": 0.0}, r"evaluation: The depth range is 0.0 to 10.0 m"),
        (
            {"crop": (0.0, 1.1, 0.0, 1.0)},
            r"evaluation: crop is \(0.0, 1.1, 0.0, 1.0\), but \(top, bottom, left, right\)",
        ),
        ({"crop": (0.5, 0.5, 0.0, 1.0)}, r"must be fractions with 0 <= top < bottom <= 1"),
        ({"alignment": "mean"}, r"evaluation: alignment is 'mean', but it must be one of none, median, least_squares"),
        ({"average": "batch"}, r"evaluation: average is 'batch', but it must be one of image, pixel"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        DepthEvaluation(**settings)
    assert "\n" not in str(caught.value)
