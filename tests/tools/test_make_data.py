from pathlib import Path

import yaml

from tools.make_data import main

ROOT = Path(__file__).parents[2]


def test_the_embedded_data_is_the_default(rooms_root, tmp_path, capsys):
    overlay = yaml.safe_load((ROOT / "tests" / "overlays" / "rooms.yaml").read_text())["data"]["init_args"]
    settings = [f"--data.init_args.settings.{name}={value}" for name, value in overlay.pop("settings").items()]
    others = [f"--data.init_args.{name}={value}" for name, value in overlay.items()]
    assert main([*settings, *others, "--data.init_args.root", str(rooms_root)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("RoomsDataModule: ")
    assert " train, " in printed
    assert list(tmp_path.iterdir()) == []


def test_missing_data_are_one_sentence(tmp_path, capsys):
    data = str(ROOT / "experiments" / "data" / "nyuv2_labeled.yaml")
    assert main(["--data", data, "--data.init_args.root", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "nowhere" in error


def test_a_wrong_setting_is_one_sentence(capsys):
    assert main(["--data.init_args.batch_size", "0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_set_smaller_than_a_batch_is_surveyed_before_it_is_refused(rooms_root, capsys):
    overlay = yaml.safe_load((ROOT / "tests" / "overlays" / "rooms.yaml").read_text())["data"]["init_args"]
    settings = [f"--data.init_args.settings.{name}={value}" for name, value in overlay.pop("settings").items()]
    others = [f"--data.init_args.{name}={value}" for name, value in (overlay | {"batch_size": 1000}).items()]
    assert main([*settings, *others, "--data.init_args.root", str(rooms_root)]) == 1
    printed = capsys.readouterr()
    assert "depth: measured in " in printed.err
    (refusal,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert "fewer than one batch of 1000" in refusal
    assert " train, " in printed.out
    assert "not usable" in printed.out
