# SPDX-License-Identifier: Apache-2.0
"""Writes small PNG files with zlib alone (no image library): pixel (row y, column x) is ((37x + 11y) % 256, 255 - 5x, 9y),
grey.png holds its first channel, alpha.png adds a transparent alpha that a reader must drop."""
import struct
import zlib
from pathlib import Path

WIDTH, HEIGHT = 13, 9
RED = lambda x, y: (37 * x + 11 * y) % 256


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour_type: int, pixel) -> bytes:
    rows = b"".join(b"\0" + b"".join(bytes(pixel(x, y)) for x in range(WIDTH)) for y in range(HEIGHT))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


here = Path(__file__).parent
(here / "rgb.png").write_bytes(png(2, lambda x, y: (RED(x, y), 255 - 5 * x, 9 * y)))
(here / "grey.png").write_bytes(png(0, lambda x, y: (RED(x, y),)))
(here / "alpha.png").write_bytes(png(6, lambda x, y: (RED(x, y), 255 - 5 * x, 9 * y, (x + y) % 3)))
