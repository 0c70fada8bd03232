"""Execute the notebooks of examples/: ``python -m docs.notebooks``, or with the names of some.

What they print to stderr (the progress and the advice of Lightning) is not kept.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "examples"


def execute(file):
    """Execute a notebook in an empty folder, and write its outputs into it."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, resources=where, record_timing=False, timeout=900)
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, file)


if __name__ == "__main__":
    for file in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        execute(Path(file))
