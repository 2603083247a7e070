"""Saving in W&B: what is sent is what was written, and a second call replaces it."""

import json

import pytest

pytest.importorskip("wandb_workspaces", reason="the package is missing: pip install 'plumbline[dashboard]'")

import wandb
import wandb_workspaces.reports.v2.interface as reports_library
import wandb_workspaces.workspaces.interface as workspaces_library
from wandb_workspaces.workspaces import internal

from tests.tools.dashboard.test_definition import PAPER, PROJECT
from tools.dashboard.definition import as_data, report, workspace
from tools.dashboard.saving import SAVED, save


class Server:
    """A W&B server that keeps views by their ids."""

    default_entity = "team"

    def __init__(self, monkeypatch):
        self.views, self.fails = {}, False
        monkeypatch.setattr(wandb, "Api", lambda *_, **__: self)
        monkeypatch.setattr(reports_library, "_get_api", lambda: self)
        for module in (reports_library, internal):
            monkeypatch.setattr(module, "execute_graphql", self.execute)
        for module in (reports_library, workspaces_library):
            monkeypatch.setattr(module, "get_app_url", lambda api: "https://wandb.test")

    def projects(self, entity):
        return []

    def create_project(self, name, entity):
        self.project = f"{entity}/{name}"

    def execute(self, api, query, variables):
        if self.fails:
            raise wandb.errors.CommError("permission denied\nfor team")
        identity = variables.get("id") or f"view{len(self.views)}"
        self.views[identity] = variables
        view = {"id": identity, "name": variables["name"], "displayName": variables["displayName"]}
        view |= {"description": "", "spec": variables["spec"], "project": {"name": "x", "entityName": "team"}}
        return {"upsertView": {"view": view | {"createdAt": None, "updatedAt": None}, "inserted": True}}


@pytest.fixture
def server(monkeypatch):
    return Server(monkeypatch)


def views():
    return workspace(PROJECT, [PAPER]), {"a_paper": report(PROJECT, PAPER)}


def test_what_is_sent_is_the_definition(server, tmp_path):
    urls = save(tmp_path, PROJECT, *views())
    assert len(urls) == 2
    assert all(url.startswith("https://wandb.test/team/plumbline") for url in urls)
    overview, paper = server.views.values()
    assert (overview["entityName"], overview["projectName"]) == ("team", "plumbline")
    sections = json.loads(overview["spec"])["section"]["panelBankConfig"]["sections"]
    written = as_data(views()[0])["spec"]["section"]["panelBankConfig"]["sections"]
    assert [each["name"] for each in sections] == [each["name"] for each in written]
    blocks = json.loads(paper["spec"])["blocks"]
    assert len(blocks) == len(as_data(views()[1]["a_paper"])["spec"]["blocks"])


def test_a_second_call_replaces_and_another_project_gets_its_own(server, tmp_path):
    save(tmp_path, PROJECT, *views())
    save(tmp_path, PROJECT, *views())
    assert len(server.views) == 2
    names = {view["name"] for view in server.views.values() if view["type"] == "project-view"}
    content = json.loads((tmp_path / SAVED).read_text())
    assert names == {content["workspace"][0]}
    content["project"] = "team/other"
    (tmp_path / SAVED).write_text(json.dumps(content))
    save(tmp_path, PROJECT, *views())
    assert len(server.views) == 4
    (tmp_path / SAVED).write_text("{")
    save(tmp_path, PROJECT, *views())
    assert len(server.views) == 6, "a damaged file of ids means new views"


def test_a_refusal_is_one_sentence(server, tmp_path):
    server.fails = True
    with pytest.raises(ValueError, match=r"did not take the dashboard \(permission denied for team\): check") as error:
        save(tmp_path, PROJECT, *views())
    assert "\n" not in str(error.value)


def test_a_refusal_forgets_no_view(server, tmp_path):
    save(tmp_path, PROJECT, *views())
    before = (tmp_path / SAVED).read_text()
    server.fails = True
    with pytest.raises(ValueError, match="did not take"):
        save(tmp_path, PROJECT, *views())
    assert (tmp_path / SAVED).read_text() == before
