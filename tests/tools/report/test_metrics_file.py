import math

import pytest

from tools.report.metrics_file import last_values, read_metrics, thinned


def read(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_metrics(path)


def test_each_metric_is_a_curve_of_its_own_steps(tmp_path):
    curves, problems = read(tmp_path, "epoch,step,a,b\n0,9,1.5,\n0,9,,2\n1,19,2.5,\n")
    assert problems == []
    assert curves == {"a": ([9, 19], [1.5, 2.5]), "b": ([9], [2])}


def test_a_resumed_run_counts_the_later_value_of_a_step_and_steps_ascend(tmp_path):
    curves, _ = read(tmp_path, "step,a\n10,1\n20,2\n10,3\n")
    assert curves["a"] == ([10, 20], [3, 2])


def test_a_half_written_line_is_left_out_even_if_it_is_a_number(tmp_path):
    curves, problems = read(tmp_path, "step,a\n10,0.5\n20,0.1")  # of 0.123
    assert curves["a"] == ([10], [0.5])
    assert problems == ["metrics.csv: its last line is incomplete and is left out"]


def test_damaged_rows_and_cells_are_counted(tmp_path):
    curves, problems = read(tmp_path, b"step,a\n10,1\n20\nx,3\n30,one\n40,4,5\n\x00\xff\n50,5\nnan,1\n")
    assert curves["a"] == ([10, 50], [1, 5])
    assert problems == ["metrics.csv: 6 damaged rows or cells are left out"]


def test_a_cell_above_the_limit_of_the_parser_is_a_damaged_row(tmp_path):
    curves, problems = read(tmp_path, f"step,a\n10,1\n20,{'9' * 200_000}\n30,3\n")
    assert curves["a"] == ([10, 30], [1, 3])
    assert problems == ["metrics.csv: 1 damaged rows or cells are left out"]
    assert read(tmp_path, f"{'s' * 200_000}\n1\n")[1] == ["metrics.csv has no header with a column 'step'"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("", "metrics.csv is empty"), ("a,b\n1,2\n", "has no header with"), ("step", "has no header with")],
)
def test_a_file_without_a_header_has_no_curves(tmp_path, content, sentence):
    curves, (problem,) = read(tmp_path, content)
    assert curves == {}
    assert sentence in problem


def test_thinned_curves_keep_ends_and_peaks():
    steps, values = list(range(1000)), [math.sin(k / 50) for k in range(1000)]
    values[333], values[667] = 9.0, math.nan
    kept_steps, kept = thinned((steps, values), 50)
    assert len(kept) <= 50
    assert (kept_steps[0], kept_steps[-1]) == (0, 999)
    assert kept_steps == sorted(set(kept_steps))
    assert 9.0 in kept
    assert all(math.isfinite(value) for value in kept)
    assert thinned((steps[:4], values[:4]), 1) == (steps[:4], values[:4])
    blank = [math.nan] * 10
    assert len(thinned((steps[:10], blank), 4)[0]) <= 4


def test_last_values_are_finite_ones_of_the_stage():
    curves = {"val/a": ([1.0, 2.0], [3.0, math.nan]), "val/b": ([1.0], [math.nan]), "train/a": ([1.0], [4.0])}
    assert last_values(curves, "val") == {"a": 3.0}
