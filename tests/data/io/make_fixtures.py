# SPDX-License-Identifier: Apache-2.0
"""Writes the safetensors fixtures of this folder with the reference implementation (pip: safetensors, torch).

Values follow from the index, so that the test can compute them again: element i of a tensor of n is
floating and complex types (i - n // 2) / 4, integers i, bool i % 3 == 0. F8 types hold powers of two.
"""
import struct

import torch
from safetensors.torch import save, save_file

TYPES = {
    "bool": torch.bool, "u8": torch.uint8, "i8": torch.int8, "i16": torch.int16, "u16": torch.uint16,
    "i32": torch.int32, "u32": torch.uint32, "i64": torch.int64, "u64": torch.uint64,
    "f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64,
    "c64": torch.complex64, "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2,
}


def values(name, n):
    i = torch.arange(n)
    if name == "bool":
        return i % 3 == 0
    if name.startswith("f8"):
        return (2.0 ** (i % 5 - 2)).to(TYPES[name])
    if TYPES[name].is_floating_point or TYPES[name].is_complex:
        return ((i - n // 2) / 4).to(TYPES[name])
    return i.to(TYPES[name])


tensors = {name: values(name, 12).reshape(3, 4) for name in TYPES}
tensors["scalar"] = torch.tensor(2.5)
tensors["empty"] = torch.empty(3, 0, 2, dtype=torch.float16)
tensors["five_axes"] = values("f32", 24).reshape(1, 2, 3, 4, 1)
save_file(tensors, "python_all_dtypes.safetensors", {"format": "pt", "note": "grüße \"quoted\" \\ \n end"})

save_file({}, "python_no_tensors.safetensors")

# The same data behind a header of odd length, as old writers produced: every wide tensor is misaligned.
raw = save({"f64": values("f64", 12), "f32": values("f32", 12), "u8": values("u8", 3)})
length = struct.unpack("<Q", raw[:8])[0]
header = raw[8 : 8 + length].rstrip(b" ")
header += b" " * (1 - len(header) % 2)
with open("python_misaligned.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + raw[8 + length :])
