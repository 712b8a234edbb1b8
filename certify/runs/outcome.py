"""What a run ends with on the terminal: the verdict, a table, the path of the report."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from certify.runs.records import EXIT_STATUS
from certify.runs.run_dir import RunDir
from reports.front import beaten_by_none
from reports.verdict import caveat

VERDICTS = {
    "passed": "PASSED: no attack refuted a certificate, and every gate holds",
    "gate_failed": "GATE FAILED: no attack refuted a certificate, but a gate does not hold",
    "refuted": "REFUTED: an attack broke a certificate; no radius of this run may be used",
}

BROKEN = {
    "radius": "BROKEN: the class changes inside the radius",
    "pair": "BROKEN: the gap of two classes moves beyond its bound",
}


def exit_status(summary: dict[str, Any]) -> int:
    """What the command of a run ends with that came to its end; a sweep has no verdict."""
    verdict = None if "trials" in summary else summary["verdict"]
    return 0 if verdict is None else EXIT_STATUS[verdict]


def print_summary(summary: dict[str, Any], run_dir: RunDir, *, as_json: bool) -> None:
    """Print what a run gave, a job, a batch evaluation or a sweep."""
    report = run_dir.where("report.html")
    if "trials" in summary:
        print_sweep(summary, report=report, as_json=as_json)
    elif summary["verdict"] is None:
        print_evaluation(summary, rows=run_dir.where("rows"), as_json=as_json)
    else:
        print_outcome(summary, report=report, as_json=as_json)


def print_outcome(summary: dict[str, Any], *, report: str, as_json: bool) -> None:
    """Print a summary for a person, or as it is for a program."""
    if as_json:
        print(json.dumps(summary, indent=2))  # noqa: T201
        return
    console = Console()
    console.print(f"\n{VERDICTS[summary['verdict']]}", style="bold", highlight=False)
    if unasked := caveat(summary):
        console.print(unasked, style="bold", highlight=False)
    for gate in summary["gates"]:
        word = "holds" if gate["passed"] else "FAILS"
        console.print(f"  {word}  {gate['gate']}  (found {gate['found']:.4g})", highlight=False)
    console.print(_table(summary))
    console.print(f"report {report}", highlight=False, soft_wrap=True)


def print_evaluation(summary: dict[str, Any], *, rows: str, as_json: bool) -> None:
    """Print what a batch evaluation gave; there is no verdict, since nothing was attacked."""
    if as_json:
        print(json.dumps(summary, indent=2))  # noqa: T201
        return
    text = f"{summary['rows']} images evaluated; nothing was attacked"
    if summary["labelled"]:
        share = summary["correct"] / summary["labelled"]
        text += f"; of {summary['labelled']} with a label {share:.2%} have it as their class"
    console = Console()
    console.print(f"\n{text}", highlight=False, soft_wrap=True)
    console.print(f"rows   {rows}", highlight=False, soft_wrap=True)


def print_sweep(summary: dict[str, Any], *, report: str, as_json: bool) -> None:
    """Print what a sweep came to: the trials that no other beats, and how to go on."""
    if as_json:
        print(json.dumps(summary, indent=2))  # noqa: T201
        return
    console, place = Console(), summary["judging"]
    front = [
        trial
        for trial in summary["trials"]
        if trial["failed"] is None and trial["dominated_by"] is None
    ]
    table = Table(show_edge=False, pad_edge=False)
    for column in ("run", "clean", f"certified at {summary['eps'][place]:.4g}"):
        table.add_column(column, justify="left" if column == "run" else "right", no_wrap=True)
    table.add_column("values", overflow="fold")
    for trial in sorted(front, key=lambda trial: -trial["certified_accuracy"][place]):
        values = ", ".join(f"{key} = {value}" for key, value in trial["values"].items())
        shares = (trial["clean_accuracy"], trial["certified_accuracy"][place])
        table.add_row(trial["run"], *(f"{share:.2%}" for share in shares), values)
    console.print(
        f"\n{len(front)} {beaten_by_none(len(front), trials=len(summary['trials']))}, on "
        f"{summary['examples']} validation images",
        style="bold",
        highlight=False,
    )
    console.print(table, markup=False)
    console.print(f"report {report}", highlight=False, soft_wrap=True)


def print_replay(found: dict[str, Any], *, as_json: bool) -> None:
    """Print what a counterexample shows."""
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201
        return
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for name, value in _shown(found):
        table.add_row(name, value)
    console = Console()
    console.print(table)
    verdict = "no break"
    if found["broken"]:
        verdict = BROKEN["pair" if "classes" in found else "radius"]
    console.print(verdict, style="bold", highlight=False)


def _shown(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What a counterexample shows, line by line."""
    if "classes" in found:
        return [
            ("classes", " and ".join(str(label) for label in found["classes"])),
            ("claimed bound of their gap", f"{found['bound']:.9g}"),
            ("seen to move, per unit of input", f"{found['seen']:.9g}"),
        ]
    kind = " (float32)" if found["semantics"] == "radius_float32" else ""
    return [
        ("certified class", str(found["certified"])),
        (f"claimed radius{kind}", f"{found['radius']:.9g}"),
        ("distance of the attacked image", f"{found['distance']:.9g}"),
        ("class of the original", str(found["original_class"])),
        ("class of the attacked image", str(found["attacked_class"])),
        ("the same in ONNX Runtime", str(found["attacked_class_float32"])),
    ]


def _table(summary: dict[str, Any]) -> Table:
    """Accuracies by ε; the last two columns are on the same attacked examples."""
    tested, attacked = summary["test_examples"], summary["attacked_examples"]
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("L2 ε")
    table.add_column(f"certified\nall {tested}", justify="right")
    table.add_column(f"certified\n{attacked} attacked", justify="right")
    table.add_column(f"robust\n{attacked} attacked", justify="right")
    clean = summary["clean_accuracy_attacked"]
    table.add_row("0 (clean)", f"{summary['clean_accuracy']:.2%}", f"{clean:.2%}", f"{clean:.2%}")
    columns = ("eps", "certified_accuracy", "certified_accuracy_attacked", "robust_accuracy")
    for eps, *shares in zip(*(summary[column] for column in columns), strict=True):
        table.add_row(f"{eps:.4g}", *(f"{share:.2%}" for share in shares))
    return table
