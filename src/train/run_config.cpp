// SPDX-License-Identifier: Apache-2.0
#include "run_config.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::train {
namespace {

struct Differences {
  std::vector<std::string> other;    // e.g. "training.steps: 10 here, 20 in the run"
  std::vector<std::string> unknown;  // to the run: e.g. "training.steps = 10"
};

void compare(const nlohmann::json& here, const nlohmann::json& there, const std::string& path,
             Differences& found) {
  if (here.is_object() && there.is_object()) {
    for (const auto& [key, value] : here.items()) {
      const auto inner = path.empty() ? key : path + "." + key;
      if (there.contains(key))
        compare(value, there[key], inner, found);
      else
        found.unknown.push_back(inner + " = " + value.dump());
    }
  } else if (here != there) {
    found.other.push_back(
        fmt::format("{}: {} here, {} in the run", path, here.dump(), there.dump()));
  }
}

}  // namespace

bool writes_run(const LearnHooks& hooks) {
  return hooks.reducer == nullptr || hooks.reducer->rank() == 0;
}

EventWriter open_metrics(const RunFolder& folder, const LearnHooks& hooks,
                         std::optional<int64_t> resume_step) {
  if (!writes_run(hooks)) return EventWriter::nowhere();
  return EventWriter(folder.path, resume_step);
}

void open_run(const LearnOptions& options, const data::Dataset& dataset, const RunFolder& folder,
              const Continuation* from) {
  nlohmann::json config = {{"learn", write_options(options)}, {"data", dataset.name()}};
  if (from != nullptr) config["learn_on"] = told_origin(*from);
  open_run(config, folder);
}

nlohmann::json told_origin(const Continuation& from) {
  return {{"bundle", from.bundle.string()},
          {"replay", from.replay ? from.replay->name() : ""},
          {"share", from.replay ? from.share : 0.0}};
}

void open_run(const nlohmann::json& config, const RunFolder& folder) {
  const auto path = folder.path / "config.json";
  if (!std::filesystem::exists(path)) {
    std::error_code error;
    std::filesystem::create_directories(folder.path, error);
    require(!error, ErrorCategory::io_failure,
            fmt::format("cannot create {}: {}", folder.path.string(), error.message()));
    io::write_json(path, config);
    return;
  }
  require(folder.resume, ErrorCategory::invalid_argument,
          fmt::format("{} holds a run already: resume it, or choose another folder",
                      folder.path.string()));
  Differences found;
  const auto started = io::read_json(path);
  for (const auto* part : {"family", "learn", "learn_on"})
    compare(config.value(part, nlohmann::json()), started.value(part, nlohmann::json()),
            part == std::string("learn") ? "" : part, found);
  require(found.other.empty(), ErrorCategory::invalid_option,
          fmt::format("{} was started with other options: {}", folder.path.string(),
                      fmt::join(found.other, "; ")));
  for (const auto& option : found.unknown)
    log(LogLevel::warning,
        fmt::format("{}: the run does not know {}; it may have been started by an earlier version, "
                    "and what it computed with then need not be this",
                    path.string(), option));
}

}  // namespace foresight::train
