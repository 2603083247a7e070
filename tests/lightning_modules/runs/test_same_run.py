"""Settings of a run that goes on, and its end."""

import json

import pytest

from lightning_modules.runs.same_run import OtherSettingsError, check_same, differences, finished, recorded_settings

SETTINGS = {
    "trainer": {"max_steps": 10, "max_epochs": None, "callbacks": [{"class_path": "a.B", "init_args": {}}]},
    "model": {"class_path": "m.M", "init_args": {"lr": 0.1, "weights": {"l1": 1.0}}},
    "data": {"class_path": "d.D", "init_args": {"num_workers": 2}},
    "tags": [],
    "ckpt_path": None,
    "test_after_fit": True,
}


def changed(**changes):
    settings = json.loads(json.dumps(SETTINGS))
    for key, value in changes.items():
        *parts, last = key.split("__")
        inner = settings
        for part in parts:
            inner = inner[part]
        inner[last] = value
    return settings


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"model__init_args__lr": 0.2}, {"model.init_args.lr": "0.1 -> 0.2"}),
        ({"model__init_args__weights": {"l2": True}}, {"l1": "1.0 -> not set", "l2": "not set -> true"}),
        ({"trainer__max_steps": None}, {"trainer.max_steps": "10 -> null"}),
        ({"trainer__callbacks": []}, {"class_path": "a.B -> not set", "callbacks": "not set -> []"}),
        ({"data__init_args__num_workers": 0, "tags": ["x"], "test_after_fit": False}, {}),
        ({"ckpt_path": "last"}, {}),
        ({"ckpt_path": "/x/other.ckpt"}, {"ckpt_path": "null -> /x/other.ckpt"}),
    ],
)
def test_what_differs_is_named_by_its_key(changes, expected, tmp_path):
    found = differences(SETTINGS, changed(**changes), tmp_path)
    assert len(found) >= len(expected)
    for key, change in expected.items():
        assert any(name.endswith(key) and text == change for name, text in found.items()), found
    assert bool(found) == bool(expected)


def test_checkpoints_of_the_run_itself_are_one_origin(tmp_path):
    own = str(tmp_path / "checkpoints" / "last.ckpt")
    assert differences(SETTINGS, changed(ckpt_path=own), tmp_path) == {}
    assert differences(changed(ckpt_path="/x/a.ckpt"), changed(ckpt_path="/x/a.ckpt"), tmp_path) == {}


def test_other_settings_are_refused_with_the_ways_to_go_on(tmp_path):
    check_same({}, tmp_path)
    many = {f"key{i}": "1 -> 2" for i in range(6)}
    with pytest.raises(OtherSettingsError, match=r"key0 1 -> 2, .*key3 1 -> 2 and 2 more. .*RUN_ID.*new settings all"):
        check_same(many, tmp_path)
    with pytest.raises(OtherSettingsError, match=r"max_steps 1 -> 2. .*--ckpt_path last to train on to the new length"):
        check_same({"trainer.max_steps": "1 -> 2"}, tmp_path)


@pytest.mark.parametrize("content", [None, "", "[1]", "a: [", "\0"])
def test_settings_that_cannot_be_read_are_none(tmp_path, content):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    assert recorded_settings(tmp_path) is None


@pytest.mark.parametrize(
    ("record", "step", "settings", "is_changed", "expected"),
    [
        ({"test": {"test/score": 0.5}}, 10, SETTINGS, False, "step 10, test/score 0.5000"),
        ({"test": {"test/score": 0.5}}, 10, SETTINGS, True, "step 10, test/score 0.5000"),
        ({"test": {"test/score": 0.5}}, 8, SETTINGS, False, None),
        ({}, 10, SETTINGS, False, None),
        ({}, 10, changed(test_after_fit=False), False, "step 10"),
        ({"ended_at_step": 7, "test": {}}, 7, SETTINGS, False, "step 7"),  # stopped early by its score
        ({"ended_at_step": 7, "test": {}}, 7, SETTINGS, True, None),
        ({"ended_at_step": 7, "test": {}}, 5, SETTINGS, False, None),
        (None, 10, SETTINGS, False, None),
    ],
)
def test_a_run_is_finished_when_it_is_trained_and_tested(tmp_path, record, step, settings, is_changed, expected):
    if record is not None:
        (tmp_path / "run.json").write_text(json.dumps(record))
    assert finished(tmp_path, {"global_step": step}, settings, changed=is_changed) == expected


def test_a_number_of_epochs_ends_a_run_too(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"test": {}}))
    settings = changed(trainer__max_steps=-1, trainer__max_epochs=2)
    for processed, expected in ((2, "step 30"), (1, None)):
        loops = {"fit_loop": {"epoch_progress": {"current": {"processed": processed}}}}
        assert finished(tmp_path, {"global_step": 30, "loops": loops}, settings, changed=False) == expected
