"""The notebooks: their cells run in order, and mkdocs gets a page of each."""

import importlib.util
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(notebook, kind):
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.pages
@pytest.mark.usefixtures("no_pictures", "compiled_once")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run_in_order(notebook, tmp_path, monkeypatch):
    """In one namespace, as a kernel does."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for number, code in enumerate(cells(notebook, "code"), start=1):
        exec(compile(code, f"{notebook.name}, cell {number}", "exec"), namespace)
    plt.close("all")
    if notebook.stem == "my_images":
        assert namespace["summary"]["test"]["accuracy"] > 0.6  # of three classes
    else:
        accuracies = {name: summary["test"]["accuracy"] for name, summary in namespace["summaries"].items()}
        assert len(accuracies) == 4 and min(accuracies.values()) > 0.4  # of five classes


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_manual_has_a_page_of_each(notebook):
    spec = importlib.util.spec_from_file_location("mkdocs_hook", FOLDER / "mkdocs_hook.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    page = hook.page(notebook)
    assert page.startswith("# ") and all(f"```python\n{code}\n```" in page for code in cells(notebook, "code"))
    assert f"notebooks/{notebook.stem}.md" in (FOLDER.parent / "mkdocs.yml").read_text()
    assert "../docs/" not in page and str(Path.home()) not in page
