"""Arguments, options and exit statuses that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

EXIT_STATUS = {"passed": 0, "gate_failed": 3, "refuted": 4, "incomplete": 5}
"""Of a verdict; those of errors are in `models/errors.py`."""

JobFile = Annotated[
    Path, typer.Argument(metavar="JOB_FILE", help="A job file in TOML.", show_default=False)
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX classifier.", show_default=False)
]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Id of the run; continues one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
