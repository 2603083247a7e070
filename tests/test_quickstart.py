"""The notebook of the documentation runs from its first cell to its last."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def test_the_notebook_runs_with_a_tiny_training(tmp_path, rooms_root):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    overlay = str(ROOT / "tests" / "overlays" / "rooms.yaml")
    settings = {"max_steps": 2, "root": str(rooms_root), "config": overlay, "device": "cpu"}
    settings["runs_dir"] = str(tmp_path / "runs")
    parameters.source = f"EXPERIMENT, SETTINGS = 'lite_unet', {settings!r}"
    for cell in notebook.cells:  # the photo is read and the results are written relative to the folder of the clone
        cell.source = cell.source.replace('"docs/', f'"{ROOT}/docs/').replace('"quickstart_out"', f'"{tmp_path}/out"')
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    *_, last = notebook.cells
    assert last.outputs[0]["data"]["text/plain"] == "True"


def test_the_notebook_is_executed_and_small():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert NOTEBOOK.stat().st_size < 300_000
    assert not any(part in NOTEBOOK.read_text() for part in ("site-packages", "/home/", "/tmp/"))
