# SPDX-License-Identifier: Apache-2.0
"""The Python side of benchmark_loader: LeRobotDataset, read through torch's DataLoader.

Started by the benchmark, which takes turns with it. Needs, from PyPI, lerobot==0.4.4 with what reading a data set imports
(datasets<5, torchcodec, torchvision, av, ...). Reads one JSON object a line and answers each:

  {"do": "open", "path": "...", "frames": 4, "stride": 5, "batch": 32, "height": 64, "width": 64}   rows it counts
  {"do": "read", "windows": [[episode, start], ...]}     milliseconds, mean of all pixels
  {"do": "decode", "windows": [[episode, start], ...]}   the same, calling only the package's video decoding: no table of numbers
                                                         is read and no batch put together
"""
import json
import os
import sys
import time
from importlib.metadata import version

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch.utils.data import DataLoader

torch.set_num_threads(1)
try:
    import torchvision
except RuntimeError:  # its compiled part is for another build of torch; reading needs none of its operators
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import decode_video_frames
from torchvision.transforms import v2


class Loading:
    def __init__(self, request):
        meta = LeRobotDataset("local/recording", root=request["path"]).meta
        self.batch, fps = request["batch"], meta.fps
        self.camera = meta.camera_keys[0]
        self.offsets = [t * request["stride"] / fps for t in range(request["frames"])]
        actions = [t / fps for t in range(request["frames"] * request["stride"])]
        size = (request["height"], request["width"])
        height, width = meta.features[self.camera]["shape"][:2]
        self.resize = None if (height, width) == size else v2.Resize(size, antialias=True)
        self.dataset = LeRobotDataset("local/recording", root=request["path"], image_transforms=self.resize,
                                      delta_timestamps={self.camera: self.offsets, "action": actions})
        self.first = [int(episode["dataset_from_index"]) for episode in self.dataset.meta.episodes]
        self.begins = [float(episode[f"videos/{self.camera}/from_timestamp"]) for episode in self.dataset.meta.episodes]
        self.fps = fps

    def read(self, windows):
        order = [self.first[episode] + start for episode, start in windows]
        batches = [order[i:i + self.batch] for i in range(0, len(order), self.batch)]
        loader = DataLoader(self.dataset, batch_sampler=batches)
        kept = []
        start = time.perf_counter()
        for batch in loader:
            kept.append(batch[self.camera])
        return self.result(start, kept)

    def decode(self, windows):
        meta, kept = self.dataset.meta, []
        start = time.perf_counter()
        for episode, first in windows:
            frames = decode_video_frames(self.dataset.root / meta.get_video_file_path(episode, self.camera),
                                         [self.begins[episode] + first / self.fps + offset for offset in self.offsets],
                                         self.dataset.tolerance_s, self.dataset.video_backend)
            kept.append(self.resize(frames) if self.resize else frames)
        return self.result(start, kept)

    @staticmethod
    def result(start, kept):
        ms = 1e3 * (time.perf_counter() - start)
        return {"ms": ms, "mean": 255 * sum(pixels.double().sum().item() for pixels in kept) / sum(pixels.numel() for pixels in kept)}


def main():
    print(json.dumps({"lerobot": version("lerobot"), "torch": torch.__version__, "torchcodec": version("torchcodec"),
                      "python": sys.version.split()[0]}), flush=True)
    loading = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "open":
            loading = Loading(request)
            print(json.dumps({"rows": len(loading.dataset)}), flush=True)
        else:
            print(json.dumps(getattr(loading, request["do"])(request["windows"])), flush=True)


if __name__ == "__main__":
    main()
