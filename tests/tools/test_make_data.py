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


def test_data_that_is_not_there_is_one_sentence(tmp_path, capsys):
    data = str(ROOT / "experiments" / "data" / "nyuv2_labeled.yaml")
    assert main(["--data", data, "--data.init_args.root", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "nowhere" in error


def test_a_wrong_setting_is_one_sentence(capsys):
    assert main(["--data.init_args.batch_size", "0"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
