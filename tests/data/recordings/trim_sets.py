# SPDX-License-Identifier: Apache-2.0
"""Cuts the recorded data sets to the size kept here: python trim_sets.py FULL_RECORDINGS OUT

LeRobot v3.0: the columns stats/* of meta/episodes are dropped, which are most of its bytes; the rest is as LeRobot
wrote it. LeRobot v2.1: the first 6 episodes. HDF5 with NaN: the first 3 episodes, written again by h5py. Plain folders:
of `tworoom/folder_random` the first 3 episodes, of `pusht/folder` the first. The others are copied whole. Reference
values are those of the full sets, restricted to the windows that are still there. Sets that are not copied are listed
under "elsewhere".
"""
import glob
import json
import os
import shutil
import sys

import h5py
import pyarrow.parquet as pq

full, out = sys.argv[1:]
goldens = json.load(open(f"{full}/loader_goldens.json"))
kept = json.load(open(f"{out}/loader_goldens.json"))


def copy(name):
    target = f"{out}/{name}"
    if os.path.isdir(target):
        shutil.rmtree(target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    (shutil.copytree if os.path.isdir(f"{full}/{name}") else shutil.copyfile)(f"{full}/{name}", target)
    for folder, _, files in os.walk(target):  # the source may be write-protected
        os.chmod(folder, 0o755)
        for file in files:
            os.chmod(f"{folder}/{file}", 0o644)


def keep(name, episodes=None, windows=5):
    golden = goldens["datasets"][name]
    if episodes is not None:
        golden["episode_lengths"] = golden["episode_lengths"][:episodes]
        golden["num_episodes"] = episodes
        golden["total_frames"] = sum(golden["episode_lengths"])
        for key in ("stats", "num_windows", "episode_subset"):
            golden.pop(key, None)
        for key, count in (("episode_offsets", episodes), ("episode_names", 1)):  # first, "...", last
            if key in golden:
                golden[key] = golden[key][:count]
        golden["windows"] = [w for w in golden["windows"] if w.get("episode", w.get("episode_index")) < episodes]
    step = max(1, len(golden["windows"]) // windows)
    golden["windows"] = golden["windows"][::step]
    for window in golden["windows"]:  # hashes of plain folders hold on every CPU
        if "sha256_hwc_u8_accurate" in window:
            window.pop("thumb8_first"), window.pop("thumb8_last")
    golden["chunks"] = [c for c in golden.get("chunks", []) if episodes is None or c["episode"] < episodes]
    for chunk in golden["chunks"]:
        chunk["pixels"].pop("thumb8_last")
    if not golden["chunks"]:
        golden.pop("chunks")
    kept["datasets"][name] = golden


name = "tworoom/lerobot_v30_rollover"
copy(name)
for file in glob.glob(f"{out}/{name}/meta/episodes/**/*.parquet", recursive=True):
    table = pq.read_table(file)
    pq.write_table(table.select([c for c in table.column_names if not c.startswith("stats/")]), file)
keep(name)

name, episodes = "tworoom/lerobot_v21", 6
copy(name)
for part in ("data/chunk-000/episode_{:06d}.parquet", "videos/chunk-000/observation.image/episode_{:06d}.mp4"):
    for e in range(episodes, goldens["datasets"][name]["num_episodes"]):
        os.remove(f"{out}/{name}/" + part.format(e))
for file in ("episodes.jsonl", "episodes_stats.jsonl"):
    lines = open(f"{out}/{name}/meta/{file}").readlines()
    open(f"{out}/{name}/meta/{file}", "w").writelines(lines[:episodes])
keep(name, episodes)
info = json.load(open(f"{out}/{name}/meta/info.json"))
info.update(total_episodes=episodes, total_videos=episodes, splits={"train": f"0:{episodes}"},
            total_frames=kept["datasets"][name]["total_frames"])
json.dump(info, open(f"{out}/{name}/meta/info.json", "w"), indent=4)

name, episodes = "tworoom/swm/tworoom_nan_gzip.h5", 3
keep(name, episodes)
rows = kept["datasets"][name]["total_frames"]
os.makedirs(f"{out}/tworoom/swm", exist_ok=True)
with h5py.File(f"{full}/{name}") as source, h5py.File(f"{out}/{name}", "w", libver=("earliest", "v110")) as target:
    for column in source:
        count = episodes if column.startswith("ep_") and column != "ep_idx" else rows
        options = {"compression": "gzip", "chunks": (1, *source[column].shape[1:])} if column == "pixels" else {}
        target.create_dataset(column, data=source[column][:count], **options)

for name in ("tworoom/swm/tworoom_blosc.h5", "tworoom/swm/video", "tworoom/swm/folder"):
    copy(name)
    keep(name)
copy("tworoom/swm/tworoom_hdf5v20_raw.h5")
keep("tworoom/swm/tworoom_hdf5v20_raw.h5", windows=4)

for name in ("tworoom/folder", "tworoom/native224"):
    copy(name)
    keep(name, windows=12)
for name, episodes in (("tworoom/folder_random", 3), ("pusht/folder", 1)):
    copy(name)
    for e in range(episodes, goldens["datasets"][name]["num_episodes"]):
        os.remove(f"{out}/{name}/episode_{e:04d}.mp4")
        os.remove(f"{out}/{name}/episode_{e:04d}.csv")
    keep(name, episodes, windows=12)
    info = json.load(open(f"{out}/{name}/dataset.json"))
    info.update(episodes=episodes, frames=kept["datasets"][name]["total_frames"])
    json.dump(info, open(f"{out}/{name}/dataset.json", "w"), indent=1)

kept["elsewhere"] = [name for name in goldens["datasets"] if name not in kept["datasets"]]
json.dump(kept, open(f"{out}/loader_goldens.json", "w"), separators=(",", ":"))
