"""Synthetic runs that look like real ones: results as the pipeline would hand them over."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_digits

from models.tables import ATTACKS, CERTIFICATES
from reports.page import render_page
from reports.pictures import rows_to_show
from reports.results import Results
from reports.summary import summarise

ATTACK_NAMES = "apgd-ce,apgd-t,fab-t,square"
EPS = (36 / 255, 0.5, 1.0)
GATES = [
    {"gate": "clean_accuracy >= 0.9", "found": 0.9472, "passed": True},
    {"gate": "certified_accuracy@0.5 >= 0.6", "found": 0.7083, "passed": True},
    {"gate": "violations == 0", "found": 0, "passed": True},
]
SECONDS = {"train": 14.2, "export": 0.8, "prove": 0.4, "certify": 0.6, "attack": 71.3, "check": 1.1}


def certificates_table(label, prediction, radius, *, rival=None, margin=None, radius_float32=None):
    """A table of certificates from three columns; the others are made to fit."""
    label, prediction = np.asarray(label), np.asarray(prediction)
    radius = np.asarray(radius, dtype=np.float64)
    if radius_float32 is None:
        radius_float32 = np.maximum(radius - 0.02, 0.0)
    columns = {
        "index": np.arange(len(label)),
        "label": label.astype(np.int32),
        "prediction": prediction.astype(np.int32),
        "rival": np.asarray(1 - np.minimum(prediction, 1) if rival is None else rival, np.int32),
        "margin": np.asarray(radius * 2**0.5 if margin is None else margin, np.float64),
        "radius": radius,
        "radius_float32": list(radius_float32),
    }
    return pa.table(columns, schema=CERTIFICATES)


def attack_row(row, eps, *, correct=True, robust=True, **other):
    """A row of the attack table: an example that held, unless said otherwise."""
    return {
        "row": row,
        "eps": eps,
        "attacks": ATTACK_NAMES,
        "left_out": 0,
        "correct": correct,
        "robust": robust,
        "claimed": correct and not robust,
        "broken_by": "apgd-ce" if correct and not robust else "",
        "prediction": 0,
        "distance": 0.0,
        "gap": 0.0,
        "attacked": None,
        **other,
    }


def attacks_table(rows):
    """A table of attack rows in the order of the schema: ε rising, then the split."""
    rows = sorted(rows, key=lambda row: (row["eps"], row["row"]))
    return pa.Table.from_pylist(rows, schema=ATTACKS)


def synthetic_results(
    images, labels, *, classes, eps=EPS, strength=1.1, accuracy=0.95, attacked=120, seed=7
):
    """A run over these images: plausible radii, breaks beyond them, all derived figures."""
    noise = np.random.default_rng(seed)
    n, k = len(labels), len(classes)
    ease = noise.normal(size=k)[labels] * 0.25
    radius = np.maximum(strength * (noise.gamma(3.2, 0.33, n) + 0.12 * ease), 0.002)
    radius[noise.random(n) < 0.05] *= 0.05
    wrong = noise.random(n) > accuracy
    radius[wrong] *= 0.35
    prediction = np.where(wrong, (labels + noise.integers(1, k, n)) % k, labels)
    rival = (prediction + noise.integers(1, k, n)) % k
    pair = 1.3 + 0.12 * noise.random((k, k))
    pair = (pair + pair.T) / 2
    np.fill_diagonal(pair, 0.0)
    certificates = certificates_table(
        labels,
        prediction,
        radius,
        rival=rival,
        margin=radius * pair[prediction, rival] * (1 + 1e-9),
    )
    rows = []
    for row in sorted(noise.choice(n, size=min(attacked, n), replace=False).tolist()):
        slack = 1.04 + noise.gamma(2.0, 0.14)
        step = noise.normal(size=images[row].shape).astype(np.float32)
        step[np.abs(step) < 0.7] = 0
        for each in eps:
            if wrong[row]:
                rows.append(attack_row(row, each, correct=False, robust=False))
                continue
            distance = radius[row] * slack
            moved = np.clip(images[row] + step * distance / np.linalg.norm(step), 0, 1)
            distance = float(np.linalg.norm(moved - images[row]))
            broken = radius[row] <= distance <= each
            found = {"prediction": int(rival[row]), "distance": distance, "gap": 0.01}
            found |= {"attacked": moved.astype("<f4").tobytes()}
            rows.append(attack_row(row, each, robust=not broken, **(found if broken else {})))
    attacks = attacks_table(rows)
    radius_attacks = attacks_table([attack_row(row, 0.1) for row in range(attacked)])
    shown = rows_to_show(certificates, attacks)
    return Results(
        job=job_of(images, eps=eps, attacked=attacked),
        classes=tuple(classes),
        certificates=certificates,
        attacks=attacks,
        radius_attacks=radius_attacks,
        bounds=bounds_of(pair),
        summary=summarise(
            run="digits-7f3a9c",
            verdict="passed",
            certificates=certificates,
            attacks=attacks,
            radius_attacks=radius_attacks,
            eps=eps,
            lipschitz_bound=1.0000021,
            violations=0,
            seconds=SECONDS,
            gates=GATES,
        ),
        images={row: images[row] for row in shown},
        history=[
            {
                "epoch": epoch,
                "loss": 0.9 * 0.78**epoch + 0.21,
                "drift": 3e-7,
                "learning_rate": 4e-3,
                "clean_accuracy": 0.95 - 0.5 * 0.6**epoch,
                "certified_accuracy": [0.93 - 0.12 * i - 0.5 * 0.7**epoch for i in range(len(eps))],
            }
            for epoch in range(1, 21)
        ],
        environment={
            "python": "3.11.9",
            "platform": "Linux x86_64",
            "packages": {"torch": "2.9.1", "onnxruntime": "1.24.0", "ray": "2.52.0"},
        },
        certificate={
            "model_sha256": "9f2c" * 16,
            "data_sha256": "51ab" * 16,
            "job_sha256": "c07e" * 16,
            "program_sha256": "18dd" * 16,
            "lipschitz_bound": 1.0000021,
            "semantics": {"real": "radius", "float32": "radius_float32"},
        },
    )


def job_of(images, *, eps, attacked):
    return {
        "name": "digits",
        "seed": 0,
        "gates": [gate["gate"] for gate in GATES],
        "data": {"source": "digits", "path": None, "validation": 0.1, "test": 0.2},
        "model": {"architecture": "mlp", "widths": [64, 64, 64], "components": None},
        "train": {
            "epochs": 20,
            "batch_size": 64,
            "loss": {"name": "certified-radius", "margin": 0.75, "temperature": 0.25},
        },
        "certify": {"eps": list(eps), "shard_size": 1000},
        "attack": {"examples": attacked, "shard_size": 50},
        "resources": {"workers": 1, "cpus_per_worker": None, "gpus_per_worker": 0},
    }


def bounds_of(pair):
    def operator(*values):
        keys = ("name", "operator", "shape", "method", "factor", "bound")
        return dict(zip(keys, values, strict=True))

    return {
        "lipschitz_bound": 1.0000021,
        "feature_bound": 1.0000009,
        "operators": [
            operator("centre", "Add", "64", "constant shift", 1.0, 1.0),
            operator("axes", "Gemm", "64 × 64", "rotation and row sums", 1.0000002, 1.0000002),
            operator("body.0", "Gemm", "64 × 64", "near-orthogonal", 1.0000004, 1.0000006),
            operator("body.0.sort", "MaxMin", "64", "part of a sort", 1.0, 1.0000006),
            operator("body.1", "Gemm", "64 × 64", "near-orthogonal", 1.0000003, 1.0000009),
            operator("body.1.sort", "MaxMin", "64", "part of a sort", 1.0, 1.0000009),
            operator("head", "Gemm", "64 × 10", "rotation and row sums", 1.0000012, 1.0000021),
        ],
        "pair_bounds": pair.tolist(),
        "refused_float32": None,
    }


@functools.cache
def digits_results(*, attacked=120, eps=EPS):
    """360 grey digits, 10 classes, some of them attacked, passed."""
    digits = load_digits()
    images = (digits.images[:360, None] / 16).astype(np.float32)
    classes = [str(i) for i in range(10)]
    return synthetic_results(
        images, digits.target[:360], classes=classes, eps=eps, attacked=attacked
    )


@functools.cache
def colour_results():
    """500 colour images of 32 × 32 in 100 classes with long names, without radius_float32."""
    noise = np.random.default_rng(3)
    labels = np.arange(500) % 100
    y, x = np.mgrid[0:32, 0:32] / 31
    hue = noise.random((100, 3, 1, 1))[labels]
    centre = noise.random((500, 2, 1, 1, 1)).transpose(1, 0, 2, 3, 4)
    blob = np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) * 9))
    images = np.clip(hue * blob + 0.25 * (1 - hue) * y, 0, 1).astype(np.float32)
    names = [f"class-{i:02d}" for i in range(100)]
    names[3] = "a-particularly-long-name-of-a-class-that-nobody-would-read-aloud"
    names[17] = "aquarium fish, wild-caught or bred"
    results = synthetic_results(images, labels, classes=names, strength=0.5, accuracy=0.62)
    certificates = results.certificates.set_column(
        6, CERTIFICATES.field(6), pa.nulls(500, pa.float64())
    )
    reason = "Softmax 'probabilities': its own rounding in float32 is not covered"
    results = dataclasses.replace(
        results,
        certificates=certificates,
        job=results.job
        | {"name": "tiny-cifar", "data": {"source": "folder", "path": "photographs/cifar"}},
        bounds=results.bounds
        | {"refused_float32": reason, "assumptions": ["Tanh in float64 is accurate to 2⁻⁴⁰"]},
    )
    return with_verdict(results, "passed")


def with_verdict(results, verdict, *, violations=0, gates=None):
    """The same rows under another verdict."""
    summary = results.summary
    return dataclasses.replace(
        results,
        summary=summarise(
            run=summary["run"],
            verdict=verdict,
            certificates=results.certificates,
            attacks=results.attacks,
            radius_attacks=results.radius_attacks,
            eps=tuple(summary["eps"]),
            lipschitz_bound=summary["lipschitz_bound"],
            violations=violations,
            seconds=summary["seconds"],
            gates=summary["gates"] if gates is None else gates,
        ),
    )


@functools.cache
def refuted_results():
    """The digits run with a radius claimed above a break that the attack found."""
    results = digits_results()
    rows = results.attacks.to_pylist()
    broken = next(each["row"] for each in rows if each["attacked"] is not None)
    radius = results.certificates["radius"].to_numpy().copy()
    radius[broken] = 1.4 * max(each["distance"] for each in rows if each["row"] == broken) + 0.01
    certificates = results.certificates.set_column(
        5, CERTIFICATES.field(5), pa.array(radius, pa.float64())
    )
    shown = rows_to_show(certificates, results.attacks)
    digits = load_digits().images[:, None] / 16
    results = dataclasses.replace(
        results,
        certificates=certificates,
        images={row: digits[row].astype(np.float32) for row in shown},
    )
    gates = [*GATES[:2], {"gate": "violations == 0", "found": 1, "passed": False}]
    return with_verdict(results, "refuted", violations=1, gates=gates)


@functools.cache
def gate_failed_results():
    """The digits run with a gate that asks for more than it reached."""
    failed = {"gate": "certified_accuracy@1.0 >= 0.6", "found": 0.4139, "passed": False}
    return with_verdict(digits_results(), "gate_failed", gates=[*GATES, failed])


@functools.cache
def incomplete_results():
    """The digits run stopped before any attack."""
    nothing = ATTACKS.empty_table()
    results = dataclasses.replace(digits_results(), attacks=nothing, radius_attacks=nothing)
    return with_verdict(results, "incomplete", gates=[])


CASES = {
    "passed": digits_results,
    "colour": colour_results,
    "refuted": refuted_results,
    "gate_failed": gate_failed_results,
    "incomplete": incomplete_results,
}


@functools.cache
def page_of(case):
    """The page of one of the cases."""
    return render_page(CASES[case]())
