import base64

import cv2
import numpy as np
import pytest

from structures.files import write_png
from structures.sample_file import SampleRecord
from tests.data.make_runs import keep_samples, make_run, sample
from tools.report.assets import Assets, picture_uri
from tools.report.runs import read_run
from tools.report.samples import pictures_of, samples_of


def decoded(text):
    kind, _, content = text.partition(",")
    assert kind == "data:image/webp;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_samples_are_drawn_with_one_range_for_truth_and_prediction(tmp_path):
    folder = make_run(tmp_path)
    keep_samples(folder, [sample(0, error=0.0), sample(1, error=0.5)])
    assets = Assets()
    first, second = samples_of(read_run(folder), assets)
    assert (first["name"], first["step"], first["unit"], first["stage"]) == ("room/0", 30, "m", "val")
    assert first["range"] == second["range"]
    assert first["range"] == pytest.approx([2.1, 3.96], abs=0.05)
    truth, found = (decoded(assets.texts[first[key]])[4:].astype(int) for key in ("truth", "prediction"))
    assert np.abs(truth - found).max() < 30, "a correct prediction has the colours of the truth"
    assert decoded(assets.texts[first["error"]])[4:].min() > 240, "and an error map that is white"
    assert np.abs(decoded(assets.texts[second["error"]])[20, 30].astype(int) - [204, 13, 13]).max() < 25


def test_what_runs_share_is_stored_once(tmp_path):
    assets, sizes = Assets(), []
    for name in ("a", "b", "c"):
        folder = make_run(tmp_path, name)
        keep_samples(folder, [sample(0)])
        samples_of(read_run(folder), assets)
        sizes.append(assets.n_bytes)
    assert sizes[0] == sizes[1] == sizes[2]


def test_depth_and_views_and_instances_of_one_image_are_one_sample(tmp_path):
    folder = make_run(tmp_path)
    panel = np.zeros((8, 9, 3), np.uint8)
    keep_samples(folder, [sample(0)], kind="depth")
    keep_samples(folder, [sample(0, before=0.4)], kind="views")
    (entry,) = samples_of(read_run(folder), Assets())
    assert list(entry["cloud"]["grids"]) == ["truth", "before", "prediction"]
    assert "before" in entry
    (folder / "samples" / "views_val.npz").unlink()
    keep_samples(folder, [SampleRecord("room/0", panel, panels={"prediction": panel})], kind="instances")
    (entry,) = samples_of(read_run(folder), Assets())
    assert [title for title, _ in entry["panels"]] == ["prediction"]
    assert "prediction" in entry


def test_validation_comes_before_test_and_damaged_files_are_a_sentence(tmp_path):
    folder = make_run(tmp_path)
    keep_samples(folder, [sample(0)], stage="test")
    assert [each["stage"] for each in samples_of(read_run(folder), Assets())] == ["test"]
    keep_samples(folder, [sample(1)], stage="val")
    assert [each["name"] for each in samples_of(read_run(folder), Assets())] == ["room/1"]
    (folder / "samples" / "depth_val.npz").write_bytes(b"torn")
    run = read_run(folder)
    assert samples_of(run, Assets()) == []
    assert run.problems == ["samples/depth_val.npz is no file of validation samples, or damaged (ValueError)"]


def test_without_samples_the_last_pictures_are_shown(tmp_path):
    folder = make_run(tmp_path)
    for name, level in (("step_000010", 10), ("step_000020", 200), ("views_step_000020", 100)):
        write_png(folder / "pictures" / f"{name}.png", np.full((300, 3000, 3), level, np.uint8))
    (folder / "pictures" / "clips_test.png").write_bytes(b"no picture")
    run, assets = read_run(folder), Assets()
    found = {entry["name"]: decoded(assets.texts[entry["picture"]]) for entry in pictures_of(run, assets)}
    assert list(found) == ["step_000020.png", "views_step_000020.png"]
    assert found["step_000020.png"].shape == (100, 1000, 3)
    assert abs(int(found["step_000020.png"].mean()) - 200) <= 2
    assert run.problems == ["pictures/clips_test.png is no picture"]


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match="cannot be encoded"):
        picture_uri(np.zeros((0, 3, 3), np.uint8), quality=80)
