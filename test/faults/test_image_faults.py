# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images that are broken, or not what they say, one kind after the other to the same node."""

import array
import struct
import zlib

import cv2
import numpy as np
import pytest

RAW, JPEG = "left", "right"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(compressed=[JPEG])


def fields(**values):
    """Change fields of an Image."""

    def change(message):
        for name, value in values.items():
            setattr(message, name, value)
        return [message]

    return change


def data(new):
    """Change the data of a message, by a function of its bytes or to bytes."""

    def change(message):
        message.data = array.array("B", new(bytes(message.data)) if callable(new) else new)
        return [message]

    return change


def pixels(encoding, dtype, channels, value, big_endian=0):
    """Make an Image of its size with other pixels."""

    def change(message):
        values = np.full((message.height, message.width * channels), value, dtype)
        message.encoding, message.step, message.is_bigendian = encoding, values.strides[0], big_endian
        message.data = array.array("B", values.tobytes())
        return [message]

    return change


def smaller(message):
    message.height //= 2
    return [message]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encoded(suffix, values):
    return cv2.imencode(suffix, values)[1].tobytes()


def huge_png(_data):
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


def png_with_texts(_data):
    whole = encoded(".png", np.zeros((48, 64, 3), np.uint8))
    texts = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8_000_000))) * 40
    return whole[:33] + texts + whole[33:]


def of_format(text, content):
    def change(message):
        message.format = text
        return data(content)(message)

    return change


def a_case(name, done, expected, *values):
    return pytest.param(*values, id=name, marks=pytest.mark.fault(name, done=done, expected=expected))


LEFT_OUT = "the camera is left out, by name; the others go on"
NOISE = np.random.default_rng(0).bytes(3000)
NEGATIVE = 2**32 - 1  # what -1 becomes in a uint32

REFUSED = [
    a_case(
        "unknown encoding",
        "an image says that its encoding is 'rgb9'",
        LEFT_OUT,
        *(RAW, fields(encoding="rgb9"), "unknown encoding", "unknown encoding 'rgb9'"),
    ),
    a_case(
        "endless encoding",
        "an encoding of 100,000 characters with line breaks and control codes",
        f"{LEFT_OUT}; a short line",
        *(RAW, fields(encoding="\x1b[31m\n" * 12_500), "unknown encoding", "^.{0,200}$"),
    ),
    a_case(
        "wrong encoding",
        "three channels without colours (8UC3) on a colour topic",
        LEFT_OUT,
        *(RAW, fields(encoding="8UC3"), "wrong encoding", "8UC3"),
    ),
    a_case(
        "encoding of more channels than there are",
        "rgb8 data under the name rgba8",
        LEFT_OUT,
        *(RAW, fields(encoding="rgba8"), "wrong step", "step 192 is less than a row of 64 pixels of 'rgba8'"),
    ),
    a_case(
        "NaN pixels",
        "a picture of floats (32FC1), all NaN",
        LEFT_OUT,
        *(RAW, pixels("32FC1", np.float32, 1, np.nan), "wrong encoding", "32FC1"),
    ),
    a_case(
        "infinite pixels",
        "a picture of floats (32FC3), all infinite",
        LEFT_OUT,
        *(RAW, pixels("32FC3", np.float32, 3, np.inf), "wrong encoding", "32FC3"),
    ),
    a_case(
        "wrong step", "step 7, rows of 192 bytes", LEFT_OUT, RAW, fields(step=7), "wrong step", "step 7 is less than"
    ),
    a_case(
        "huge step",
        "step 4294967295",
        f"{LEFT_OUT}; nothing is allocated",
        *(RAW, fields(step=NEGATIVE), "truncated data", "4294967295"),
    ),
    a_case("zero size", "0x0 pixels", LEFT_OUT, RAW, fields(width=0, height=0), "wrong size", "0x0 is not positive"),
    a_case(
        "negative size",
        "width and height -1, which the message holds as 4294967295",
        f"{LEFT_OUT}; nothing is allocated",
        *(RAW, fields(width=NEGATIVE, height=NEGATIVE), "wrong size", "4294967295x4294967295, but .* says 64x48"),
    ),
    a_case(
        "size of another camera",
        "64x24 pixels where the CameraInfo says 64x48",
        LEFT_OUT,
        *(RAW, smaller, "wrong size", "64x24, but '/left/camera_info' says 64x48"),
    ),
    a_case(
        "truncated data",
        "half of the bytes of an image",
        LEFT_OUT,
        *(RAW, data(lambda whole: whole[: len(whole) // 2]), "truncated data", "data has 4608 bytes, .* need 9216"),
    ),
    a_case("empty data", "an image without a byte", LEFT_OUT, RAW, data(b""), "truncated data", "data has 0 bytes"),
    a_case(
        "truncated JPEG",
        "half of a JPEG file",
        f"{LEFT_OUT}; no half picture filled up with grey",
        *(JPEG, data(lambda whole: whole[: len(whole) // 2]), "truncated data", "end before the picture of 64x48 does"),
    ),
    a_case(
        "garbage instead of a JPEG",
        "3000 random bytes",
        LEFT_OUT,
        *(JPEG, data(NOISE), "undecodable data", "neither JPEG nor PNG"),
    ),
    a_case(
        "garbage within a JPEG",
        "the beginning of a JPEG, then random bytes",
        LEFT_OUT,
        *(JPEG, data(lambda whole: whole[:20] + NOISE), "(undecodable|truncated) data", "right/image"),
    ),
    a_case(
        "huge PNG",
        "a PNG of 57 bytes that announces 100000x100000 pixels",
        f"{LEFT_OUT}; it is not decoded",
        *(JPEG, data(huge_png), "wrong size", "100000x100000, but .* says 64x48"),
    ),
    a_case(
        "JPEG of another size",
        "a JPEG of 32x32 pixels",
        LEFT_OUT,
        *(JPEG, data(encoded(".jpg", np.zeros((32, 32), np.uint8))), "wrong size", "32x32, but .* says 64x48"),
    ),
    a_case("empty file", "a CompressedImage without a byte", LEFT_OUT, JPEG, data(b""), "undecodable data", "0 bytes"),
    a_case(
        "depth instead of colours",
        "a compressedDepth file on a colour topic",
        LEFT_OUT,
        JPEG,
        of_format("16UC1; compressedDepth png", bytes(12) + encoded(".png", np.ones((48, 64), np.uint16))),
        *("(undecodable data|wrong encoding)", "right/image"),
    ),
]


@pytest.mark.parametrize(("camera", "change", "reason", "text"), REFUSED)
def test_refused(system, case, camera, change, reason, text):
    with system.during(case) as seen, system.feed.changing(images={camera: change}):
        seen.status("images", text, at_least=2)
        assert any(seen.rises("images", key) for key in seen.keys("images", f"refused, {camera}: {reason}"))
        seen.count("frames", "used", more=2)
        assert not seen.rises("frames", "dropped: bad image")


USED = [
    a_case(
        "too many data",
        "1000 bytes more than an image needs",
        "the image is used",
        *(RAW, data(lambda whole: whole + bytes(1000))),
    ),
    a_case(
        "wrong byte order",
        "is_bigendian 7 with values of one byte",
        "the image is used: there is no order to be wrong",
        *(RAW, fields(is_bigendian=7)),
    ),
    a_case("16 bits", "rgb16 instead of rgb8", "the image is used", RAW, pixels("rgb16", np.uint16, 3, 30_000)),
    a_case(
        "16 bits in the other byte order",
        "mono16, big-endian",
        "the image is used",
        *(RAW, pixels("mono16", ">u2", 1, 30_000, big_endian=1)),
    ),
    a_case(
        "format that lies",
        "a JPEG whose format says png",
        "the image is used: the data tell what they are",
        *(JPEG, fields(format="rgb8; png compressed bgr8")),
    ),
    a_case(
        "unknown format",
        "a JPEG whose format is '~' 1000 times",
        "the image is used",
        *(JPEG, fields(format="~" * 1000)),
    ),
    a_case(
        "PNG with texts that unpack to 320 MB",
        "40 compressed texts in front of the picture",
        "the picture is used, the texts are never unpacked",
        *(JPEG, data(png_with_texts)),
    ),
]


@pytest.mark.parametrize(("camera", "change"), USED)
def test_used(system, case, camera, change):
    with system.during(case) as seen, system.feed.changing(images={camera: change}):
        seen.count("synchronisation", "complete frames", more=3)
        seen.count("frames", "used", more=3)
        assert not system.newest().complaints
        assert not any(seen.rises("images", key) for key in seen.keys("images", "refused"))
        case.saw("used, and nothing is complained of")


@pytest.mark.fault(
    "no usable image at all",
    done="every camera sends an unknown encoding or garbage",
    expected="frames are dropped as 'bad image', each camera is named",
)
def test_all_refused(system, case):
    broken = {"front": fields(encoding="rgb9"), RAW: fields(encoding="rgb9"), JPEG: data(NOISE)}
    with system.during(case) as seen, system.feed.changing(images=broken):
        seen.status("images", "front/image.*left/image.*right/image", at_least=2)
        seen.count("frames", "dropped: bad image", more=2)
