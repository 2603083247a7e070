"""The key ``extends``: merge rules, paths, error sentences, and the experiments that use it."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import main
from lightning_modules.command_line.config_files import check_config_file
from lightning_modules.command_line.extends import EXPERIMENTS, KEY, ExtendsError, merged, read_settings
from lightning_modules.command_line.yaml_file import ConfigFileError

ALL = sorted(EXPERIMENTS.rglob("*.yaml"))
NAMES = sorted(EXPERIMENTS.glob("[!_]*.yaml"))


def write(folder: Path, **files: Any) -> Path:
    """Write YAML files; a text is written as it is. Returns the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as left:
        main(["fit", *words, "--print_config"])
    assert left.value.code == 0
    content: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return content


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["fit", *words])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}, "e": 5}, {"a": 1, "b": {"c": 4, "d": 3}, "e": 5}),
        ({"a": [1, 2], "b": 3}, {"a": [4], "b": None}, {"a": [4], "b": None}),
        ({"a": [1]}, {"a+": [2, 3]}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"a+": 2}, {"a": [1, 2]}),
        ({"a+": [1]}, {"a+": [2]}, {"a+": [1, 2]}),
        ({"a+": [1]}, {"a": [2]}, {"a": [2]}),
        ({}, {"a+": [2]}, {"a+": [2]}),
        ({"a": None}, {"a+": [2]}, {"a": None, "a+": [2]}),
        ({"o": ADAM}, {"o": SGD}, {"o": SGD}),
        ({"o": ADAM}, {"o": "torch.optim.SGD"}, {"o": "torch.optim.SGD"}),
        (
            {"o": ADAM},
            {"o": {"init_args": {"lr": 2.0}}},
            {"o": {"class_path": "torch.optim.Adam", "init_args": {"lr": 2.0}}},
        ),
        (
            {"o": ADAM},
            {"o": {"class_path": "torch.optim.Adam", "init_args": {"eps": 0.1}}},
            {"o": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0, "eps": 0.1}}},
        ),
        (
            {"o": {"init_args": {"lr": 1.0}}},
            {"o": {"class_path": "torch.optim.SGD"}},
            {"o": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}},
        ),
        (
            {"o": "torch.optim.Adam"},
            {"o": {"init_args": {"lr": 2.0}}},
            {"o": {"class_path": "torch.optim.Adam", "init_args": {"lr": 2.0}}},
        ),
        ({"optimisation": {"optimizer": ADAM, "monitor": "x"}}, {"optimisation": {"optimizer": SGD}},
         {"optimisation": {"optimizer": SGD, "monitor": "x"}}),
        ({"loss_weights": {"a": 1, "b": 2}}, {"loss_weights": {"b": 3}}, {"loss_weights": {"b": 3}}),
        ({"x": {"loss_constants": {"a": {"k": 1}}}}, {"x": {"loss_constants": {}}}, {"x": {"loss_constants": {}}}),
        ({"loss_weights": {"a": 1}}, {}, {"loss_weights": {"a": 1}}),
    ],
)  # fmt: skip
def test_merge_rules(parent: Any, child: Any, expected: Any) -> None:
    before = yaml.safe_dump([parent, child])
    assert merged(parent, child) == expected
    assert yaml.safe_dump([parent, child]) == before  # neither is changed


def test_a_class_comes_before_its_arguments() -> None:
    assert list(merged({"init_args": {}}, {"class_path": "x"})) == ["class_path", "init_args"]


def test_files_may_chain_and_stand_inside_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "below",
        c={"extends": "b.yaml", "x": {"p": 3}, "items": [{"extends": "../part.yaml", "n": 2}, 5]},
        b={"extends": "a.yaml", "x": {"q": 2}, "r": [1]},
        a={"x": {"p": 1, "q": 1, "s": 1}, "r": [0], "lr": "text"},
    )
    write(tmp_path, part={"m": 1, "n": 1})
    expected = {"x": {"p": 3, "q": 2, "s": 1}, "r": [1], "lr": "text", "items": [{"m": 1, "n": 2}, 5]}
    assert read_settings(path) == expected


def test_numbers_of_an_extended_file_are_those_that_the_parser_reads(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, child="extends: base.yaml\n", base="lr: 1e-3\nday: 2020-01-01\n")) == {
        "lr": 0.001,
        "day": "2020-01-01",
    }


SENTENCES = {
    "a missing file": (
        {"child": {"extends": "resnet_unett.yaml"}},
        r"'extends: resnet_unett.yaml' names a file that does not exist in .* or .*experiments; "
        r"did you mean 'resnet_unet.yaml'\?",
    ),
    "a file of a folder below": (
        {"child": {"extends": "rooms_video.yaml"}},
        r"did you mean 'data/rooms_video.yaml'\?",
    ),
    "a name without its suffix": ({"child": {"extends": "boxinst"}}, r"did you mean 'boxinst.yaml'\?"),
    "a missing file further up": (
        {"child": {"extends": "base.yaml"}, "base": {"extends": "nothing_like_it.yaml"}},
        r"base.yaml: 'extends: nothing_like_it.yaml' names a file that does not exist in ",
    ),
    "a loop": (
        {"child": {"extends": "base.yaml"}, "base": {"extends": "child.yaml"}},
        r"'extends' leads back to a file that is being read: \S*child.yaml -> \S*base.yaml -> \S*child.yaml",
    ),
    "itself": ({"child": {"extends": "child.yaml"}}, r"leads back to a file that is being read: \S*child.yaml -> "),
    "a list": ({"child": {"extends": ["a.yaml"]}}, r"'extends' is \['a.yaml'\], but the name of one YAML file"),
    "a number": ({"child": {"extends": 3}}, r"'extends' is 3, but the name of one YAML file is needed"),
    "null": ({"child": {"extends": None}}, r"'extends' is null, but the name of one YAML file is needed"),
    "no mapping": (
        {"child": {"extends": "base.yaml"}, "base": "[1, 2]\n"},
        r"base.yaml \(which .*child.yaml'? extends\) holds a list, where a mapping of settings",
    ),
    "an empty file": ({"child": {"extends": "base.yaml"}, "base": ""}, r"base.yaml \(which .* extends\) is empty"),
    "no YAML": (
        {"child": {"extends": "base.yaml"}, "base": "a: b: c\n"},
        r"base.yaml \(which .* extends\) is no YAML in line 1: mapping values",
    ),
    "a key twice": (
        {"child": {"extends": "base.yaml"}, "base": "a: 1\na: 2\n"},
        r"base.yaml \(which .* extends\): 'a' is given twice, in lines 1 and 2",
    ),
    "an ablation": ({"child": {"extends": "ablations/gam_depth.yaml"}}, r"child.yaml' is an ablation"),
    "data": ({"child": {"extends": "data/rooms.yaml"}}, r"child.yaml' describes a data set .*, no experiment"),
}


KNOWN = ("model", "data", "trainer")


@pytest.mark.parametrize("case", SENTENCES)
def test_what_cannot_be_extended_is_one_sentence(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, sentence = SENTENCES[case]
    path = write(tmp_path, **files)
    for folder, given in ((Path.cwd(), str(path)), (tmp_path.parent, f"{tmp_path.name}/child.yaml")):
        monkeypatch.chdir(folder)
        with pytest.raises(ConfigFileError, match=sentence) as error:
            check_config_file(given, KNOWN)
        assert re.search("child.yaml|base.yaml", str(error.value))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["experiment", "data", "network"])
def test_a_command_that_cannot_be_resolved_is_one_sentence_and_ends_with_2(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = write(tmp_path, part={"extends": "gone.yaml", "init_args": {}})
    experiment = str(EXPERIMENTS / "resnet_unet.yaml")
    words = {
        "experiment": ["--config", str(write(tmp_path, mine={"extends": "resnet_unet.yaml", "data": "part.yaml"}))],
        "data": ["--config", experiment, "--data", str(part)],
        "network": ["--config", experiment, "--model.init_args.network", str(part)],
    }[place]
    error = refused(capsys, *words)
    assert "'extends: gone.yaml' names a file that does not exist in " in error
    assert str(tmp_path) in error


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, child={"extends": "base.yaml"}, base={"a": 1})
    read = Path.read_bytes

    def unreadable(self: Path) -> bytes:
        if self.name == "base.yaml":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    with pytest.raises(ExtendsError, match=r"child.yaml: 'extends: base.yaml' cannot be read: Permission denied$"):
        read_settings(path)


def test_the_example_of_the_page_is_printed_resolved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (EXPERIMENTS.parent / "docs" / "experiments.md").read_text()
    (block,) = re.findall(r"```yaml\n(# mine.yaml\n.*?)```", page, re.DOTALL)
    theirs = printed(capsys, "--config", str(EXPERIMENTS / "monodepth2_gam.yaml"))
    ours = printed(capsys, "--config", str(write(tmp_path / "away", mine=block)))
    assert KEY not in yaml.safe_dump(ours)
    weighting = ours["model"]["init_args"]["weighting"]
    assert weighting["class_path"] == "losses.weighting.GradientAwareMask"
    assert weighting["init_args"].pop("gamma2") == 20.0
    assert theirs["model"]["init_args"]["weighting"]["init_args"].pop("gamma2") == 10.0
    optimizer = ours["model"]["init_args"]["optimisation"].pop("optimizer")
    replaced = theirs["model"]["init_args"]["optimisation"].pop("optimizer")
    assert replaced["class_path"] == "torch.optim.Adam"
    assert optimizer["class_path"] == "torch.optim.AdamW"
    assert optimizer["init_args"]["lr"] == 5.0e-4
    assert ours["data"]["init_args"].pop("batch_size") == 4
    assert theirs["data"]["init_args"].pop("batch_size") == 8
    added = ours["trainer"]["callbacks"].pop()
    assert added["class_path"] == "lightning.pytorch.callbacks.EMAWeightAveraging"
    assert ours == theirs  # everything else, to the last callback


def test_files_of_ones_own_extend_each_other_and_several_are_laid_over_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", mine={"extends": "../b/base.yaml", "trainer": {"max_steps": 7}})
    write(tmp_path / "b", base={"extends": "fcn_ssim.yaml", "data": "own.yaml", "trainer": {"min_steps": 2}})
    write(tmp_path / "b", own={"extends": "data/rooms.yaml", "init_args": {"batch_size": 5}})
    write(tmp_path / "a", over={"extends": "steps.yaml"}, steps={"trainer": {"min_steps": 3}})
    monkeypatch.chdir(tmp_path)
    content = printed(capsys, "--config", "a/mine.yaml", "--config", "a/over.yaml", "--trainer.log_every_n_steps", "1")
    assert content["model"]["init_args"]["network"]["class_path"] == "networks.fcn.FCN"
    assert content["data"]["class_path"] == "datamodules.rooms.datamodule.RoomsDataModule"
    assert content["data"]["init_args"]["batch_size"] == 5
    assert content["data"]["init_args"]["settings"]["n_stills"] == 1600
    steps = {name: content["trainer"][name] for name in ("max_steps", "min_steps", "log_every_n_steps")}
    assert steps == {"max_steps": 7, "min_steps": 3, "log_every_n_steps": 1}


def test_data_of_the_experiments_are_found_from_a_file_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"extends": "lite_unet.yaml"}
    own = write(tmp_path / "own", own={**model, "data": "data/rooms_zoom.yaml"})
    read = printed(capsys, "--config", str(own))["data"]["init_args"]
    assert read["augmentation"]["init_args"]["crop_scale"] == [0.5, 1.0]
    child = write(tmp_path / "child", child={"extends": str(own), "data": {"init_args": {"batch_size": 3}}})
    changed = printed(capsys, "--config", str(child))["data"]["init_args"]
    assert changed == {**read, "batch_size": 3}
    # A file of that name beside it has precedence.
    beside = {"extends": "data/rooms_zoom.yaml", "init_args": {"batch_size": 5}}
    write(tmp_path / "own" / "data", rooms_zoom=beside)
    assert printed(capsys, "--config", str(own))["data"]["init_args"]["batch_size"] == 5


def test_a_wrong_setting_of_an_extended_file_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, mine={"extends": "fcn_ssim.yaml", "trainer": {"max_steps": "many"}})
    assert "trainer.max_steps: 'many' is not a whole number" in refused(capsys, "--config", str(path))


def test_a_run_is_named_after_the_file_that_was_given_and_keeps_what_is_resolved(
    tmp_path: Path, rooms_root: Path
) -> None:
    overlay = Path(__file__).parents[2] / "overlays" / "rooms.yaml"
    mine = write(tmp_path / "away", mine={"extends": "mean_depth.yaml", "trainer": {"enable_progress_bar": False}})
    main(["fit", "--config", str(mine), "--config", str(overlay), "--data.init_args.root", str(rooms_root)])
    (run_dir,) = (tmp_path / "runs" / "mine").iterdir()
    text = (run_dir / "config.yaml").read_text()
    assert f"{KEY}:" not in text
    config = yaml.safe_load(text)
    assert config["model"]["init_args"]["network"]["class_path"] == "networks.constant.ConstantDepth"
    assert config["trainer"]["enable_progress_bar"] is False


def test_help_lists_the_settings_of_an_extended_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["fit", "--config", str(EXPERIMENTS / "boxinst_depth.yaml"), "--help"])
    assert left.value.code == 0
    assert "--trainer.max_steps" in capsys.readouterr().out


def parents(path: Path) -> list[Path]:
    """Files that a file of experiments/ extends, at its top or inside."""
    found: list[Path] = []

    def look(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                look(item)
        elif isinstance(value, dict):
            if KEY in value:
                found.append((path.parent / value[KEY]).resolve())
            for item in value.values():
                look(item)

    look(yaml.safe_load(path.read_text()))
    return found


def levels(path: Path) -> int:
    return max((1 + levels(parent) for parent in parents(path)), default=0)


def name_of(path: Path) -> str:
    return os.path.relpath(path, EXPERIMENTS)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_every_file_extends_neighbours_over_three_levels_at_most(path: Path) -> None:
    assert all(parent.is_file() for parent in parents(path))
    assert levels(path) <= 3, "a reader opens four files at most"
    assert isinstance(read_settings(path), dict)


@pytest.mark.parametrize("path", [path for path in ALL if path.name.startswith("_")], ids=name_of)
def test_every_shared_part_is_extended(path: Path) -> None:
    assert path.name == "_defaults.yaml" or any(path in parents(other) for other in ALL)


@pytest.mark.parametrize("path", NAMES, ids=name_of)
def test_no_experiment_is_longer_than_a_glance(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 30, "state what differs from another file by `extends`"


def test_mixed_rooms_fit_on_a_screen() -> None:
    assert len((EXPERIMENTS / "data" / "rooms_mixed.yaml").read_text().splitlines()) < 80
