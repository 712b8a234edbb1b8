"""Commands about a cluster that outlives a command: start its head here, and stop it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from certify.commands.options import AsJson
from models.errors import InvalidInputError

app = typer.Typer(no_args_is_help=True, help="A Ray cluster on this machine, for many runs.")


@app.command()
def start(
    host: Annotated[
        str, typer.Option("--host", help="IP address to listen on; others reach it there.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port of the job server.")] = 8265,
    join_port: Annotated[
        int, typer.Option("--join-port", help="Port that other machines join through.")
    ] = 6379,
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", min=0, help="Processors of this machine for runs; all if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a head on this machine, with a token of its own; on loopback without --host."""
    from workers.head import start_head

    head = start_head(host=host, port=port, join_port=join_port, cpus=cpus)
    typer.echo(json.dumps(asdict(head), indent=2) if as_json else head.address)
    typer.echo(f"submit to it:  certify submit job.toml --address {head.address}", err=True)
    if host.startswith("127.") or host == "::1":
        typer.echo("no other machine reaches it; --host ADDRESS opens it to a network", err=True)
    else:
        typer.echo(
            f"whoever reaches {host} and has the token can run any program here, as you; nothing "
            "is encrypted: open it to a network of your own alone\n"
            f"another machine joins, with the same packages and a copy of {head.token} (mode 600):"
            "\n  RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=COPY "
            f"ray start --block --address={head.join}",
            err=True,
        )
    typer.echo("end it:  certify cluster stop", err=True)


@app.command()
def stop() -> None:
    """Stop the head that was started here; runs that are on it can be resumed."""
    from workers.head import recorded_head, stop_head

    head = recorded_head()
    if head is None:
        raise InvalidInputError("no cluster was started here")
    there = stop_head(head)
    typer.echo(f"{head.address} {'is stopped' if there else 'was gone already'}", err=True)
