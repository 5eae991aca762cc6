# SPDX-License-Identifier: Apache-2.0
"""Writes events.bin with TensorBoard's own protocol buffers and CRC. Run: pip install tensorboard; python write_fixture.py"""
import struct
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c


def record(payload: bytes) -> bytes:
    head = struct.pack("<Q", len(payload))
    return head + struct.pack("<I", masked_crc32c(head)) + payload + struct.pack("<I", masked_crc32c(payload))


def scalars(*pairs):
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in pairs])


events = [
    Event(wall_time=1700000000.25, file_version="brain.Event:2"),
    Event(wall_time=1700000000.5, step=101, session_log=SessionLog(status=SessionLog.START)),
    Event(wall_time=1700000001.0, step=0, summary=scalars(("train/loss", 0.1))),
    Event(wall_time=1700000002.0, step=300,
          summary=scalars(("train/loss", float("inf")), ("val/ähnlich", -2.5e-30), ("x" * 200, 0.0))),
    Event(wall_time=1700000003.0, step=2**40 + 7, summary=Summary(value=[])),
]
Path(__file__).with_name("events.bin").write_bytes(b"".join(record(e.SerializeToString()) for e in events))
