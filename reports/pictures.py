"""Which images the page shows, and how pixels become a picture inside a page.

Pictures are PNG at one pixel a pixel; the page enlarges them with `image-rendering: pixelated`, so
that what is seen is what the model was given.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from models.errors import CertifyError
from reports.rows import Examples, read_certificates

EACH = 6  # images of each kind
AMPLIFICATIONS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)
BRIGHTER = (214, 84, 28)  # colours of a change, for both the light and the dark page
DARKER = (42, 120, 214)


@dataclass(frozen=True)
class Break:
    """An image that an attack moved to another class, and how far it had to go."""

    row: int
    eps: float | None
    """Budget of the attack; none where the smallest change was looked for."""
    prediction: int
    distance: float
    radius: float
    attacked: bytes

    @property
    def ratio(self) -> float:
        """Distance over radius: below 1 the certificate is refuted."""
        return self.distance / self.radius if self.radius > 0 else np.inf


def rows_to_show(certificates: pa.Table, attacks: pa.Table) -> list[int]:
    """Rows of the table of certificates whose images the page shows, rising, each once."""
    examples = read_certificates(certificates)
    rows = {
        *most_certified(examples),
        *least_certified(examples),
        *surest_mistakes(examples),
        *(each.row for each in closest_breaks(examples, attacks)),
    }
    return sorted(rows)


def most_certified(examples: Examples) -> list[int]:
    """Right ones of the largest radius, of as many classes as have one and find room."""
    return _varied(examples, np.flatnonzero(examples.correct), largest=True)


def least_certified(examples: Examples) -> list[int]:
    """Right ones of the smallest radius, of as many classes as find room, none shown twice."""
    rest = np.setdiff1d(np.flatnonzero(examples.correct), most_certified(examples))
    return _varied(examples, rest, largest=False)


def surest_mistakes(examples: Examples) -> list[int]:
    """Wrong ones of the largest radius: what a radius does not say."""
    return _varied(examples, np.flatnonzero(~examples.correct), largest=True)


def closest_breaks(examples: Examples, attacks: pa.Table) -> list[Break]:
    """Broken images whose distance came closest to their radius, each at its smallest distance."""
    columns = ["row", "eps", "prediction", "distance", "attacked", "correct", "robust"]
    nearest: dict[int, Break] = {}
    for found in attacks.select(columns).to_pylist():
        if found["robust"] or not found["correct"] or found["attacked"] is None:
            continue
        row = found["row"]
        known = nearest.get(row)
        if known is None or found["distance"] < known.distance:
            nearest[row] = Break(
                row=row,
                eps=found["eps"],
                prediction=found["prediction"],
                distance=found["distance"],
                radius=float(examples.radius[row]),
                attacked=found["attacked"],
            )
    return sorted(nearest.values(), key=lambda each: (each.ratio, each.row))[:EACH]


def attacked_image(found: Break, original: np.ndarray) -> np.ndarray:
    """The attacked image of a break, in the shape of its original.

    Raises:
        CertifyError: If it has another number of values.
    """
    values = np.frombuffer(found.attacked, dtype="<f4")
    if values.size != original.size:
        raise CertifyError(
            f"the attacked image of row {found.row} has {values.size} values; "
            f"accepted are the {original.size} of its original"
        )
    return values.reshape(original.shape)


def picture_uri(image: np.ndarray) -> str:
    """A channels × height × width image in [0, 1] as a `data:` URI; a channel's mean if odd."""
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if len(image) == 3:
        return _png_uri(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))
    return _png_uri(Image.fromarray(np.rint(pixels.mean(axis=0)).astype(np.uint8)))


def change_uri(attacked: np.ndarray, original: np.ndarray) -> tuple[str, int]:
    """The change that an attack made, amplified, as a `data:` URI, and the amplification.

    With one channel a pixel that became brighter is orange, a darker one blue and an unchanged one
    transparent.  With three, every channel is drawn around the middle grey.
    """
    change = attacked.astype(np.float64) - original
    largest = float(np.abs(change).max())
    room = 0.5 if len(original) == 3 else 1.0
    fitting = [each for each in AMPLIFICATIONS if each * largest <= room]
    amplification = fitting[-1] if fitting else 1
    change = np.clip(change * amplification, -room, room)
    if len(original) == 3:
        pixels = np.rint((0.5 + change) * 255).astype(np.uint8).transpose(1, 2, 0)
        return _png_uri(Image.fromarray(np.ascontiguousarray(pixels))), amplification
    signed = change.mean(axis=0)
    pixels = np.empty((*signed.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((signed > 0)[..., None], BRIGHTER, DARKER)
    pixels[..., 3] = np.rint(np.abs(signed) * 255)
    return _png_uri(Image.fromarray(pixels)), amplification


def _varied(examples: Examples, rows: np.ndarray, *, largest: bool) -> list[int]:
    """Up to six of `rows` by radius: the first of every class, before the second of any."""
    sign = -1 if largest else 1
    ordered = rows[np.lexsort((rows, sign * examples.radius[rows]))]
    seen: dict[int, int] = {}
    ranked = []
    for place, row in enumerate(ordered.tolist()):
        label = int(examples.label[row])
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], place, row))
    chosen = sorted(ranked)[:EACH]
    return [row for _, _, row in sorted(chosen, key=lambda each: each[1])]


def _png_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
