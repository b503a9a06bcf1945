"""Execute a notebook without Jupyter. `python tests/support/report/notebook.py FILE` also stores the figures in it."""

import json
import os
import sys
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells with code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def execute(path: Path) -> tuple[dict[str, Any], list[list[bytes]]]:
    """Run the code cells in the notebook's folder; returns their variables, and the figures (PNG) of each cell."""
    variables: dict[str, Any] = {}
    figures: list[list[bytes]] = []
    cells, before = code_cells(json.loads(path.read_text(encoding="utf-8"))), Path.cwd()
    os.chdir(path.parent)
    try:
        for cell in cells:
            exec("".join(cell["source"]), variables)
            images = [BytesIO() for _ in pyplot.get_fignums()]
            for image, number in zip(images, pyplot.get_fignums(), strict=True):
                pyplot.figure(number).savefig(image, format="png", metadata={"Software": None})
            figures.append([image.getvalue() for image in images])
            pyplot.close("all")
    finally:
        os.chdir(before)
    return variables, figures


def store_figures(path: Path) -> None:
    """Execute the notebook and store each cell's figures as its output."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    _, figures = execute(path)
    for number, (cell, images) in enumerate(zip(code_cells(notebook), figures, strict=True), 1):
        cell["execution_count"] = number
        cell["outputs"] = [
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": b64encode(png).decode()}}
            for png in images
        ]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    store_figures(Path(sys.argv[1]))
