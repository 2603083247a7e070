import json
import os
import time

from tests.data.make_runs import make_run, metrics_text
from tools.report.runs import RUNNING_S, find_runs, read_run, with_unique_names


def changed(folder, **values):
    record = json.loads((folder / "run.json").read_text())
    record = {key: value for key, value in (record | values).items() if value is not None}
    (folder / "run.json").write_text(json.dumps(record))


def test_a_finished_run(tmp_path):
    run = read_run(make_run(tmp_path, "a", seed=3, test={"abs_rel_img": 0.25}))
    assert (run.name, run.status, run.problems) == ("lite_unet/a", "finished", [])
    assert (run.experiment, run.paper, run.data) == ("lite_unet", "supervised_depth", "Rooms")
    assert run.metrics("test") == {"abs_rel_img": 0.25}
    assert run.metrics("val") == {"score": 0.3}


def test_states(tmp_path):
    folder = make_run(tmp_path)
    changed(folder, test=None)
    assert read_run(folder).status == "no test"
    changed(folder, test=None, fit_minutes=None)
    assert read_run(folder).status == "running"
    assert read_run(folder, now_s=time.time() + 2 * RUNNING_S).status == "unfinished"
    other = make_run(tmp_path, "b-test")
    changed(other, fit_minutes=None)
    (other / "metrics.csv").write_text("epoch,step,test/a\n0,0,1\n")
    assert read_run(other).status == "test only"


def test_entries_that_are_no_finite_numbers_are_left_out_with_a_sentence(tmp_path):
    folder = make_run(tmp_path)
    odd = {"steps": "many", "parameters": float("nan"), "peak_memory_gb": [1], "seed": {"a": 1}, "fit_minutes": True}
    changed(folder, **odd, test={"test/a": 10**400, "test/b": 0.5, "test/c": float("inf"), "test/d": "x"})
    run = read_run(folder)
    assert run.metrics("test") == {"b": 0.5}
    assert {problem.split()[1] for problem in run.problems} == set(odd)
    assert "run.json: steps is 'many', which is no number, and is left out" in run.problems
    assert not set(odd) & set(run.record)


def test_seed(tmp_path):
    folder = make_run(tmp_path, seed=3)
    assert read_run(folder).seed == 3
    changed(folder, seed=[3])
    settings = folder / "config.yaml"
    settings.write_text(settings.read_text() + "\nseed_everything: 7\n")
    assert read_run(folder).seed == 7
    settings.write_text("seed_everything: {a: 1}\n")
    assert read_run(folder).seed is None


def test_damaged_and_missing_files_are_sentences(tmp_path):
    folder = make_run(tmp_path)
    (folder / "run.json").write_text('{"experiment": "lite')
    (folder / "config.yaml").write_text("model: [")
    os.truncate(folder / "metrics.csv", len(metrics_text((0.5,))) - 2)
    run = read_run(folder)
    assert [problem.split(" (")[0] for problem in run.problems] == [
        "run.json is damaged",
        "config.yaml is damaged",
        "metrics.csv: its last line is incomplete and is left out",
    ]
    assert (run.experiment, run.paper, run.data) == ("lite_unet", "", "")
    assert set(run.curves) == {"train/loss"}
    for name in ("run.json", "config.yaml", "metrics.csv"):
        (folder / name).unlink()
    (folder / "run.json").write_text("[1]")
    run = read_run(folder)
    assert run.problems == [
        "run.json holds no settings, but '[1]'",
        "there is no config.yaml",
        "there is no metrics.csv",
    ]
    assert run.metrics("test") == run.metrics("val") == {}


def test_a_record_with_odd_values_is_read(tmp_path):
    folder = make_run(tmp_path)
    changed(folder, test={"test/a": "x", "test/b": 1})
    (folder / "config.yaml").write_text("model: {class_path: Odd}\ndata: 3\n")
    run = read_run(folder)
    assert run.metrics("test") == {"b": 1}
    assert (run.paper, run.data) == ("", "")


def test_runs_are_found_by_folder_and_by_glob(tmp_path):
    folders = [make_run(tmp_path, name, experiment=e) for e in ("gam_depth", "lite_unet") for name in ("a", "b")]
    (folders[0] / "wandb" / "files").mkdir(parents=True)
    (folders[0] / "wandb" / "files" / "run.json").write_text("{}")
    assert find_runs([str(tmp_path)]) == sorted(folders)
    assert find_runs([f"{tmp_path}/lite*/a"]) == [folders[2]]
    assert find_runs([f"{tmp_path}/*/b", str(folders[3] / "run.json")]) == [folders[1], folders[3]]
    assert find_runs([f"{tmp_path}/nothing"]) == []


def test_names_are_unique(tmp_path):
    runs = [read_run(make_run(tmp_path / place, "a")) for place in ("x", "y")]
    assert [run.name for run in with_unique_names([*runs])] == ["x/lite_unet/a", "y/lite_unet/a"]
