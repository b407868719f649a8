# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CompressedImage: JPEG, PNG and compressedDepth as image_transport writes them, and what is refused undecoded."""

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from mtl_perception.messages import compressed_images, raw_images
from mtl_perception.messages.compressed_images import decode, decode_depth, format_of
from mtl_perception.messages.raw_images import Announced, ImageError

RANDOM = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RANDOM.integers(0, 256, (24, 32, 3), dtype=np.uint8), (0, 0), 3)
MILLIMETRES = RANDOM.integers(300, 9000, (24, 32), dtype=np.uint16)
MILLIMETRES[:4] = 0
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()
PNG = cv2.imencode(".png", PICTURE)[1].tobytes()
A, B = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0  # as for 100 of quantisation up to 10 m, the transport's defaults


def header(a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header announces a size, whatever follows."""
    return PNG[:8] + chunk(b"IHDR", struct.pack(">II", width, height) + PNG[24:29]) + PNG[33:]


def jpeg_of_size(width: int, height: int) -> bytes:
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rgb8; jpeg compressed bgr8", ("rgb8", "jpeg compressed bgr8")),
        ("16UC1; compressedDepth", ("16UC1", "compressedDepth")),
        ("jpeg", ("", "jpeg")),
        ("", ("", "")),
    ],
)
def test_a_format_tells_encoding_and_codec(make_compressed, text: str, expected: tuple[str, str]) -> None:
    assert format_of(make_compressed(b"", text)) == expected


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_opencv_decodes(make_compressed, suffix: str, channels: int) -> None:
    pixels = PICTURE if channels == 3 else PICTURE[..., 0]
    message = make_compressed(pixels, "", suffix)
    expected = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decode(message, "t", Announced(32, 24, "info")), expected)


def test_a_progressive_jpeg_and_one_with_other_segments_in_front(make_compressed) -> None:
    progressive = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    # A comment that holds what looks like the header of a frame and like an end; fill bytes; a camera's zeros behind.
    comment = (
        b"\xff\xff\xff\xfe" + struct.pack(">H", 2 + 21) + b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01\xff\xd9" + b" " * 10
    )
    for data in (progressive, JPEG[:2] + comment + JPEG[2:] + b"\0" * 100):
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(decode(make_compressed(data, "jpeg"), "t"), expected)


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["jpeg", "png"])
def test_a_picture_that_is_cut_off_anywhere_is_refused(make_compressed, data: bytes) -> None:
    for length in [*range(60), *range(60, len(data), 37), len(data) - 2, len(data) - 1]:
        with pytest.raises(ImageError, match=f"^front/image: {length} bytes of format 'jpeg'") as found:
            decode(make_compressed(data[:length], "jpeg"), "front/image")
        assert found.value.reason == (raw_images.TRUNCATED if length >= 8 else found.value.reason)


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (b"", raw_images.UNDECODABLE, "0 bytes of format 'jpeg' cannot be decoded: neither JPEG nor PNG"),
        (b"GIF89a" + b"\0" * 99, raw_images.UNDECODABLE, "105 bytes .* neither JPEG nor PNG"),
        (PNG.replace(b"IHDR", b"IHDX"), raw_images.UNDECODABLE, "a PNG without IHDR"),
        (PNG[:60] + bytes(10) + PNG[70:], raw_images.UNDECODABLE, "broken"),
        (b"\xff\xd8\xff\xda" + b"\0" * 99, raw_images.UNDECODABLE, "a JPEG without a size"),
        (b"\xff\xd8" + b"\xff" * 99, raw_images.TRUNCATED, "end before a JPEG tells its size"),
        (b"\xff\xd8\xff\xe0\xff\xff" + b"\0" * 99, raw_images.TRUNCATED, "end before a JPEG tells its size"),
        (jpeg_of_size(32, 0), raw_images.WRONG_SIZE, "size 32x0 is not positive"),
        (png_of_size(0, 24), raw_images.WRONG_SIZE, "size 0x24 is not positive"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(make_compressed, data: bytes, reason: str, text: str) -> None:
    with pytest.raises(ImageError, match=f"^front/image: .*{text}") as found:
        decode(make_compressed(data, "jpeg"), "front/image")
    assert found.value.reason == reason


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (png_of_size(60_000, 60_000), "size 60000x60000 is more than 33554432 pixels"),
        (jpeg_of_size(60_000, 60_000), "size 60000x60000 is more than 33554432 pixels"),
        (png_of_size(2**32 - 1, 2**32 - 1), "size 4294967295x4294967295 is more"),
        (header() + struct.pack("<II", 60_000, 60_000), "size 60000x60000 is more"),
    ],
)
def test_a_huge_size_is_refused_before_memory_is_taken(make_compressed, data: bytes, text: str) -> None:
    message = make_compressed(data, "16UC1; compressedDepth rvl" if data.startswith(header()) else "png")
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=f"^front/image: {text}") as found:
            decode_depth(message, "front/image")
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert found.value.reason == raw_images.WRONG_SIZE


def test_another_size_than_the_announced_one_is_refused_before_decoding(make_compressed, monkeypatch) -> None:
    monkeypatch.setattr(compressed_images.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    announced = Announced(640, 480, "'front/camera_info'")
    rvl = header() + struct.pack("<II", 32, 24) + bytes(8)
    for data, format in ((JPEG, "jpeg"), (PNG, "png"), (rvl, "16UC1; compressedDepth rvl")):
        with pytest.raises(ImageError, match="front/image: size 32x24, but 'front/camera_info' says 640x480"):
            decode_depth(make_compressed(data, format), "front/image", announced)


@pytest.mark.parametrize("data", [png_of_size(64, 48), jpeg_of_size(64, 48)], ids=["png", "jpeg"])
def test_a_file_with_less_in_it_than_it_announces_does_no_harm(make_compressed, data: bytes) -> None:
    # libjpeg fills up what is missing; a PNG is refused.
    try:
        assert decode(make_compressed(data, ""), "t").shape[:2] == (48, 64)
    except ImageError as error:
        assert error.reason == raw_images.UNDECODABLE


def test_texts_in_a_png_are_not_unpacked(make_compressed, monkeypatch) -> None:
    text = zlib.compress(bytes(7_000_000), 9)
    bomb = PNG[:33] + chunk(b"zTXt", b"a\0\0" + text) * 50 + chunk(b"acTL", bytes(8)) + PNG[33:]
    given, imdecode = [], cv2.imdecode
    monkeypatch.setattr(compressed_images.cv2, "imdecode", lambda *call: given.append(call[0]) or imdecode(*call))
    np.testing.assert_array_equal(decode(make_compressed(bomb, "png"), "t"), PICTURE)
    assert bytes(given[0]) == PNG


def test_a_palette_and_its_transparency_stay(make_compressed) -> None:
    pixels = RANDOM.integers(0, 3, (24, 32), dtype=np.uint8)
    palette = np.array([[255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)
    data = PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 3, 0, 0, 0)) + chunk(b"PLTE", palette.tobytes())
    data += chunk(b"tEXt", b"a\0b") + chunk(b"tRNS", bytes([255, 128, 0]))
    data += chunk(b"IDAT", zlib.compress(np.pad(pixels, ((0, 0), (1, 0))).tobytes())) + chunk(b"IEND", b"")
    found = decode(make_compressed(data, "png"), "t")
    np.testing.assert_array_equal(found[..., :3], palette[:, ::-1][pixels])
    np.testing.assert_array_equal(found[..., 3], np.array([255, 128, 0])[pixels])


def test_what_would_keep_a_decoder_busy_is_refused(make_compressed, monkeypatch) -> None:
    monkeypatch.setattr(compressed_images.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    progressive = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    for data, text in (
        (progressive[:-2] + 100 * scan + b"\xff\xd9", "a JPEG of 110 scans, at most 100 are"),
        (JPEG[:2] + 1000 * b"\xff\xfe\0\2" + JPEG[2:], "a JPEG of which 1000 segments tell no size"),
        (PNG[:33] + 65536 * chunk(b"tEXt", b"") + PNG[33:], "a PNG of more than 65536 chunks"),
    ):
        with pytest.raises(ImageError, match=f"^front/image: .* cannot be decoded: {text}") as found:
            decode(make_compressed(data, ""), "front/image")
        assert found.value.reason == raw_images.UNDECODABLE


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_millimetres_of_compressed_depth(make_compressed, encode_rvl, codec: str) -> None:
    content = encode_rvl(MILLIMETRES) if codec == "rvl" else cv2.imencode(".png", MILLIMETRES)[1].tobytes()
    message = make_compressed(header() + content, f"16UC1; compressedDepth {codec}")
    np.testing.assert_array_equal(decode_depth(message, "front/depth", Announced(32, 24, "info")), MILLIMETRES)


@pytest.mark.parametrize("format", ["16UC1; compressedDepth", "16UC1", "16UC1; png compressed ", "png"])
def test_depth_as_png_in_other_formats(make_compressed, format: str) -> None:
    content = cv2.imencode(".png", MILLIMETRES)[1].tobytes()
    data = content if "png" in format else header() + content  # old versions of the transport say less
    np.testing.assert_array_equal(decode_depth(make_compressed(data, format), "front/depth"), MILLIMETRES)


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_metres_of_compressed_depth_are_within_its_quantisation(make_compressed, encode_rvl, codec: str) -> None:
    metres = RANDOM.uniform(0.3, 9.9, (24, 32)).astype(np.float32)
    metres[:3], metres[3:5] = np.nan, 12.0  # farther than the transport keeps
    kept = np.where(metres < 10, A / metres + B, 0).astype(np.uint16)
    content = encode_rvl(kept) if codec == "rvl" else cv2.imencode(".png", kept)[1].tobytes()
    found = decode_depth(make_compressed(header(A, B) + content, f"32FC1; compressedDepth {codec}"), "front/depth")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), ~(metres < 10))
    step = metres**2 / A  # of depth, for one step of what is kept
    assert (np.abs(found - metres)[5:] <= 1.01 * step[5:] + 1e-5).all()
    np.testing.assert_allclose(found[5:], A / (kept[5:] - B), rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "format", "reason", "text"),
    [
        (b"", "16UC1; compressedDepth png", raw_images.TRUNCATED, "data has 0 bytes, less than the header"),
        (header()[:11], "16UC1; compressedDepth rvl", raw_images.TRUNCATED, "data has 11 bytes"),
        (header(), "16UC1; compressedDepth png", raw_images.UNDECODABLE, "0 bytes .* neither JPEG nor PNG"),
        (header() + bytes(7), "16UC1; compressedDepth rvl", raw_images.TRUNCATED, "7 bytes .* end within the size"),
        (header() + bytes(8), "16UC1; compressedDepth rvl", raw_images.WRONG_SIZE, "size 0x0 is not positive"),
        (
            header() + struct.pack("<II", 640, 480) + bytes(40),
            "16UC1; compressedDepth rvl",
            raw_images.UNDECODABLE,
            "48 bytes .* cannot be decoded to 640x480: RVL data of 40 bytes goes wrong after 0 of 307200 values",
        ),
        (header(), "16UC1; compressedDepth zstd", raw_images.WRONG_ENCODING, "format '16UC1; compressedDepth zstd'"),
        (header(0.0, B) + PNG, "32FC1; compressedDepth png", raw_images.WRONG_ENCODING, "a uint8 image"),
    ],
)
def test_what_is_no_compressed_depth_is_refused(make_compressed, data: bytes, format: str, reason: str, text) -> None:
    with pytest.raises(ImageError, match=f"^front/depth: .*{text}") as found:
        decode_depth(make_compressed(data, format), "front/depth")
    assert found.value.reason == reason


@pytest.mark.parametrize(("a", "b"), [(0.0, B), (-1.0, B), (float("nan"), B), (A, float("inf"))])
def test_a_quantisation_that_cannot_be_is_refused(make_compressed, encode_rvl, a: float, b: float) -> None:
    data = header(a, b) + encode_rvl(MILLIMETRES)
    with pytest.raises(ImageError, match=r"front/depth: the header's quantisation a = .*, b = .* cannot be"):
        decode_depth(make_compressed(data, "32FC1; compressedDepth rvl"), "front/depth")
