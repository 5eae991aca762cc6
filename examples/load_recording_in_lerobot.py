# SPDX-License-Identifier: Apache-2.0
"""A data set that foresight wrote, in LeRobot's own loader.

    foresight convert recordings/ my_set/
    python examples/load_recording_in_lerobot.py my_set/

Reads every row with LeRobotDataset (lerobot 0.4, format v3.0) and checks what a training there relies on: all rows and
tasks are found, times are frame / fps, frames decode within the time tolerance, and stats.json agrees with the rows.
With --reference FILE.json it also compares every row with what foresight itself read (numbers exactly, the mean colour of
every frame to a grey level); tests/data/lerobot_upstream.cpp writes such files. Exits with 77 where lerobot is missing.
"""
import argparse
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the data are here; nothing is fetched

try:
    import numpy as np
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(77)


def numbers(value):
    return np.asarray(value).astype(np.float64).flatten()


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


def check_statistics(data, rows):
    for name, feature in data.meta.features.items():
        if feature["dtype"] in ("video", "image", "string"):
            continue
        stats, values = data.meta.stats[name], np.stack([row[name] for row in rows])
        shape, told = tuple(feature["shape"]), np.shape(stats["mean"])
        if len(shape) > 1 and told == shape[-1:]:  # of a matrix lerobot 0.4 takes all but the last size together
            values = values.reshape(-1, shape[-1])
        else:
            check(told == shape, f"mean of {name} has shape {told}")
        known = ((key, getattr(np, f"nan{key}")(values, 0)) for key in ("mean", "std", "min", "max"))  # NaN: no value
        for key, found in known:
            check(np.allclose(numbers(stats[key]), found, rtol=1e-4, atol=1e-5), f"{key} of {name}: {stats[key]}, rows: {found}")
        check(numbers(stats["count"])[0] == len(rows), f"count of {name}")
        check(all(f"q{q}" in stats for q in ("01", "10", "50", "90", "99")), f"quantiles of {name}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder")
    arguments.add_argument("--reference")
    arguments.add_argument("--backend", help="of video, as LeRobotDataset names it")
    given = arguments.parse_args()
    data = LeRobotDataset(repo_id="local/" + os.path.basename(os.path.normpath(given.folder)), root=given.folder,
                          video_backend=given.backend)
    fps, cameras = data.meta.fps, data.meta.camera_keys
    check(len(data) == data.meta.total_frames, f"{len(data)} rows, info.json says {data.meta.total_frames}")
    reference = json.load(open(given.reference)) if given.reference else None
    rows, index = [], 0
    for episode in data.meta.episodes:
        check(episode["dataset_from_index"] == index, f"episode {episode['episode_index']} starts at {index}")
        for t in range(episode["length"]):
            row = data[index]
            check(int(row["episode_index"]) == episode["episode_index"] and int(row["index"]) == index and
                  int(row["frame_index"]) == t, f"row {index} is another one")
            check(abs(float(row["timestamp"]) - t / fps) < 1e-4, f"time of row {index}")
            check(row["task"] in episode["tasks"], f"task of row {index}")
            for camera in cameras:
                shape = data.meta.features[camera]["shape"]
                check(tuple(row[camera].shape) == (3, shape[0], shape[1]), f"{camera} of row {index}: {row[camera].shape}")
            for name, feature in data.meta.features.items():
                if feature["dtype"] not in ("video", "image", "string") and tuple(feature["shape"]) != (1,):
                    check(tuple(row[name].shape) == tuple(feature["shape"]), f"{name} of row {index}: {row[name].shape}")
            if reference:
                expected = reference["rows"][index]
                check(row["task"] == expected["task"], f"task of row {index}")
                for name, values in expected["values"].items():
                    wanted = np.asarray(values, np.float32 if row[name].dtype == torch.float32 else np.float64)
                    check(np.array_equal(numbers(row[name]), wanted.astype(np.float64)), f"{name} of row {index}: {row[name]}, expected {values}")
                for name, colour in expected["colours"].items():
                    found = 255 * row[name].mean((1, 2)).numpy()
                    check(np.abs(found - colour).max() < 1, f"{name} of row {index}: {found}, expected {colour}")
                for name, text in expected.get("texts", {}).items():
                    check(row[name] == text, f"{name} of row {index}: {row[name]}")
            rows.append({name: numbers(row[name]) for name, feature in data.meta.features.items()
                         if feature["dtype"] not in ("video", "image", "string")})
            index += 1
    check(index == len(data), f"{index} rows in episodes, {len(data)} in all")
    check_statistics(data, rows)
    for name in data.meta.features:
        if name in cameras or data.meta.features[name]["dtype"] != "string":
            for key in ("min", "max", "mean", "std", "count"):
                check(f"stats/{name}/{key}" in columns_of_episodes(given.folder), f"stats/{name}/{key} in meta/episodes")
    print(f"{given.folder}: {data.meta.total_episodes} episodes, {index} rows, cameras {', '.join(cameras)}: all as it should be")


def columns_of_episodes(folder):
    import pathlib
    import pyarrow.parquet as pq
    return pq.read_schema(next(pathlib.Path(folder).glob("meta/episodes/**/*.parquet"))).names


if __name__ == "__main__":
    main()
