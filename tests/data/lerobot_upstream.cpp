// SPDX-License-Identifier: Apache-2.0
// What is written as LeRobot data, in the loader of the LeRobot project itself. Needs its Python
// package: `python3`, or the interpreter in $FORESIGHT_LEROBOT_PYTHON.
#include <sys/wait.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "continued_lerobot.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::lerobot_upstream_test {
namespace {

namespace fs = std::filesystem;

// What foresight reads of every row: numbers by feature, mean colours by camera, words.
nlohmann::ordered_json all_rows(const fs::path& path) {
  const auto first = open_dataset(path);
  const auto features = io::read_json(path / "meta" / "info.json").at("features");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (int64_t e = 0; e < first->num_episodes(); ++e)
    for (int64_t t = 0; t < first->length(e); ++t)
      rows.push_back({{"task", first->read_text("task", e, t, 1)[0]}});
  for (const auto& camera : first->cameras()) {
    const auto dataset = open_dataset(path, {.camera = camera});
    std::size_t row = 0;
    for (int64_t e = 0; e < dataset->num_episodes(); ++e)
      for (int64_t t = 0; t < dataset->length(e); ++t) {
        const Tensor mean =
            dataset->read_frames(e, {t}).to(at::kDouble).mean(at::IntArrayRef{0, 1, 2});
        for (int64_t channel = 0; channel < 3; ++channel)
          rows[row]["colours"][camera].push_back(mean[channel].item<double>());
        ++row;
      }
  }
  for (const auto& [name, feature] : features.items()) {
    const auto dtype = feature.at("dtype").get<std::string>();
    int64_t width = 1;
    for (const auto& size : feature.at("shape")) width *= size.get<int64_t>();
    std::vector<std::string> columns;
    for (int64_t i = 0; i < width; ++i)
      columns.push_back(width == 1 ? name : name + "_" + std::to_string(i));
    std::size_t row = 0;
    for (int64_t e = 0; e < first->num_episodes(); ++e)
      for (int64_t t = 0; t < first->length(e); ++t, ++row) {
        if (dtype == "string") rows[row]["texts"][name] = first->read_text(name, e, t, 1)[0];
        if (dtype == "string" || dtype == "video" || dtype == "image") continue;
        const Tensor values = first->read_rows(columns, e, t, 1)[0];
        for (int64_t i = 0; i < width; ++i)
          rows[row]["values"][name].push_back(values[i].item<double>());
      }
  }
  return rows;
}

// The script's exit status; 77 where the package is missing.
int run_upstream(const fs::path& set, const fs::path& reference, const fs::path& log) {
  const char* given = std::getenv("FORESIGHT_LEROBOT_PYTHON");
  const std::string python = given != nullptr && *given != '\0' ? given : "python3";
  const std::string command = python + " " + FORESIGHT_SOURCE_DIR +
                              "/examples/load_recording_in_lerobot.py " + set.string() +
                              " --reference " + reference.string() + " > " + log.string() + " 2>&1";
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("LeRobot's own loader reads every row of what is written as LeRobot data") {
  struct Case {
    const char* source;
    const char* encoder;
    FrameStorage storage;
  };
  for (const auto& one : {Case{"tworoom/lerobot_v30_rollover", "h264", FrameStorage::video},
                          Case{"tworoom/lerobot_v30_rollover", "av1", FrameStorage::video},
                          Case{"tworoom/native224", "h264", FrameStorage::pictures}}) {
    INFO(one.source << " as " << one.encoder);
    const auto source = recordings() / one.source;
    if (!fs::exists(source) || !has_video_encoder(one.encoder)) {
      WARN("SKIPPED: " << one.source << " as " << one.encoder);
      continue;
    }
    TemporaryFolder folder;
    try {
      // Small limits: several data and video files.
      convert_dataset(source, folder / "set",
                      {.encoder = one.encoder, .storage = one.storage, .video_file_mb = 0.01});
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::unsupported) throw;
      FORESIGHT_SKIP(error.what());
    }
    io::write_json(folder / "rows.json", {{"rows", all_rows(folder / "set")}});
    const int status = run_upstream(folder / "set", folder / "rows.json", folder / "upstream.log");
    INFO(io::read_text(folder / "upstream.log"));
    if (status == 77) FORESIGHT_SKIP("the Python package lerobot is not installed");
    CHECK(status == 0);
  }
}

TEST_CASE("LeRobot's own loader reads what it wrote itself and foresight went on with") {
  const TemporaryFolder folder;
  if (!copy_lerobot_matrices(folder / "set")) return;
  add_matrix_episode(folder / "set");
  io::write_json(folder / "rows.json", {{"rows", all_rows(folder / "set")}});
  const int status = run_upstream(folder / "set", folder / "rows.json", folder / "upstream.log");
  INFO(io::read_text(folder / "upstream.log"));
  if (status == 77) FORESIGHT_SKIP("the Python package lerobot is not installed");
  CHECK(status == 0);
}

}  // namespace
}  // namespace foresight::data::lerobot_upstream_test
