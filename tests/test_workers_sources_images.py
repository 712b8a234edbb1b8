"""Encoded images: lossless ones come back to the byte, and what would be lost is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import DataError
from workers.sources.encoded_images import decode_image, decode_images

GREY = np.random.default_rng(1).integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (5, 7, 3), dtype=np.uint8)
FORMATS = [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 90})]


def refusal(read, *arguments, **named) -> str:
    """The message of what is refused; empty where it is accepted."""
    try:
        read(*arguments, **named)
    except DataError as fault:
        return str(fault)
    return ""


def encoded(image, form="PNG", **options) -> bytes:
    stream = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(stream, form, **options)
    return stream.getvalue()


def png_of_16_bit_colour() -> bytes:
    """Pillow cannot write one: signature, header, one filter byte and six bytes a pixel, end."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + bytes(range(6))))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("form", "options"), FORMATS[:3])
def test_lossless_colour_comes_back_to_the_byte(form, options):
    assert (decode_image(encoded(COLOUR, form, **options), name="x") == COLOUR).all()


@pytest.mark.parametrize(("form", "options"), FORMATS[:2])
def test_lossless_grey_comes_back_to_the_byte(form, options):
    found = decode_image(encoded(GREY, form, **options), name="x")
    assert found.shape == (5, 7, 1)
    assert (found[..., 0] == GREY).all()


def test_a_jpeg_gives_what_its_decoder_gives():
    content = encoded(COLOUR, "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(content)))
    assert (decode_image(content, name="x") == expected).all()


def test_a_palette_becomes_its_colours():
    palette = Image.fromarray(COLOUR).quantize(16)
    expected = np.array(palette.getpalette()[:48]).reshape(-1, 3)[np.asarray(palette)]
    assert (decode_image(encoded(palette), name="x") == expected).all()


def test_one_bit_becomes_black_and_white():
    bits = GREY > 128
    assert (decode_image(encoded(bits), name="x")[..., 0] == np.where(bits, 255, 0)).all()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (encoded(Image.new("RGBA", (3, 3))), "mode RGBA with transparency"),
        (encoded(Image.new("LA", (3, 3))), "mode LA with transparency"),
        (encoded(Image.new("RGBA", (3, 3)), "WEBP"), "mode RGBA with transparency"),
        (encoded(Image.new("P", (3, 3)), transparency=0), "mode P with transparency"),
        (encoded(Image.new("L", (3, 3)), transparency=0), "mode L with transparency"),
        (encoded(Image.new("I;16", (3, 3))), "16 bits a channel"),
        (png_of_16_bit_colour(), "16 bits a channel"),
        (encoded(Image.new("CMYK", (3, 3)), "JPEG"), "mode CMYK"),
        (
            encoded(
                Image.new("RGB", (3, 3)), save_all=True, append_images=[Image.new("RGB", (3, 3), 9)]
            ),
            "2 frames",
        ),
    ],
)
def test_what_would_be_lost_is_refused(content, found):
    with pytest.raises(DataError, match=f"a/b.png: found an image of {found}; accepted are grey,"):
        decode_image(content, name="a/b.png")


@pytest.mark.parametrize("content", [b"", b"text", encoded(COLOUR, "GIF"), encoded(COLOUR, "TIFF")])
def test_other_formats_are_refused(content):
    with pytest.raises(DataError, match=r"x: found no image that can be read .* accepted are PNG,"):
        decode_image(content, name="x")


@pytest.mark.parametrize(("form", "options"), FORMATS)
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_truncated_image_is_refused_or_has_all_pixels(form, options, pixels):
    content = encoded(pixels, form, **options)
    whole = decode_image(content, name="x")
    accepted = 0
    for end in range(len(content)):
        message = refusal(decode_image, content[:end], name="x.png")
        assert "\n" not in message
        if message:
            assert message.startswith("x.png: ")
        else:  # the padding of a BMP's last row is no pixel
            accepted += 1
            assert (decode_image(content[:end], name="x.png") == whole).all()
    assert accepted <= (3 if form == "BMP" else 0)


@given(
    form=st.sampled_from(FORMATS),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_image_is_decoded_or_refused_in_one_line(form, flips):
    content = bytearray(encoded(COLOUR, form[0], **form[1]))
    for place, value in flips:
        content[int(place * len(content))] = value
    assert "\n" not in refusal(decode_images, ["x"], lambda row: bytes(content))


@pytest.mark.parametrize("side", [4097, 10_000, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    content = encoded(Image.new("1", (side, side)))
    assert len(content) < 200_000
    with pytest.raises(DataError, match="x: found an image of more than 16777216 pixels"):
        decode_images(["x"], lambda row: content)


def test_images_of_all_chunks_keep_their_order():
    images = np.random.default_rng(3).integers(0, 256, (200, 4, 3, 3), dtype=np.uint8)
    contents = [encoded(image) for image in images]
    found, kind = decode_images([f"{i}.png" for i in range(200)], contents.__getitem__)
    assert (found == images.transpose(0, 3, 1, 2)).all()
    assert str(kind) == "4 × 3 RGB"


@pytest.mark.parametrize("other", [GREY, COLOUR[:4], COLOUR[:, :6]])
def test_the_first_image_of_another_kind_is_named(other):
    contents = [encoded(COLOUR)] * 300
    contents[150] = contents[299] = encoded(other)
    with pytest.raises(
        DataError, match=r"150.png: found an image of .*; accepted is 5 × 7 RGB, as in 0.png"
    ):
        decode_images([f"{i}.png" for i in range(300)], contents.__getitem__)


def test_more_pixels_than_fit_are_refused(monkeypatch):
    monkeypatch.setattr("workers.sources.encoded_images.MOST_BYTES", 100)
    with pytest.raises(DataError, match="x: found 2 images of 5 × 7 RGB; accepted are"):
        decode_images(["x", "y"], lambda row: encoded(COLOUR))
