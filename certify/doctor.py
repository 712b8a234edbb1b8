"""What this installation has, found by trying and not by asking."""

import importlib.util
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from certify.runs.environment import describe_environment
from workers.machine import describe_accelerators


def examine(runs: Path) -> dict[str, Any]:
    """Versions, processors, GPU, runtimes, and whether the run folder can be written.

    Returns:
        The findings; `faults` lists what will keep a job from running, in sentences.
    """
    found: dict[str, Any] = describe_environment() | describe_accelerators()
    faults: list[str] = found.pop("faults")
    packages = found["packages"]
    if {"onnxruntime", "onnxruntime-gpu"} <= packages.keys():
        faults.append(
            "onnxruntime and onnxruntime-gpu share one folder; uninstall both, install one"
        )
    if "onnxruntime" not in packages and "onnxruntime-gpu" not in packages:
        faults.append("neither onnxruntime nor onnxruntime-gpu is installed")
    needed = ("torch", "ray", "onnx", "pyautoattack")
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    faults += [f"{module} is not installed" for module in missing]
    writable = _writable(runs)
    if not writable:
        faults.append(f"the run folder {runs} cannot be written")
    return found | {"run_folder": str(runs), "run_folder_writable": writable, "faults": faults}


def print_examination(found: dict[str, Any], *, as_json: bool) -> None:
    """Print the findings for a person, or as they are for a program."""
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201
        return
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for key, value in found.items():
        if key in ("packages", "faults"):
            continue
        table.add_row(key.replace("_", " "), _words(value))
    for package, version in found["packages"].items():
        table.add_row(package, version)
    console = Console()
    console.print(table)
    for fault in found["faults"]:
        console.print(f"FAULT: {fault}", highlight=False, soft_wrap=True)
    if not found["faults"]:
        console.print(f"in order: jobs can run here, on {platform.system()}", highlight=False)


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value) or "none"
    return str(value)


def _writable(folder: Path) -> bool:
    """Whether a file can be made in a folder, or in the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
