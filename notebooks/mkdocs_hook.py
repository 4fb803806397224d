"""A hook of mkdocs that makes each notebook a page of the manual, with the outputs that it was stored with."""

import html
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_LONG = 15  # lines of an output; longer ones are folded away


def on_files(files: Any, config: Any) -> Any:
    """Add the pages; mkdocs calls this."""
    from mkdocs.structure.files import File

    for notebook in sorted(HERE.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page(notebook)))
    return files


def page(notebook: Path) -> str:
    """A notebook as Markdown."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(_block("python", source) if cell["cell_type"] == "code" else source.replace("](../docs/", "](../"))
        parts += map(_output, cell.get("outputs", ()))
    return "\n\n".join(filter(None, parts)) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![](data:image/png;base64,{''.join(data['image/png']).strip()})"
    text = "".join(output.get("text") or data.get("text/plain", "")).rstrip()
    if text.count("\n") < _LONG:
        return _block("text", text)
    return f"<details><summary>What it prints</summary><pre>{html.escape(text)}</pre></details>"


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```" if text else ""
