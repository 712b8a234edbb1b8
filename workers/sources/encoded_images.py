"""Encoded images (PNG, JPEG, BMP, WebP) to pixels, exactly or not at all.

Only what loses nothing is converted: a palette to its colours, one bit to black and white.  What
would have to be dropped or rounded (transparency, 16 bits, further frames) is refused, because the
certificate would speak of an image that the user does not have.  Pixels are taken as they are
stored: orientation and colour profiles are not applied.
"""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from models.errors import DataError
from workers.sources.source import MOST_BYTES, unreadable

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
MOST_PIXELS = 2**24  # of one image: 4096 × 4096
CHUNK = 64  # images in one piece of work of a thread
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
GREY, COLOUR = "grey", "RGB"
CONVERSIONS = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB"}  # mode found → mode taken


@dataclass(frozen=True)
class ImageKind:
    """What the images of a source have in common, and the first file that showed it."""

    height: int
    width: int
    mode: str
    first: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 1 if self.mode == GREY else 3, self.height, self.width

    def __str__(self) -> str:
        return f"{self.height} × {self.width} {self.mode}"


def decode_images(
    names: Sequence[str],
    read: Callable[[int], bytes],
    *,
    kind: ImageKind | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, ImageKind]:
    """Decode images of one size and mode.

    Args:
        names: of each image, for messages; at least one.
        read: content of the image with this number; called in threads.
        kind: what the images must be; that of the first one if left out.
        threads: that decode; one to a processor if left out.

    Returns:
        uint8, `(examples, channels, height, width)`, and the kind that they share.

    Raises:
        DataError: For the first image, in order, that cannot be accepted.
    """
    with warnings.catch_warnings():  # outside the threads, which share the filters
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        first = decode_image(read(0), name=names[0])
        kind = kind or _kind(first, name=names[0])
        if len(names) * first.nbytes > MOST_BYTES:
            raise DataError(
                f"{names[0]}: found {len(names)} images of {kind}; "
                f"accepted are {MOST_BYTES // 2**30} GiB of pixels in all"
            )
        pixels = np.empty((len(names), *first.shape), dtype=np.uint8)

        def fill(start: int) -> None:
            for row in range(start, min(start + CHUNK, len(names))):
                image = decode_image(read(row), name=names[row])
                found = _kind(image, name=names[row])
                if str(found) != str(kind):
                    raise DataError(
                        f"{names[row]}: found an image of {found}; "
                        f"accepted is {kind}, as in {kind.first}"
                    )
                pixels[row] = image

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for _ in pool.map(fill, range(0, len(names), CHUNK)):
                pass  # an error of a thread is raised here, the earliest first
    return np.ascontiguousarray(np.moveaxis(pixels, 3, 1)), kind


def decode_image(content: bytes, *, name: str) -> np.ndarray:
    """Pixels of one image: uint8, `(height, width, 1 or 3)`.

    Raises:
        DataError: If it is damaged, too large, or not exactly grey or RGB in 8 bits.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_header(image, content, name=name)
            image.load()
            mode = CONVERSIONS[image.mode]
            pixels = np.asarray(image if mode == image.mode else image.convert(mode))
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: found no image that can be read ({len(content)} bytes); "
            f"accepted are {', '.join(FORMATS)}"
        ) from None
    except Exception as fault:  # decoders raise whatever comes to hand on damaged bytes
        raise unreadable(name, fault) from None
    return pixels.reshape(*pixels.shape[:2], -1)


def _check_header(image: Image.Image, content: bytes, *, name: str) -> None:
    """Refuse what the header already tells, before a pixel is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise _too_large(name)
    found = None
    if "transparency" in image.info or image.mode not in CONVERSIONS:
        found = f"mode {image.mode}"
        if "transparency" in image.info or "A" in image.mode or "a" in image.mode:
            found += " with transparency"
    if content.startswith(PNG_MAGIC):
        if content[24] == 16:
            found = "16 bits a channel"  # Pillow would keep the upper 8 of RGB silently
        if PNG_END not in content[-4096:]:
            raise DataError(f"{name}: found a truncated image; accepted is a whole one")
    if getattr(image, "n_frames", 1) > 1:
        found = f"{getattr(image, 'n_frames', 0)} frames"
    if found:
        raise DataError(
            f"{name}: found an image of {found}; accepted are grey, RGB, palette and 1-bit "
            "images of one frame, 8 bits a channel, without transparency"
        )


def kind_of(image: np.ndarray, *, name: str) -> ImageKind:
    """What an image of `decode_images` is, `(channels, height, width)`."""
    return _kind(np.moveaxis(image, 0, 2), name=name)


def _kind(pixels: np.ndarray, *, name: str) -> ImageKind:
    height, width, channels = pixels.shape
    return ImageKind(height, width, GREY if channels == 1 else COLOUR, name)


def _too_large(name: str) -> DataError:
    return DataError(
        f"{name}: found an image of more than {MOST_PIXELS} pixels; accepted are fewer"
    )
