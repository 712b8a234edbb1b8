"""The command that puts claims of the theory to the test."""

from pathlib import Path
from typing import Annotated

import typer

from certify.commands.options import AsJson


def study(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A study, `all` of them, or `list` for their names."),
    ],
    quick: Annotated[bool, typer.Option("--quick", help="The short form, under a minute.")] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for numbers, figures and pages.")
    ] = Path("studies"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random number.")] = 0,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Images to run on in place of the study's: a path or a name."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a claim of the theory of 1-Lipschitz classifiers to the test, and make a page of it."""
    import json

    from certify.checking.studies import (
        carry_out_all,
        chosen_studies,
        list_studies,
        refuse_unborne,
        tell,
    )
    from certify.runs.interruption import stoppable

    if name == "list":
        list_studies(as_json=as_json)
        return
    findings = []
    chosen = chosen_studies(name)
    then = f"studies that had ended are in {out}; the same command begins again"
    with stoppable(then):
        for found in carry_out_all(chosen, quick=quick, seed=seed, out=out, data=data):
            findings.append(found)
            if not as_json:
                tell(found, out)
    if as_json:
        answer = findings if name == "all" else findings[0]
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif name == "all":
        typer.echo(out / "index.html")
    refuse_unborne(findings)
