"""The dials of a loss move a classifier along the front between accuracy and robustness.

Each point is a run of its own, from training to the certificate of the file that would ship, at
several seeds.  A large τ, a small margin m of the hinge, a large α of HKR: all buy clean accuracy
and pay with radius.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from models.errors import DataError
from models.loss_spec import LossSpec
from models.model_spec import MlpSpec
from models.networks.onnx_export import export_onnx
from models.networks.training import finished_network, start_training, train_epoch
from models.proof.bounds import prove
from models.proof.certificate import certify_examples
from models.proof.reading.reader import read_program
from models.splits import Dataset
from models.studies.finding import Expectation, Finding, Panel, at_least, at_most, series
from models.studies.registry import Outcome, Setting
from models.train_spec import TrainSpec

EPS = (0.1, 0.25, 0.5, 1.0)
FAR = 1.0  # the ε at which a dial's price is read
SWEEPS: dict[str, tuple[float, ...]] = {
    "τ": (0.5, 4.0, 16.0),
    "m": (2.0, 0.5, 0.15),
    "α": (0.3, 3.0, 30.0),
}
"""Values of each dial, from the most robust to the most accurate."""
MORE: dict[str, tuple[float, ...]] = {
    "τ": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "m": (4.0, 2.0, 1.0, 0.5, 0.3, 0.15),
    "α": (0.3, 1.0, 3.0, 10.0, 30.0),
}
NAMES = {"τ": "cross-entropy, τ", "m": "hinge, margin m", "α": "HKR, α"}
SEEDS = {True: 2, False: 3}
HKR_MARGIN = 0.3
SLACK = 0.02  # by which a mean over seeds may go the wrong way
GAIN = 0.01  # at least, of a whole sweep
APART = 0.06  # at most, of the schedule from its last τ
LONGER = {"schedule": "temperature schedule", "last τ": "last τ, trained as long"}
"""Runs of twice as many epochs."""
FEW = 5000  # training images, below which batches are small
READING = (
    "Every point is the mean of some seeds of one setting: clean accuracy, and the share of test "
    "images that are right and certified at ε, from the proof of the exported file. Error bars "
    "are standard errors over the seeds. No setting is best at every ε: the front is what is left "
    "when all that is beaten on both sides is taken away. A dial can be turned past its best at "
    "either end: from there towards robustness it loses clean accuracy and certifies no more, and "
    "towards accuracy it fits the training images more closely than new ones bear, and loses both.",
    "The conventions: the cross-entropy is (1/τ) CE(τ z), T = 1/τ in a job; the hinge asks for a "
    "gap of m between logits that are 1-Lipschitz together; HKR is -KR + α · hinge with a margin "
    f"of {HKR_MARGIN:g}, α from 0 to ∞. A library’s α in [0, 1) is α / (1 + α) of this one, and "
    "its margin may count from -m/2 to m/2.",
    "A schedule that rises from the most robust τ to the most accurate one in its first quarter "
    "ends near where its last τ says, trained as long: both take twice the epochs of the others. "
    "To choose, take the row of the wished ε.",
)
SHORT = (
    "In the few steps of the quick form a schedule reaches the clean accuracy of its last τ, and "
    "keeps radii from its robust start: its certified accuracy is held against that of the last τ "
    "in the long form only.",
)
CAPTION = (
    f"Clean accuracy against certified accuracy at ε = {FAR:g}, a line to each loss; along it its "
    "dial is turned. The dot is the temperature schedule."
)


def runs(*, quick: bool) -> list[Setting]:
    """Every setting at every seed, and the schedule of temperatures."""
    size = {"width": 64 if quick else 128, "epochs": 8}
    sweeps = SWEEPS if quick else MORE
    longer = {**size, "epochs": 2 * size["epochs"]}
    settings = [
        {"dial": dial, "value": value, **size}
        for dial, values in sweeps.items()
        for value in values
    ]
    settings += [{"dial": dial, "value": 0.0, **longer} for dial in LONGER]
    return [{**each, "draw": draw} for each in settings for draw in range(SEEDS[quick])]


def run(setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:
    """Train at a setting, export, prove, certify the test images."""
    if data is None:
        raise DataError("front is run without images; accepted are those of its registry")
    model, epochs = MlpSpec(widths=(setting["width"],) * 2), setting["epochs"]
    told: dict[str, Any] = {"classes": len(data.classes), "seed": 1000 * seed + setting["draw"]}
    state = b""
    for epoch, loss in enumerate(losses(setting)):
        train = TrainSpec(epochs=epochs, batch_size=64 if len(data.train) < FEW else 256, loss=loss)
        if epoch == 0:
            state = start_training(model, train, data.train, **told)
        state, _ = train_epoch(state, model, train, data.train, **told, epoch=epoch, device="cpu")
    network = finished_network(state, model, input_shape=data.input_shape, classes=told["classes"])
    program = read_program(export_onnx(network, data.input_shape))
    found = certify_examples(program, prove(program), data.test.inputs())
    right = found.predictions == data.test.labels
    return setting | {
        "clean": float(right.mean()),
        "certified": [float((right & (found.radii > eps)).mean()) for eps in EPS],
    }


def conclude(outcomes: Sequence[Outcome], *, quick: bool) -> Finding:
    """Hold the order of each sweep, and the schedule's end, against the claim."""
    sweeps = SWEEPS if quick else MORE
    points = {key: _mean(rows) for key, rows in _grouped(outcomes).items()}
    far = EPS.index(FAR)
    expectations: list[Expectation] = []
    for dial, values in sweeps.items():
        clean = np.array([points[dial, value]["clean"] for value in values])
        to_best = clean[: int(clean.argmax()) + 1]
        certified = np.array([points[dial, value]["certified"][far] for value in values])
        best = int(certified.argmax())
        from_best = certified[best:]
        expectations += [
            at_least(
                f"{NAMES[dial]}: least gain of clean accuracy on the way to its best",
                float(np.diff(to_best).min(initial=1)),
                -SLACK,
            ),
            at_least(
                f"{NAMES[dial]}: clean accuracy gained on the way to its best",
                float(to_best[-1] - to_best[0]),
                GAIN,
            ),
            at_most(
                f"{NAMES[dial]}: largest gain of certified accuracy at {FAR:g} beyond its best",
                float(np.diff(from_best).max(initial=-1)),
                SLACK,
            ),
            at_least(
                f"{NAMES[dial]}: certified accuracy at {FAR:g} lost from its best to the end",
                float(from_best[0] - from_best[-1]),
                GAIN,
            ),
        ]
    ends = [
        np.array([points[each, 0.0]["clean"], *points[each, 0.0]["certified"]]) for each in LONGER
    ]
    apart = np.abs(ends[0] - ends[1])
    name = "schedule: difference of clean accuracy to its last τ, trained as long"
    expectations.append(at_most(name, float(apart[0]), APART))
    if not quick:
        name = "schedule: largest difference of a certified accuracy to its last τ, trained as long"
        expectations.append(at_most(name, float(apart[1:].max()), APART))
    return Finding(
        tuple(expectations),
        _recommended(points),
        _panels(points, sweeps, far),
        CAPTION,
        SHORT if quick else (),
    )


def losses(setting: Setting) -> Iterable[LossSpec]:
    """The loss of each epoch."""
    epochs, value = setting["epochs"], setting["value"]
    specs: TypeAdapter[LossSpec] = TypeAdapter(LossSpec)
    first, last = SWEEPS["τ"][0], SWEEPS["τ"][-1]
    if setting["dial"] == "schedule":
        rising = max(1, epochs // 4)
        shares = [min(1.0, epoch / rising) for epoch in range(epochs)]
        keys = [_cross_entropy(first * (last / first) ** share) for share in shares]
    else:
        keys = [_keys(setting["dial"], value) if value else _cross_entropy(last)] * epochs
    return [specs.validate_python(each) for each in keys]


def _keys(dial: str, value: float) -> dict[str, Any]:
    """A loss as a job file has it."""
    if dial == "τ":
        return _cross_entropy(value)
    if dial == "m":
        return {"name": "hinge", "margin": value}
    return {"name": "hkr", "margin": HKR_MARGIN, "alpha": value}


def _cross_entropy(tau: float) -> dict[str, Any]:
    return {"name": "cross-entropy", "temperature": 1 / tau}


def _grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, float], list[Outcome]]:
    """The seeds of each setting together."""
    groups: dict[tuple[str, float], list[Outcome]] = {}
    for each in outcomes:
        groups.setdefault((each["dial"], each["value"]), []).append(each)
    return groups


def _mean(rows: Sequence[Outcome]) -> dict[str, Any]:
    """Means over seeds, and their standard errors."""
    clean = np.array([row["clean"] for row in rows])
    certified = np.array([row["certified"] for row in rows])
    root = np.sqrt(len(rows))
    spread = certified.std(axis=0, ddof=1) / root if len(rows) > 1 else np.zeros(len(EPS))
    return {
        "clean": float(clean.mean()),
        "certified": certified.mean(axis=0).tolist(),
        "spread": spread.tolist(),
    }


def _recommended(points: dict[tuple[str, float], dict[str, Any]]) -> dict[str, float | int | str]:
    """For each ε the setting of the largest certified accuracy, and every point."""
    swept = {key: point for key, point in points.items() if key[0] not in LONGER}
    numbers: dict[str, float | int | str] = {}
    for place, eps in enumerate(EPS):
        (dial, value), best = max(swept.items(), key=lambda item: item[1]["certified"][place])
        numbers[f"recommended for ε = {eps:g}"] = (
            f"{NAMES[dial]} = {value:g}: clean {best['clean']:.1%}, "
            f"certified {best['certified'][place]:.1%} ± {best['spread'][place]:.1%}"
        )
    for (dial, value), point in points.items():
        shares = ", ".join(f"{each:.1%}" for each in point["certified"])
        name = LONGER.get(dial) or f"{NAMES[dial]} = {value:g}"
        numbers[f"{name}: clean; certified at {', '.join(map(str, EPS))}"] = (
            f"{point['clean']:.1%}; {shares}"
        )
    return numbers


def _panels(
    points: dict[tuple[str, float], dict[str, Any]], sweeps: dict[str, tuple[float, ...]], far: int
) -> tuple[Panel, ...]:
    lines = []
    for tone, (dial, values) in enumerate(sweeps.items()):
        chosen = [points[dial, value] for value in values]
        lines.append(
            series(
                NAMES[dial],
                [each["clean"] for each in chosen],
                [each["certified"][far] for each in chosen],
                spread=[each["spread"][far] for each in chosen],
                tone=tone,
            )
        )
    end = points["schedule", 0.0]
    dot = series(
        "temperature schedule", [end["clean"]], [end["certified"][far]], kind="dots", tone=3
    )
    return (Panel(f"certified accuracy at ε = {FAR:g}", "clean accuracy", (*lines, dot)),)
