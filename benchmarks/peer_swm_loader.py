# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_loader: stable-worldmodel's data sets, read through torch's DataLoader.

Started by the benchmark, which takes turns with it. Needs, from PyPI, stable-worldmodel==0.1.1 (with --no-deps: only its
data sets are used), torch, h5py, hdf5plugin, pillow, and decord for video. Reads one JSON object a line and answers each:

  {"do": "open", "path": "...", "frames": 4, "stride": 5, "batch": 32}   how many windows it counts
  {"do": "read", "windows": [[episode, start], ...]}                     milliseconds, mean of all pixels

  python peer_swm_loader.py make <recordings> <folder>
writes larger sets with the package's own writers: raw.h5 and jpeg/ from 100 episodes of <recordings>/tworoom/swm/tworoom_gzip.h5,
jpeg_480x640/ from a clip of a camera, and video/, in the package's layout, from the mp4 files of <recordings>/tworoom/folder.
"""
import csv
import importlib.util
import json
import os
import shutil
import sys
import time
import types
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("LOGURU_LEVEL", "WARNING")

import decord
import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import torch
from torch.utils.data import DataLoader

torch.set_num_threads(1)

# The package's own __init__ files register simulators and formats that this reading does not need.
root = Path(importlib.util.find_spec("stable_worldmodel").origin).parent
for name in ("", ".data", ".data.formats"):
    package = types.ModuleType("stable_worldmodel" + name)
    package.__path__ = [str(root.joinpath(*name.split(".")))]
    sys.modules[package.__name__] = package

from stable_worldmodel.data.formats.folder import FolderDataset, FolderWriter  # noqa: E402
from stable_worldmodel.data.formats.hdf5 import HDF5Dataset, HDF5Writer  # noqa: E402
from stable_worldmodel.data.formats.video import VideoDataset  # noqa: E402


class Loading:
    def __init__(self, request):
        path = Path(request["path"])
        self.batch = request["batch"]
        options = {"path": path, "num_steps": request["frames"], "frameskip": request["stride"], "keys_to_load": ["pixels", "action"]}
        if path.is_file():
            self.dataset = HDF5Dataset(**options)
        elif any((path / "pixels").glob("*.mp4")):
            self.dataset = VideoDataset(video_keys=["pixels"], **options)
        else:
            self.dataset = FolderDataset(folder_keys=["pixels"], **options)
        self.number = {tuple(map(int, clip)): i for i, clip in enumerate(self.dataset.clip_indices)}

    def read(self, windows):
        order = [self.number[tuple(window)] for window in windows]
        batches = [order[i:i + self.batch] for i in range(0, len(order), self.batch)]
        loader = DataLoader(self.dataset, batch_sampler=batches)
        kept = []
        start = time.perf_counter()
        for batch in loader:
            kept.append(batch["pixels"])
        ms = 1e3 * (time.perf_counter() - start)
        return {"ms": ms, "mean": sum(pixels.sum().item() for pixels in kept) / sum(pixels.numel() for pixels in kept)}


def make(recordings, folder):
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(recordings / "tworoom/swm/tworoom_gzip.h5") as source:
        lengths, offsets = source["ep_len"][:], source["ep_offset"][:]
        episodes = [{key: source[key][o:o + n] for key in ("pixels", "action", "state")} for n, o in zip(lengths, offsets)]
    for writer in (HDF5Writer(folder / "raw.h5", mode="overwrite"), FolderWriter(folder / "jpeg", mode="overwrite")):
        with writer:
            for episode in episodes:
                writer.write_episode({key: list(values) for key, values in episode.items()})
    clip = decord.VideoReader(str(recordings / "camera/cup_h264.mp4"))[:].asnumpy()
    with FolderWriter(folder / "jpeg_480x640", mode="overwrite") as writer:
        writer.write_episode({"pixels": list(clip), "action": [np.zeros(2, np.float32)] * len(clip)})
    video = folder / "video"
    (video / "pixels").mkdir(parents=True, exist_ok=True)
    actions, counts = [], []
    for table in sorted((recordings / "tworoom/folder").glob("episode_*.csv")):
        with open(table) as file:
            rows = [[float(row["action_0"]), float(row["action_1"])] for row in csv.DictReader(file)]
        shutil.copyfile(table.with_suffix(".mp4"), video / f"pixels/ep_{len(counts)}.mp4")
        actions += rows
        counts.append(len(rows))
    np.savez(video / "action.npz", np.array(actions, np.float32))
    np.savez(video / "ep_len.npz", np.array(counts, np.int32))
    np.savez(video / "ep_offset.npz", np.cumsum([0] + counts[:-1]).astype(np.int64))


def main():
    if sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    print(json.dumps({"stable_worldmodel": version("stable-worldmodel"), "torch": torch.__version__, "python": sys.version.split()[0]}),
          flush=True)
    loading = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "open":
            loading = Loading(request)
            print(json.dumps({"windows": len(loading.dataset)}), flush=True)
        else:
            print(json.dumps(loading.read(request["windows"])), flush=True)


if __name__ == "__main__":
    main()
