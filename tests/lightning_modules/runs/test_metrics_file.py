"""The metrics of a run in one row a step, whenever they are written."""

import csv

import pytest
import torch

from lightning_modules.runs.metrics_file import MetricsFile, StepCSVLogger, cut_metrics, read_rows, row_step


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("saves", ["after each", "at the end"])
def test_values_of_a_step_share_a_row(tmp_path, saves):
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    for step in range(3):
        for values in ({"lr": 0.1 * step}, {"train/loss": torch.tensor(2.5), "epoch": 0}, {"val/score": step}):
            metrics.log(values, step)
            if saves == "after each":
                metrics.save()
    metrics.save()
    rows = table(path)
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert [row["val/score"] for row in rows] == ["0", "1", "2"]
    assert [float(row["lr"]) for row in rows] == [0.0, 0.1, 0.2]
    assert {row["train/loss"] for row in rows} == {"2.5"}


def test_a_file_goes_on_in_its_last_row(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsFile(path)
    first.log({"a": 1}, 0)
    first.log({"a": 2}, 1)
    first.save()
    second = MetricsFile(path)
    assert second.last_step == 1
    second.log({"a": 3, "b": 4}, 1)
    second.log({"a": 5}, 2)
    second.save()
    second.log({"b": 6}, 2)
    second.log({"b": 7}, 3)
    second.save()
    assert [(row["step"], row["a"], row["b"]) for row in table(path)] == [
        ("0", "1", ""),
        ("1", "3", "4"),
        ("2", "5", "6"),
        ("3", "", "7"),
    ]


def test_an_earlier_step_finds_its_row(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for step in (0, 5):
        metrics.log({"a": step}, step)
        metrics.save()
    metrics.log({"a": -1}, 0)
    metrics.save()
    assert [row["a"] for row in table(tmp_path / "metrics.csv")] == ["-1", "5"]


def test_steps_that_are_trained_again_are_removed(tmp_path):
    path = tmp_path / "metrics.csv"
    cut_metrics(path, 3)
    assert not path.exists()
    metrics = MetricsFile(path)
    for step in range(6):
        metrics.log({"a": step}, step)
    metrics.save()
    with path.open("a") as file:
        file.write("7")  # a row that a killed process began
    cut_metrics(path, 4)
    assert [row[name] for row in read_rows(path) for name in ("step", "a")] == [0, "0", 1, "1", 2, "2", 3, "3"]


def test_a_row_that_has_no_step_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("a,step,train/loss\r\n1,0,0.5\r\n2\r\n")
    assert read_rows(path) == [{"a": "1", "step": 0, "train/loss": "0.5"}]


def test_rows_that_are_damaged_are_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [b"a,step", b"1,0", b"x" * 200_000 + b",1", b"\xff\xfe\0,2", b"4,3", b""]
    path.write_bytes(b"\r\n".join(rows))
    assert [(row["step"], row["a"]) for row in read_rows(path) if row["step"] != 2] == [(0, "1"), (3, "4")]
    cut_metrics(path, 3)
    assert [row["step"] for row in table(path)] == ["0", "2"]
    MetricsFile(path)  # a run that goes on with it


def test_the_test_belongs_to_the_last_trained_step():
    assert row_step(["test/score", "epoch"], 8, last=7) == 7
    assert row_step(["train/loss", "epoch"], 8, last=7) == 8
    assert row_step(["test/score"], 0, last=None) == 0


def test_the_logger_writes_and_goes_on(tmp_path):
    for steps in (range(2), range(2, 4)):
        logger = StepCSVLogger(tmp_path)
        for step in steps:
            logger.log_metrics({"train/loss": step}, step=step)
        logger.log_metrics({"test/score": 1.0}, step=steps.stop)
        logger.finalize("success")
    rows = table(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["test/score"] for row in rows] == ["", "1.0", "", "1.0"]


def test_a_logger_saves_from_time_to_time(tmp_path):
    logger = StepCSVLogger(tmp_path)
    for step in range(101):
        logger.log_metrics({"train/loss": step}, step=step)
    assert len(table(tmp_path / "metrics.csv")) == 100
