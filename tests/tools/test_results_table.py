import json

import pytest
import yaml

from tools.results_table import data_of, main, read_runs, table


def write_run(folder, name, **record):
    run = folder / record["experiment"] / name
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps(record))
    return run


@pytest.fixture
def runs(tmp_path):
    trained = {"fit_minutes": 4.96, "parameters": 1234567, "peak_memory_gb": 1.26, "commit": "0123456789abcdef"}
    run = write_run(tmp_path, "2", experiment="b", seed=0, test={"test/abs_rel_img": 0.25}, **trained)
    (run / "config.yaml").write_text(
        yaml.safe_dump({"data": {"class_path": "datamodules.x.NyuDataModule", "init_args": {"root": "my/n|yu"}}})
    )
    write_run(tmp_path, "1", experiment="a", seed=1, test={"test/abs_rel_img": 0.5, "test/l1": 1}, **trained)
    write_run(tmp_path, "3", experiment="a", seed=2, fit_minutes=1.0)  # not tested
    return tmp_path


def test_each_training_is_one_row_in_order(runs, capsys):
    assert main([str(runs), "--metrics", "abs_rel_img", "edge_f1_img"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| experiment | run | data | seed | abs_rel_img | edge_f1_img | parameters | minutes | GB | commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
        "| a | 1 |  | 1 | 0.5000 |  | 1,234,567 | 5.0 | 1.3 | 01234567 |",
        "| b | 2 | Nyu my/n\\|yu | 0 | 0.2500 |  | 1,234,567 | 5.0 | 1.3 | 01234567 |",
    ]


@pytest.mark.parametrize(
    ("tests", "columns"),
    [
        ([{"abs_rel_img_median": 0.2, "delta1_img_median": 0.8}], ["abs_rel_img_median", "delta1_img_median"]),
        ([{"abs_rel_img": 0.1, "score": 1.0}, {"abs_rel_img_lsq": 0.3}], ["abs_rel_img", "abs_rel_img_lsq"]),
        ([{"mask_ap": 0.5, "mask_ap_small": 0.1}], ["mask_ap"]),
        ([{"own": 0.5, "other": 0.1}], ["other", "own"]),
    ],
)
def test_the_columns_are_the_main_metrics_that_were_measured(tmp_path, capsys, tests, columns):
    for number, scores in enumerate(tests):
        scores = {f"test/{name}": value for name, value in scores.items()}
        write_run(tmp_path, str(number), experiment="a", seed=number, test=scores)
    assert main([str(tmp_path)]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.strip("| ").split(" | ") == [
        "experiment", "run", "data", "seed", *columns, "parameters", "minutes", "GB", "commit"
    ]  # fmt: skip
    assert all(any(row.split("|")[5 + k].strip() for row in rows) for k in range(len(columns)))


def test_evaluations_are_rows_only_without_a_training(runs, tmp_path):
    write_run(runs, "1-test", experiment="b", seed=0, test={"test/abs_rel_img": 0.1})
    assert [record["run"] for record in read_runs(runs)] == ["1", "2"]
    (alone := tmp_path / "alone").mkdir()
    write_run(alone, "1-test", experiment="b", seed=0, test={"test/abs_rel_img": 0.1})
    assert [record["run"] for record in read_runs(alone)] == ["1-test"]
    assert table(read_runs(alone), ["abs_rel_img"]).endswith("| b | 1-test |  | 0 | 0.1000 |  |  |  |  |")


def test_missing_and_damaged_runs_are_reported(runs, tmp_path, capsys):
    (empty := tmp_path / "empty").mkdir()
    assert main([str(empty)]) == 1
    assert "no tested run" in capsys.readouterr().err
    for name, content in [("torn", b'{"test": {'), ("bytes", b"\xff\xfe"), ("list", b"[]")]:
        (runs / name).mkdir(exist_ok=True)
        (runs / name / "run.json").write_bytes(content)
    assert [record["run"] for record in read_runs(runs)] == ["1", "2"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all("left out" in line for line in said)
    assert said[2].startswith(f"{runs / 'torn' / 'run.json'} is damaged (")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {class_path: datamodules.rooms.video.RoomsVideoDataModule, init_args: {root: null}}", "RoomsVideo"),
        ("data: {class_path: a.FramesVideoDataModule, init_args: {root: my/color}}", "FramesVideo my/color"),
        ("data: {class_path: a.Own}", "Own"),
        ("data: null", ""),
        ("[1, 2]", ""),
        ("data: {class_path: [", ""),
    ],
)
def test_data_are_named_by_their_module_and_root(tmp_path, text, expected):
    (tmp_path / "config.yaml").write_text(text)
    assert data_of(tmp_path / "config.yaml") == expected
    assert data_of(tmp_path / "none.yaml") == ""


def test_an_unknown_metric_is_refused_with_the_known_ones(runs, capsys):
    assert main([str(runs), "--metrics", "abs_rel_imgg"]) == 2
    printed = capsys.readouterr()
    sentence = "has the metric 'abs_rel_imgg'; did you mean 'abs_rel_img'? known are abs_rel_img, l1\n"
    assert printed.err.endswith(sentence)
    assert printed.out == ""


def test_a_damaged_record_is_one_sentence(tmp_path, capsys):
    (tmp_path / "run.json").write_text("{")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'run.json'} is damaged")
