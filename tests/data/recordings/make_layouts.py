# SPDX-License-Identifier: Apache-2.0
"""Writes tiny data sets in layouts of which no small published sample exists: python make_layouts.py OUT

robomimic, DINO-WM (as Push-T and as point maze) and DROID, each by the library that its project uses (h5py, torch.save,
pickle, PNG frames through ffmpeg). Numbers are random; what a reader must return is computed here, turns between poses
through quaternions, and kept in expected.json. Frames of one grey level each, level(episode, row) = 10 + 40 e + 7 t.
"""
import json
import os
import pickle
import shutil
import subprocess
import sys

import h5py
import numpy as np
import torch

out = sys.argv[1]
rng = np.random.default_rng(7)
expected = {}


def grey(e, rows, size=16):
    levels = 10 + 40 * e + 7 * np.arange(rows)
    return np.broadcast_to(levels[:, None, None, None], (rows, size, size, 3)).astype(np.uint8)


def mp4(path, frames, fps):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "16x16", "-r", str(fps), "-i",
               "-", "-c:v", "libx264", "-crf", "8", "-pix_fmt", "yuv420p", "-bf", "0", path]
    subprocess.run(command, input=frames.tobytes(), check=True)


# robomimic: 11 demonstrations, so that demo_10 must come after demo_9
os.makedirs(f"{out}/robomimic", exist_ok=True)
demos = [3 + i % 2 for i in range(11)]
actions, states = [], []
with h5py.File(f"{out}/robomimic/low_dim.hdf5", "w", libver="latest") as f:
    for i, rows in enumerate(demos):
        demo = f.create_group(f"data/demo_{i}")
        demo.attrs["num_samples"] = rows
        obs = {"robot0_eef_pos": rng.normal(size=(rows, 3)), "robot0_eef_quat": rng.normal(size=(rows, 4)),
               "robot0_gripper_qpos": rng.normal(size=(rows, 2))}
        actions.append(rng.normal(size=(rows, 7)))
        states.append(np.concatenate([obs[k] for k in sorted(obs)], 1))
        demo["actions"], demo["dones"], demo["states"] = actions[-1], np.zeros(rows, int), rng.normal(size=(rows, 5))
        for key, value in obs.items():
            demo[f"obs/{key}"] = value
        demo["next_obs/robot0_eef_pos"] = rng.normal(size=(rows, 3))
        demo["obs/agentview_image"] = grey(i % 5, rows, 8)
    f["data"].attrs["env_args"] = json.dumps({"env_name": "Lift"})
expected["robomimic"] = {"lengths": demos, "actions": np.concatenate(actions).tolist(),
                         "states": np.concatenate(states).tolist(), "levels": [10 + 40 * (i % 5) for i in range(11)]}

# stable-worldmodel with pictures of the goal, and cameras whose names begin as that of the observation
os.makedirs(f"{out}/swm_goal", exist_ok=True)
with h5py.File(f"{out}/swm_goal/worlds.h5", "w") as f:
    f["ep_len"], f["ep_offset"] = np.array([3, 2], np.int32), np.array([0, 3])
    f["action"] = f["state"] = np.arange(10, dtype=np.float32).reshape(5, 2)
    f["pixels"] = np.concatenate([grey(0, 3, 8), grey(1, 2, 8)])
    for camera in ("a_view", "goal", "pixels.side"):
        f[camera] = np.full((5, 8, 8, 3), 200, np.uint8)

# robomimic, broken: a column with a row too few in one demonstration and one too many in the next, one that a single
# demonstration has lost, and others that not nearly all demonstrations have
os.makedirs(f"{out}/robomimic_uneven", exist_ok=True)
with h5py.File(f"{out}/robomimic_uneven/low_dim.hdf5", "w", libver=("v108", "v110")) as f:
    for i, rows in enumerate([3, 2, 4] + 8 * [3]):
        demo = f.create_group(f"data/demo_{i}")
        demo["actions"] = np.arange(6, dtype=np.float32).reshape(3, 2)
        demo["obs/range"] = np.arange(rows, dtype=np.float32)
        demo["obs/wheels"] = np.arange(3 + i, dtype=np.float32)  # of as many wheels, whatever the rows
        if i != 3:
            demo["obs/height"] = np.arange(3, dtype=np.int64)
        if i < 9:
            demo["obs/shelf"] = np.arange(3, dtype=np.float32)
        if i == 4:
            demo["interventions"] = np.zeros(3, dtype=np.float32)
        demo["obs/agentview_image"] = grey(i % 5, 3, 4)

# robomimic, sound: two tasks in a file each, of which the merged one has external links alone. They differ in how wide
# an array is, and in whether there is one
os.makedirs(f"{out}/robomimic_merged/tasks", exist_ok=True)
with h5py.File(f"{out}/robomimic_merged/low_dim.hdf5", "w", libver=("v108", "v110")) as merged:
    for t, task in enumerate(["lift", "can"]):
        with h5py.File(f"{out}/robomimic_merged/tasks/{task}.hdf5", "w", libver=("v108", "v110")) as f:
            for i in range(2):
                demo = f.create_group(f"data/demo_{i}")
                demo["obs/agentview_image"] = grey(2 * t + i, 3)
                demo["wrist_image"] = np.full((3, 4, 4, 3), 2 * t + i, np.uint8)
                demo["actions"] = np.full((3, 2), 2 * t + i, np.float32)
                demo["states"] = np.arange(3, dtype=np.float32)
                demo["obs/height"] = np.arange(3, dtype=np.float32)
                demo["obs/object"] = np.zeros((3, 3 + t), np.float32)
                if task == "can":
                    demo["obs/lid"] = np.arange(3, dtype=np.float32)
                merged[f"data/demo_{2 * t + i}"] = h5py.ExternalLink(f"tasks/{task}.hdf5", f"data/demo_{i}")

# robomimic, of an environment that tells its control frequency
os.makedirs(f"{out}/robomimic_rate", exist_ok=True)
with h5py.File(f"{out}/robomimic_rate/low_dim.hdf5", "w", libver=("v108", "v110")) as f:
    for i in range(2):
        f[f"data/demo_{i}/actions"] = np.arange(6, dtype=np.float32).reshape(3, 2)
        f[f"data/demo_{i}/obs/agentview_image"] = grey(i, 3)
    f["data"].attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}})

# robomimic, with filter keys; one of them lists what is not there
os.makedirs(f"{out}/robomimic_split", exist_ok=True)
with h5py.File(f"{out}/robomimic_split/low_dim.hdf5", "w", libver=("v108", "v110")) as f:
    for i in range(11):
        f[f"data/demo_{i}/actions"] = np.full((3, 2), i, np.float32)
        f[f"data/demo_{i}/obs/agentview_image"] = grey(i % 5, 3, 4)
    f["mask/train"] = np.array(["demo_10", "demo_0", "demo_2"], dtype="S")
    f["mask/valid"] = np.array(["demo_1"], dtype="S")
    f["mask/lost"] = np.array(["demo_1", "demo_99"], dtype="S")

# DINO-WM: Push-T (videos, actions in hundredths, velocities) and point maze (frames as tensors)
for name, lengths in {"dino_wm_pusht": [4, 6], "dino_wm_maze": [5, 2]}.items():
    folder, pusht = f"{out}/{name}", "pusht" in name
    os.makedirs(f"{folder}/obses", exist_ok=True)
    longest = max(lengths)
    position, speed, action = (rng.normal(size=(2, longest, n)).astype(np.float32) for n in (5, 2, 2))
    torch.save(torch.tensor(position), f"{folder}/states.pth")
    if pusht:
        torch.save(torch.tensor(speed), f"{folder}/velocities.pth")
        torch.save(torch.tensor(action * 100), f"{folder}/rel_actions.pth")
        pickle.dump(lengths, open(f"{folder}/seq_lengths.pkl", "wb"))
        state = np.concatenate([position, speed], 2)
    else:
        torch.save(torch.tensor(action), f"{folder}/actions.pth")
        torch.save(torch.tensor(lengths), f"{folder}/seq_lengths.pth")
        state = position
    for e, rows in enumerate(lengths):
        if pusht:
            mp4(f"{folder}/obses/episode_{e:03d}.mp4", grey(e, rows), 10)
        else:
            torch.save(torch.tensor(grey(e, rows)), f"{folder}/obses/episode_{e:03d}.pth")
    keep = [np.s_[e, :rows] for e, rows in enumerate(lengths)]
    expected[name] = {"lengths": lengths, "actions": np.concatenate([action[k] for k in keep]).tolist(),
                      "states": np.concatenate([state[k] for k in keep]).tolist(), "levels": [10, 50]}


# DROID: two episodes at 15 Hz, one with a frame more than rows
def quaternion(euler):  # extrinsic x, y, z: the product z * y * x of turns about fixed axes
    q = np.array([1.0, 0, 0, 0])
    for axis, angle in enumerate(euler):
        turn = np.zeros(4)
        turn[0], turn[1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
        q = multiply(turn, q)
    return q


def multiply(a, b):
    w = a[0] * b[0] - a[1:] @ b[1:]
    return np.concatenate([[w], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])])


def euler(q):
    w, x, y, z = q
    return [np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)), np.arcsin(2 * (w * y - z * x)),
            np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))]


all_states, all_actions = [], []
for e, rows in enumerate([6, 5]):
    folder = f"{out}/droid/lab/{e:02d}_episode"
    os.makedirs(folder, exist_ok=True)
    pose = np.concatenate([rng.normal(size=(rows, 3)), rng.uniform(-1.4, 1.4, size=(rows, 3))], 1)
    gripper = rng.uniform(size=rows)
    with h5py.File(f"{folder}/trajectory.h5", "w") as f:
        f["observation/robot_state/cartesian_position"] = pose
        f["observation/robot_state/gripper_position"] = gripper
        f["action/cartesian_velocity"] = rng.normal(size=(rows, 6))
    mp4(f"{folder}/recordings/MP4/{1000 + e}.mp4", grey(e, rows + e), 15)
    json.dump({"uuid": str(e), "left_mp4_path": f"elsewhere/recordings/MP4/{1000 + e}.mp4"},
              open(f"{folder}/metadata_{e}.json", "w"))
    state = np.concatenate([pose, gripper[:, None]], 1)
    turns = []
    for a, b in zip(state[:-1], state[1:]):
        back = quaternion(a[3:6]) * [1, -1, -1, -1]
        turns.append([*(b[:3] - a[:3]), *euler(multiply(quaternion(b[3:6]), back)), b[6] - a[6]])
    all_states.append(state)
    all_actions.append(np.array(turns + [[np.nan] * 7]))
expected["droid"] = {"lengths": [6, 5], "levels": [10, 50], "states": np.concatenate(all_states).tolist(),
                     "actions": [[None if np.isnan(v) else v for v in row] for row in np.concatenate(all_actions)]}
# The same with where the left camera stands, and another one of which there is no film
shutil.copytree(f"{out}/droid", f"{out}/droid_extrinsics")
for e, rows in enumerate([6, 5]):
    with h5py.File(f"{out}/droid_extrinsics/lab/{e:02d}_episode/trajectory.h5", "a") as f:
        f[f"observation/camera_extrinsics/{1000 + e}_left"] = 0.1 * np.arange(6 * rows).reshape(rows, 6) + e
        f["observation/camera_extrinsics/9_left"] = np.zeros((rows, 6))
json.dump(expected, open(f"{out}/expected.json", "w"), separators=(",", ":"))
