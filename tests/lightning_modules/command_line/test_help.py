"""Help is short and shows the choices of this project."""

import pytest

from cli import main


def printed(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_of_a_command_is_short_and_begins_with_the_experiment(command, capsys):
    text = printed([command, "--help"], capsys)
    assert text.startswith(f"usage: python -m cli {command} --config experiments/NAME.yaml")
    assert len(text.splitlines()) < 80
    assert max(map(len, text.splitlines())) <= 120
    assert text.index("--config") < text.index("--trainer.max_steps") < text.index("--print_config")


def test_the_rest_of_the_trainer_is_behind_its_own_help(capsys):
    text = printed(["fit", "--trainer.help"], capsys)
    for name in ("--trainer.max_steps", "--trainer.detect_anomaly", "--trainer.sync_batchnorm", "--trainer.profiler"):
        assert f"  {name}" in text
    assert "<class" not in text


def test_the_choices_are_the_papers_and_nothing_of_torch(capsys):
    text = printed(["fit", "--model.help"], capsys)
    names = [line.strip() for line in text.splitlines() if line.startswith("  lightning_modules.")]
    assert "lightning_modules.gam_depth.GAMDepth" in names
    assert "lightning_modules.tasks.depth.DepthModule" not in names, "a base is no paper"
    assert "torch" not in text
    data = printed(["fit", "--data.help"], capsys)
    assert "datamodules.rooms.datamodule.RoomsDataModule" in data
    assert "datamodules.prediction_images.ImageFiles" in data


def test_the_settings_of_a_paper_are_listed_with_what_they_take(capsys):
    text = printed(["fit", "--model.help", "lightning_modules.supervised_depth.SupervisedDepth"], capsys)
    assert len(text.splitlines()) < 80
    flat = " ".join(text.split())
    assert "evaluation.min_depth_m Ground truth nearer than this is ignored" in flat, "of the base class"
    assert "(one of none, median, least_squares, default: 'none')" in flat
    assert "optimisation.optimizer Maps the trainable parameters to the optimizer" in flat


def test_the_defaults_that_are_listed_are_those_of_the_paper(capsys):
    text = printed(["fit", "--model.help", "lightning_modules.boxinst_depth.BoxInstDepth"], capsys)
    assert "default: SGD" in text
    text = printed(["fit", "--model.help", "lightning_modules.monodepth2.Monodepth2"], capsys)
    assert "one of none, median, least_squares, default: 'median'" in " ".join(text.split())


def test_help_of_an_unknown_class_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--model.help", "SupervisedDept"])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: --model.help: 'SupervisedDept' is no class path such as")
