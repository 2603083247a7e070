import networks.weights
from tools import doctor


def test_it_reports_a_whole_machine(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    for words in ("plumbline commit", "torchvision", "CPU", "W&B", "offline", "free disk", "not reachable"):
        assert words in printed


def test_it_runs_where_there_is_no_git(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.main() == 0
    assert "unknown" in capsys.readouterr().out


def test_a_missing_package_is_named_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "plumbline-needs-this"))
    assert doctor.main() == 1
    assert "missing" in capsys.readouterr().out
    assert doctor.version("plumbline-needs-this") is None


def test_the_hub_is_reached_in_the_same_way_as_for_weights(monkeypatch, capsys):
    assert doctor.hub_reachable is networks.weights.hub_reachable
    monkeypatch.setattr(doctor, "hub_reachable", lambda: True)
    doctor.main()
    printed = capsys.readouterr().out
    assert "reachable" in printed
    assert "not reachable" not in printed
