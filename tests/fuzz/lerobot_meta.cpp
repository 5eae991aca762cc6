// SPDX-License-Identifier: Apache-2.0
// Text as the manifests of a LeRobot v2.1 data set, which are all JSON: the input is info.json,
// episodes.jsonl and tasks.jsonl, with zero bytes between them; what is missing is taken from a
// sound set. What is accepted lists episodes of at least one row in files below the data set.
#include "../../src/data/formats/lerobot_meta.hpp"

#include "scratch_file.hpp"
#include "target.hpp"

namespace {

using namespace foresight;

constexpr const char* kInfo =
    R"({"codebase_version": "v2.1", "fps": 10, "chunks_size": 1000,
 "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
 "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
 "features": {"action": {"dtype": "float32", "shape": [2]},
              "image": {"dtype": "video", "shape": [8, 8, 3]}}})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest = fuzz::text(data, size);
  const auto next = [&](std::string_view otherwise) {
    if (rest.empty()) return otherwise;
    const auto end = rest.find('\0');
    const auto part = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return part.empty() ? otherwise : part;
  };
  const auto& folder = fuzz::scratch();
  folder.put("set/meta/info.json", next(kInfo));
  folder.put("set/meta/episodes.jsonl",
             next(R"({"episode_index": 0, "tasks": ["a"], "length": 3})"));
  folder.put("set/meta/tasks.jsonl", next(R"({"task_index": 0, "task": "a"})"));
  data::LeRobotMeta meta;
  const auto root = folder.path() / "set";
  if (!fuzz::accepts([&] { meta = data::read_lerobot_meta(root); })) return 0;
  fuzz::promise(meta.fps > 0, "a rate of 0 was accepted");
  for (const auto& episode : meta.episodes) {
    fuzz::promise(episode.length >= 1, "an episode without rows was accepted");
    const auto inside = [&](const std::filesystem::path& file) {
      const auto relative = file.lexically_normal().lexically_relative(root);
      return !relative.empty() && *relative.begin() != "..";
    };
    fuzz::promise(inside(episode.data), "a file outside the data set was accepted");
    for (const auto& [key, video] : episode.videos)
      fuzz::promise(inside(video.file), "a video outside the data set was accepted");
  }
  return 0;
}
