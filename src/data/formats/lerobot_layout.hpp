// SPDX-License-Identifier: Apache-2.0
// Where the files of a LeRobot v3.0 data set lie, and how new ones get there: whatever belongs to a
// new episode is written beside its place, and put in place when all of it is whole. Private to the
// data folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace foresight::data {

/// As info.json has them.
inline constexpr const char* kLeRobotDataPath =
    "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
inline constexpr const char* kLeRobotVideoPath =
    "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";

/// "chunk-000/file-012.parquet".
std::string lerobot_file(std::int64_t number, std::int64_t files_per_chunk,
                         const std::string& ending);

/// The feature under which a camera is stored: "front" is "observation.images.front".
std::string lerobot_camera(const std::string& camera);

/// Where a file waits for its place.
std::filesystem::path staged_path(std::filesystem::path file);

/// The same, in a folder that is there now. Throws Error(io_failure).
std::filesystem::path prepared_staged_path(const std::filesystem::path& file);

/// Files below a folder, for messages: at most five, "a, b and others", by their paths in it; empty
/// where there are none.
std::string first_files(const std::filesystem::path& folder);

/// Puts a staged file in its place. Throws Error(io_failure).
void put_in_place(const std::filesystem::path& file);

/// Puts in its place what a writer had staged that was killed while it published. Does nothing
/// else.
void finish_publishing(const std::filesystem::path& folder);

}  // namespace foresight::data
