# SPDX-License-Identifier: Apache-2.0
"""Writes HDF5 files as recorders leave and go on with them: python make_growing_hdf5.py OUT

Each file of OUT/growing is one state of a file that a test lets grow by writing the next state over it: stable-worldmodel's
as it is recorded in SWMR mode (at_work, more, closed), as h5py appends to it (before, after), robomimic's (demos_before,
demos_after). Frames are of one grey level each, level(episode, row) = 10 + 40 e + 7 t, and so are the numbers.
"""
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

out = f"{sys.argv[1]}/growing"


def levels(e, rows):
    return 10 + 40 * e + 7 * np.arange(rows)


def grey(e, rows, size=8):
    return np.broadcast_to(levels(e, rows)[:, None, None, None], (rows, size, size, 3)).astype(np.uint8)


def columns(e, rows):
    numbers = np.stack([levels(e, rows), -levels(e, rows)], 1).astype(np.float32)
    return {"pixels": grey(e, rows), "action": numbers, "state": numbers / 2}


def start(f, chunk):
    for name, values in columns(0, 1).items():
        f.create_dataset(name, shape=(0,) + values.shape[1:], maxshape=(None,) + values.shape[1:], dtype=values.dtype,
                         chunks=(chunk,) + values.shape[1:], compression="gzip")
    for name, kind in (("ep_len", np.int32), ("ep_offset", np.int64)):
        f.create_dataset(name, shape=(0,), maxshape=(None,), dtype=kind, chunks=(4,))
    f.create_dataset("note", shape=(0,), maxshape=(None,), dtype=h5py.string_dtype(), chunks=(8,))


def add_rows(f, e, first, rows):
    for name, values in columns(e, first + rows).items():
        f[name].resize(f[name].shape[0] + rows, 0)
        f[name][-rows:] = values[first:]
    if f.swmr_mode:
        return  # texts of variable length cannot be written then
    f["note"].resize(f["note"].shape[0] + rows, 0)
    f["note"][-rows:] = [f"row {level}" for level in levels(e, first + rows)[first:]]


def list_episode(f, rows):
    e, offset = f["ep_len"].shape[0], int(f["ep_len"][:].sum())
    for name, value in (("ep_len", rows), ("ep_offset", offset)):
        f[name].resize(e + 1, 0)
        f[name][e] = value


def keep(f, name):
    f.flush()
    shutil.copy(f.filename, f"{out}/{name}")


shutil.rmtree(out, ignore_errors=True)
os.makedirs(out)
work = f"{out}/work.h5"

# A recorder in SWMR mode: three episodes are listed and one is under way; then it is listed too; then all is closed.
with h5py.File(work, "w", libver=("v110", "v110")) as f:
    start(f, 4)
    del f["note"]
    f.swmr_mode = True
    for e, rows in enumerate((4, 3, 5)):
        add_rows(f, e, 0, rows)
        list_episode(f, rows)
    add_rows(f, 3, 0, 2)
    keep(f, "at_work.h5")
    add_rows(f, 3, 2, 4)
    list_episode(f, 6)
    keep(f, "more.h5")
shutil.move(work, f"{out}/closed.h5")

# One that is killed without that mode, its file marked as open
script = f"import h5py, os; f = h5py.File('{out}/killed.h5', 'w', libver='v110'); f['ep_len'] = [1]; f.flush(); os._exit(0)"
subprocess.run([sys.executable, "-c", script], check=True)

# h5py's usual files, in chunks that hold rows of two episodes. `other` has as many rows in the same arrays.
for name, first in (("before.h5", 0), ("other.h5", 2)):
    with h5py.File(f"{out}/{name}", "w") as f:
        start(f, 4)
        for e, rows in enumerate((4, 3, 5)):
            add_rows(f, first + e, 0, rows)
            list_episode(f, rows)
for name, base in (("after.h5", "before.h5"), ("other.h5", "other.h5")):
    if name != base:
        shutil.copy(f"{out}/{base}", f"{out}/{name}")
    with h5py.File(f"{out}/{name}", "a") as f:
        add_rows(f, 1, 0, 6)
        list_episode(f, 6)

# robomimic
for name, demos in (("demos_before.hdf5", (4, 3)), ("demos_after.hdf5", (4, 3, 5))):
    if len(demos) == 3:
        shutil.copy(f"{out}/demos_before.hdf5", f"{out}/{name}")
    with h5py.File(f"{out}/{name}", "a") as f:
        for e in range(len(f["data"]) if "data" in f else 0, len(demos)):
            values = columns(e, demos[e])
            f[f"data/demo_{e}/actions"], f[f"data/demo_{e}/states"] = values["action"], values["state"]
            f.create_dataset(f"data/demo_{e}/obs/agentview_image", data=values["pixels"], compression="gzip")

# As stable-worldmodel's record_dataset: 100 frames a chunk, 1.2 MB unpacked. Noise keeps them from packing to nothing.
noise = np.random.default_rng(3).integers(0, 2, (230, 64, 64, 1), np.uint8)
with h5py.File(f"{out}/chunks_100.h5", "w") as f:
    rows = np.arange(230)
    frames = (rows[:, None, None, None] + noise * (np.arange(64) < 4)[None, None, :, None]).astype(np.uint8)
    f.create_dataset("pixels", data=np.repeat(frames, 3, 3), chunks=(100, 64, 64, 3), compression="gzip")
    f["action"] = rows[:, None].astype(np.float32)
    f["state"] = rows[:, None].astype(np.float32)
    f["ep_len"], f["ep_offset"] = np.array([90, 140], np.int32), np.array([0, 90], np.int64)
