// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFormat = "foresight checkpoint 1";

// Checkpoints of the folder, newest first. The step is padded, so the name sorts by it.
std::vector<fs::path> checkpoints(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("step_") && name.ends_with(".safetensors")) found.push_back(entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

}  // namespace

io::NamedTensors Checkpoint::section(std::string_view prefix) const {
  io::NamedTensors result;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) result.emplace_back(name.substr(prefix.size()), tensor);
  return result;
}

fs::path checkpoint_path(const fs::path& folder, int64_t step) {
  return folder / fmt::format("step_{:010}.safetensors", step);
}

void write_checkpoint(const fs::path& folder, const Checkpoint& checkpoint, int64_t keep) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, ErrorCategory::io_failure,
          fmt::format("cannot create {}: {}", folder.string(), error.message()));
  nlohmann::json best = checkpoint.best;  // NaN becomes null
  io::write_safetensors(checkpoint_path(folder, checkpoint.step), checkpoint.tensors,
                        {{"format", kFormat},
                         {"step", std::to_string(checkpoint.step)},
                         {"seconds", nlohmann::json(checkpoint.seconds).dump()},
                         {"best", best.dump()},
                         {"position", checkpoint.position}});
  const auto found = checkpoints(folder);
  for (std::size_t i = static_cast<std::size_t>(std::max<int64_t>(keep, 1)); i < found.size(); ++i)
    fs::remove(found[i], error);
}

Checkpoint read_checkpoint(const fs::path& path) {
  const auto file = io::SafeTensors::open(path);
  const auto& metadata = file.metadata();
  const auto field = [&](const std::string& key) {
    const auto it = metadata.find(key);
    require(it != metadata.end(), ErrorCategory::bad_file,
            fmt::format("{}: not a checkpoint, its metadata lacks '{}'", path.string(), key));
    return it->second;
  };
  require(field("format") == kFormat, ErrorCategory::bad_file,
          fmt::format("{}: format '{}', expected '{}'", path.string(), field("format"), kFormat));
  Checkpoint checkpoint;
  try {
    checkpoint.step = nlohmann::json::parse(field("step")).get<int64_t>();
    checkpoint.seconds = nlohmann::json::parse(field("seconds")).get<double>();
    const auto best = nlohmann::json::parse(field("best"));
    checkpoint.best =
        best.is_null() ? std::numeric_limits<double>::quiet_NaN() : best.get<double>();
  } catch (const nlohmann::json::exception& problem) {
    throw Error(ErrorCategory::bad_file,
                fmt::format("{}: damaged checkpoint metadata: {}", path.string(), problem.what()));
  }
  checkpoint.position = field("position");
  checkpoint.tensors = file.tensors();
  return checkpoint;
}

std::optional<Checkpoint> read_newest_checkpoint(const fs::path& folder) {
  for (const auto& path : checkpoints(folder)) {
    try {
      return read_checkpoint(path);
    } catch (const Error& problem) {
      log(LogLevel::warning, fmt::format("skipping {}: {}", path.string(), problem.what()));
    }
  }
  return std::nullopt;
}

}  // namespace foresight::train
