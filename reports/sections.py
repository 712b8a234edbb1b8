"""The tables of the page as rows of words, each derived from the results and nothing else."""

from typing import Any

import numpy as np

from reports.results import Results
from reports.rows import Examples, attacked_at, certified_at, fates_at
from reports.words import (
    at_budget,
    budget,
    count,
    duration,
    number,
    percent,
    rounded_down,
    rounded_up,
)

HASHES = {
    "model_sha256": "Model file, SHA-256",
    "source_sha256": "Foreign file, SHA-256",
    "program_sha256": "Program certified, SHA-256",
    "data_sha256": "Data, SHA-256",
    "job_sha256": "Job, SHA-256",
}
FATES = {
    "certified": "proven",
    "held": "held out, not proven",
    "broken": "broken by an attack",
    "wrong": "wrong without any change",
    "refuted": "broken inside its radius",
}


def accuracy_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row an ε, the first one without any change."""
    float32 = summary["certified_accuracy_float32"] or [None] * len(summary["eps"])
    rows: list[dict[str, Any]] = [
        {
            "eps": "no change",
            "clean": True,
            "certified": percent(summary["clean_accuracy"]),
            "float32": percent(summary["clean_accuracy"]) if float32[0] is not None else "–",
            "attacked": percent(summary["clean_accuracy_attacked"]),
            "robust": percent(summary["clean_accuracy_attacked"]),
        }
    ]
    for place, eps in enumerate(summary["eps"]):
        rows.append(
            {
                "eps": budget(eps),
                "clean": False,
                "certified": percent(summary["certified_accuracy"][place]),
                "float32": percent(float32[place]),
                "attacked": percent(summary["certified_accuracy_attacked"][place]),
                "robust": percent(summary["robust_accuracy"][place]),
            }
        )
    return rows


def fate_bars(results: Results, examples: Examples) -> list[dict[str, Any]]:
    """For each ε the attacked images by what became of them; empty without attacks."""
    bars = []
    for eps in results.summary["eps"] if results.summary["attacked_examples"] else ():
        attacked = attacked_at(results.attacks, eps, examples=len(examples))
        fates = fates_at(examples, attacked, eps)
        parts = []
        for name in ("certified", "held", "broken", "refuted", "wrong"):
            images = int(getattr(fates, name).sum())
            if images:
                parts.append({"name": name, "images": images, "label": FATES[name]})
        bars.append({"eps": at_budget(eps), "parts": parts})
    return bars


def class_rows(results: Results, examples: Examples) -> list[dict[str, Any]]:
    """A row a class that has test images; the median radius counts wrong images with 0."""
    rows = []
    radius = np.where(examples.correct, examples.radius, 0.0)
    proven = [certified_at(examples, eps) for eps in results.summary["eps"]]
    for label, name in enumerate(results.classes):
        mine = examples.label == label
        if mine.any():
            rows.append(
                {
                    "name": name,
                    "images": count(int(mine.sum())),
                    "clean": percent(float(examples.correct[mine].mean())),
                    "certified": [
                        {"text": percent(share), "share": share}
                        for share in (float(at_eps[mine].mean()) for at_eps in proven)
                    ],
                    "median": rounded_down(float(np.median(radius[mine])), decimals=3),
                }
            )
    return rows


def operator_rows(bounds: dict[str, Any]) -> list[dict[str, str]]:
    """A row an operator: by how much it stretches, and all up to it."""
    return [
        {
            **{key: str(each.get(key) or "") for key in ("name", "operator", "shape", "method")},
            "factor": rounded_up(each["factor"], decimals=8),
            "bound": rounded_up(each["bound"], decimals=8),
        }
        for each in bounds["operators"]
    ]


def pair_words(results: Results) -> dict[str, str] | None:
    """The least and the greatest bound of a pair of classes, with their names."""
    bounds = np.asarray(results.bounds["pair_bounds"], dtype=np.float64)
    one, other = np.triu_indices(len(bounds), k=1)
    pairs = bounds[one, other]
    if not len(pairs) or np.isnan(pairs).any():
        return None

    def names(place: int) -> str:
        return f"“{results.classes[one[place]]}” and “{results.classes[other[place]]}”"

    low, high = int(pairs.argmin()), int(pairs.argmax())
    return {
        "low": rounded_up(float(pairs[low]), decimals=4),
        "low_names": names(low),
        "high": rounded_up(float(pairs[high]), decimals=4),
        "high_names": names(high),
    }


def gate_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a gate, what was found as a person would read it."""
    rows = []
    for gate in summary["gates"]:
        found = gate["found"]
        words = number(found) if isinstance(found, float) else str(found)
        if "accuracy" in str(gate["gate"]) and isinstance(found, int | float):
            words = f"{number(found)} ({percent(found)})"
        rows.append({"gate": str(gate["gate"]), "found": words, "passed": bool(gate["passed"])})
    return rows


def stage_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a stage: its time, and its share of the longest for a bar."""
    longest = max(summary["seconds"].values(), default=0.0) or 1.0
    return [
        {"stage": stage, "time": duration(seconds), "share": seconds / longest}
        for stage, seconds in summary["seconds"].items()
    ]


def provenance_rows(results: Results) -> list[dict[str, Any]]:
    """What the run was made from and with; hashes first."""
    certificate = results.certificate
    rows: list[dict[str, Any]] = [
        {"name": name, "value": str(certificate[key]), "code": True}
        for key, name in HASHES.items()
        if certificate.get(key) is not None
    ]
    rows.append({"name": "Run", "value": str(results.summary["run"]), "code": True})
    rows.append({"name": "Seed", "value": str(results.job.get("seed", "–")), "code": False})
    for key, value in results.environment.items():
        rows.append({"name": key, "value": _flat(value), "code": False})
    return rows


def sources(results: Results) -> list[dict[str, str]]:
    """Which figures come from which artefact of the run, of those that the page has."""
    rows = [
        ("bounds.json", "the Lipschitz bounds"),
        ("certificates.parquet", "clean and certified accuracy, and the radii"),
    ]
    if len(results.attacks):
        rows.append(("attacks.parquet", "which images were attacked, and robust accuracy"))
    if len(results.radius_attacks):
        rows.append(("radius_attacks.parquet", "attacks inside each image’s own radius"))
    if results.searched is not None:
        rows += [
            ("perturbations.parquet", "smallest changes, tightness, and robust to all attacks"),
            ("stretches.parquet", "how much of the bounds of pairs of classes was seen"),
            ("masking.json", "signs of blind attacks"),
        ]
    if results.history:
        rows.append(("train/metrics.jsonl", "the course of training, an estimate where it says so"))
    return [{"file": file, "figures": figures} for file, figures in rows]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(each) for each in value)
    return "–" if value is None else str(value)
