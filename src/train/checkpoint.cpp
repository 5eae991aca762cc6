// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/checksum.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kFormat = "foresight checkpoint ";  // and its number
constexpr std::string_view kWritten = "2", kWithoutMeasured = "1";

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

// A value that is not finite becomes null, as JSON has it.
nlohmann::json to_json(const Measured& measured) {
  return {{"step", measured.step}, {"value", measured.value}};
}

double number_or_nan(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

Measured read_measured(const nlohmann::json& value) {
  return {value.at("step").get<int64_t>(), number_or_nan(value.at("value"))};
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
  const nlohmann::json measured = {{"loss", checkpoint.loss},
                                   {"validation", to_json(checkpoint.validation)},
                                   {"success", to_json(checkpoint.success)},
                                   {"kept_validation", to_json(checkpoint.kept_validation)},
                                   {"kept_success", to_json(checkpoint.kept_success)}};
  io::write_with_checksum(checkpoint_path(folder, checkpoint.step), checkpoint.tensors,
                          {{"format", fmt::format("{}{}", kFormat, kWritten)},
                           {"step", std::to_string(checkpoint.step)},
                           {"seconds", nlohmann::json(checkpoint.seconds).dump()},
                           {"best", nlohmann::json(checkpoint.best).dump()},
                           {"measured", measured.dump()},
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
  const auto format = field("format");
  require(format.starts_with(kFormat), ErrorCategory::bad_file,
          fmt::format("{}: not a checkpoint, its format is '{}'", path.string(), format));
  const auto number = format.substr(kFormat.size());
  require(number == kWritten || number == kWithoutMeasured, ErrorCategory::unsupported,
          fmt::format("{}: checkpoint format {}, and this version reads {} and {}: go on with the "
                      "version that wrote it",
                      path.string(), number, kWithoutMeasured, kWritten));
  io::require_checksum(file);
  Checkpoint checkpoint;
  try {
    checkpoint.step = nlohmann::json::parse(field("step")).get<int64_t>();
    checkpoint.seconds = nlohmann::json::parse(field("seconds")).get<double>();
    checkpoint.best = number_or_nan(nlohmann::json::parse(field("best")));
    if (number != kWithoutMeasured) {
      const auto measured = nlohmann::json::parse(field("measured"));
      checkpoint.loss = number_or_nan(measured.at("loss"));
      checkpoint.validation = read_measured(measured.at("validation"));
      checkpoint.success = read_measured(measured.at("success"));
      if (measured.contains("kept_validation")) {  // not of earlier versions
        checkpoint.kept_validation = read_measured(measured.at("kept_validation"));
        checkpoint.kept_success = read_measured(measured.at("kept_success"));
      }
    }
  } catch (const nlohmann::json::exception& problem) {
    throw Error(ErrorCategory::bad_file,
                fmt::format("{}: damaged checkpoint metadata: {}", path.string(), problem.what()));
  }
  checkpoint.position = field("position");
  checkpoint.tensors = file.tensors();
  return checkpoint;
}

bool has_checkpoint(const fs::path& folder) { return !checkpoints(folder).empty(); }

std::optional<Checkpoint> read_newest_checkpoint(const fs::path& folder, OnDamage damage) {
  const auto found = checkpoints(folder);
  for (const auto& path : found) {
    try {
      return read_checkpoint(path);
    } catch (const Error& problem) {
      if (problem.category() == ErrorCategory::unsupported) throw;
      if (damage == OnDamage::warn)
        log(LogLevel::warning, fmt::format("skipping {}", problem.what()));
    }
  }
  require(found.empty(), ErrorCategory::bad_file,
          fmt::format("{}: none of the {} checkpoints can be read; move them away to begin anew",
                      folder.string(), found.size()));
  return std::nullopt;
}

}  // namespace foresight::train
