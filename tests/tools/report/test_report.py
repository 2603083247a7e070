"""The command: what it writes, what it says, and what it refuses."""

import json
import re

import pytest

from tests.data.make_runs import keep_samples, make_run, of_four_papers, sample
from tools.report import __main__ as report
from tools.report.columns import direction
from tools.report.content import content_of
from tools.report.page import write_page

LIBRARY = "/* the library of plots: </script> <!-- */"


@pytest.fixture(autouse=True)
def _small_library(monkeypatch):
    for module in ("tools.report.page", "tools.report.__main__"):
        monkeypatch.setattr(f"{module}.plotly_library", lambda: LIBRARY)


def written(path):
    """The page's text, its content and its assets, read as a browser does."""
    text = path.read_text()
    scripts = dict(re.findall(r'<script type="[a-z/]+" id="([\w-]+)">(.*?)</script>', text, re.DOTALL))
    return text, json.loads(scripts.pop("report")), {key.removeprefix("a-"): value for key, value in scripts.items()}


def test_runs_of_four_papers_in_one_page(tmp_path, capsys):
    of_four_papers(tmp_path / "runs")
    out = tmp_path / "new folder" / "report.html"
    assert report.main([str(tmp_path / "runs"), "--out", str(out)]) == 0
    assert re.search(r"report\.html: 10 runs, 0\.\d MB\n$", capsys.readouterr().out)
    text, content, assets = written(out)
    runs = {run["name"]: run for run in content["runs"]}
    papers = {"supervised_depth", "gam_depth", "render_consistency", "boxinst_depth"}
    assert {run["paper"] for run in content["runs"]} == papers
    assert {content["runs"][index]["paper"] for index in content["chosen_first"]} == papers
    assert runs["lite_unet/now"]["status"] == "running"
    assert runs["lite_unet/now"]["test"] == {}
    assert runs["lite_unet/now"]["val"] == {"score": 0.5}
    full = runs["lite_unet/full_s1"]
    assert (full["seed"], full["tags"], full["commit"], full["parameters"]) == (1, "night", "01234567", 1234567)
    assert json.loads(assets[full["curves"]])["val/score"] == [[9, 19, 29], [0.5, 0.4, 0.3]]
    groups = {group["name"]: len(group["members"]) for group in content["groups"]}
    assert (groups["lite_unet: full"], groups["lite_unet: slow"]) == (3, 3)
    # Every key that the content names is an asset of the page, so that no script reads one that is missing.
    keys = {run[part] for run in content["runs"] for part in ("curves", "samples") if run[part]}
    for samples in (json.loads(assets[run["samples"]]) for run in content["runs"] if run["samples"]):
        for entry in samples:
            keys |= {entry[part] for part in ("image", "truth", "prediction", "error", "before") if part in entry}
            keys |= {key for _, key in entry["panels"]} | set((entry.get("cloud") or {"grids": {}})["grids"].values())
    assert keys <= assets.keys()
    assert "{{" not in text.partition("<script")[0]


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    make_run(tmp_path)
    out = tmp_path / "report.html"
    report.main([str(tmp_path), "--out", str(out)])
    text = out.read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)|url\(|@import|fetch\(|XMLHttpRequest|https?:""", text)
    assert "default-src 'none'" in text


def test_texts_of_runs_cannot_end_a_script(tmp_path):
    name = "</script><img src=x><!--"
    make_run(tmp_path, commit=name, test={name: 0.5})
    out = tmp_path / "report.html"
    assert report.main([str(tmp_path), "--out", str(out)]) == 0
    text, content, _ = written(out)
    assert name not in text
    assert content["runs"][0]["test"] == {name: 0.5}
    assert text.count("</script>") == text.count("<script"), "the library's own text is escaped, too"


def test_broken_runs_are_listed_and_said(tmp_path, capsys):
    (make_run(tmp_path, "torn") / "metrics.csv").write_text("step,train/loss\n1,0.5\n2,0.")
    (make_run(tmp_path, "bare") / "metrics.csv").unlink()
    (make_run(tmp_path, "x-predict") / "metrics.csv").unlink()
    (make_run(tmp_path, "cut") / "run.json").write_text("{")
    out = tmp_path / "report.html"
    assert report.main([str(tmp_path), "--out", str(out)]) == 0
    _, content, _ = written(out)
    assert [run["name"] for run in content["runs"]] == ["lite_unet/bare", "lite_unet/cut", "lite_unet/torn"]
    notes = capsys.readouterr().err.splitlines()
    assert [f"note: {note}" for note in content["notes"]] == notes
    assert notes[:2] == ["note: 1 folders of predictions are left out", "note: lite_unet/bare: there is no metrics.csv"]
    assert notes[2].startswith("note: lite_unet/cut: run.json is damaged (")
    assert notes[3] == "note: lite_unet/torn: metrics.csv: its last line is incomplete and is left out"


def test_numbers_that_json_lacks_are_blank(tmp_path):
    make_run(tmp_path, test={"a": float("nan"), "b": float("inf"), "c": 1.0}, scores=(0.5, float("nan"), 0.3))
    out = tmp_path / "report.html"
    assert report.main([str(tmp_path), "--out", str(out)]) == 0
    _, content, assets = written(out)
    assert content["runs"][0]["test"] == {"c": 1.0}
    assert json.loads(assets[content["runs"][0]["curves"]])["val/score"][1] == [0.5, None, 0.3]


def test_refusals_are_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "report.html")
    assert report.main([str(tmp_path / "empty"), "--out", out]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: there is no run that matches {tmp_path / 'empty'}: a run is a folder with")
    assert error.count("\n") == 1
    make_run(tmp_path)
    for words, code, sentence in (
        (["--out", str(tmp_path / "report.pdf")], 1, "give a name that ends in .html"),
        (["--out", str(tmp_path)], 1, "give a name that ends in .html"),
        (["--max-mb", "0"], 1, "--max-mb is 0.0, but has to be positive"),
        (["--max-mb", "x"], 2, "--max-mb"),
        (["--outt", out], 2, "--outt"),
    ):
        assert report.main([str(tmp_path), *words]) == code
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_a_full_file_leaves_samples_out_and_says_so(tmp_path, capsys):
    for name in ("a", "b", "c"):
        keep_samples(make_run(tmp_path, name), [sample(k, error=0.1 + 0.1 * ord(name) / 99) for k in range(4)])
    out = tmp_path / "report.html"
    assert report.main([str(tmp_path), "--out", str(out), "--max-mb", "0.25"]) == 0
    _, content, _ = written(out)
    assert [run["samples"] is not None for run in content["runs"]] == [True, False, False]
    assert "note: 2 runs are shown without samples and pictures, as the file would exceed" in capsys.readouterr().err


def test_five_hundred_runs_stay_small(tmp_path):
    from tools.report.assets import Assets
    from tools.report.runs import find_runs, read_run

    run = read_run(make_run(tmp_path))
    steps = [float(k) for k in range(300)]
    run.curves = {f"train/{k}": (steps, [0.123456 + k + step for step in steps]) for k in range(6)}
    runs, assets = [], Assets()
    for k in range(500):
        copy = read_run(find_runs([str(tmp_path)])[0])
        copy.name, copy.record = f"run/{k}", {**run.record, "seed": k}
        copy.curves = (
            run.curves if k % 100 else {name: (s, [v + k for v in vs]) for name, (s, vs) in run.curves.items()}
        )
        runs.append(copy)
    content = content_of(runs, assets, notes=[], most_bytes=9_000_000)
    size = write_page(tmp_path / "report.html", content, assets.texts)
    assert size == (tmp_path / "report.html").stat().st_size
    assert size < 3e6
    assert len(content["groups"]) == 1
    assert len(content["groups"][0]["members"]) == len(content["t_quantiles"]) == 500


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        *(
            (name, "high")
            for name in ("test/delta1_img", "edge_f1_img_median", "f_score_5cm", "mask_ap50", "box_ap_small")
        ),
        *((name, "high") for name in ("mask_iou_flush", "object_iou", "miou", "pixel_accuracy", "train/samples_per_s")),
        *((name, "low") for name in ("abs_rel_img", "cloud_accuracy_m", "edge_accuracy_img_lsq", "chamfer_m", "score")),
        *((name, "low") for name in ("residual_shift_abs", "plane_bend_abs_deg", "pose_rotation_deg", "train/loss")),
        *((name, "zero") for name in ("plane_bend_deg", "residual_shift")),
        *((name, "none") for name in ("lr-AdamW", "train/teacher_acceptance")),
    ],
)
def test_directions(metric, expected):
    assert direction(metric) == expected
