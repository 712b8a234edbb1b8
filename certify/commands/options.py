"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

JobFile = Annotated[
    Path, typer.Argument(metavar="JOB_FILE", help="A job file in TOML.", show_default=False)
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX classifier.", show_default=False)
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run.", show_default=False)]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Id of the run; continues one.")
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="URL", help="Job server of the cluster to run on."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="On a cluster: submit, and do not follow the run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
