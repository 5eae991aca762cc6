# SPDX-License-Identifier: Apache-2.0
# layouts/lerobot_matrix: two episodes of five rows with matrices, as the Python package lerobot 0.4.4 writes them.
# python make_lerobot_matrix.py layouts/lerobot_matrix
import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

FEATURES = {
    "observation.images.front": {"dtype": "image", "shape": (8, 8, 3), "names": ["height", "width", "channels"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["action_0", "action_1"]},
    "grid": {"dtype": "float32", "shape": (3, 2), "names": None},
    "pair": {"dtype": "int64", "shape": (1, 2), "names": None},
}

data = LeRobotDataset.create(repo_id="own/matrix", fps=5, root=sys.argv[1], features=FEATURES, use_videos=False)
for e in range(2):
    for t in range(5):
        data.add_frame({
            "observation.images.front": np.full((8, 8, 3), 20 * t, np.uint8),
            "action": np.array([0.5 * t, -0.5], np.float32),
            "grid": np.array([[100 * e + 10 * t + 2 * i + j for j in range(2)] for i in range(3)], np.float32),
            "pair": np.array([[e, -t]], np.int64),
            "task": "push",
        })
    data.save_episode()
data.finalize()
