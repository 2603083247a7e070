from tests.data.make_runs import make_run
from tools.report.runs import read_run
from tools.report.seeds import seed_groups


def test_runs_that_differ_in_their_seed_are_one_group(tmp_path):
    given = [("full_s0", 0, 0.1), ("full_s1", 1, 0.1), ("slow_s0", 0, 0.2), ("again", 1, 0.1), ("slow_s1", 1, 0.2)]
    runs = [read_run(make_run(tmp_path, name, seed=seed, settings={"lr": lr})) for name, seed, lr in given]
    runs.append(read_run(make_run(tmp_path, "bare")))
    runs[-1].settings = {}
    runs.append(read_run(make_run(tmp_path, "open", seed=2)))
    runs[-1].status = "running"
    groups = seed_groups(runs)
    assert [group["members"] for group in groups] == [[0, 3], [2, 4]], "of two runs with one seed the last counts"
    assert groups[1]["name"] == "lite_unet: slow"


def test_names_of_groups_are_unique(tmp_path):
    runs = [read_run(make_run(tmp_path, name, settings={"lr": lr})) for name, lr in (("2026-1", 0.1), ("2026-2", 0.2))]
    assert [group["name"] for group in seed_groups(runs)] == ["lite_unet", "lite_unet (2)"]
