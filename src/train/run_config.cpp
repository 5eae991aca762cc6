// SPDX-License-Identifier: Apache-2.0
#include "run_config.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "agreement.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::train {
namespace {

constexpr const char* kInTheRun = "in the run";

// What a replay was told as: by its name alone in earlier versions.
data::DataIdentity replay_told(const nlohmann::json& config) {
  const auto told = config.value("learn_on", nlohmann::json::object());
  const auto replay = told.value("replay", nlohmann::json());
  if (replay.is_string()) return {.data = replay.get<std::string>()};
  return replay.is_object() ? data::identity_told(replay) : data::DataIdentity();
}

nlohmann::json origin_without_replay(const nlohmann::json& config) {
  auto told = config.value("learn_on", nlohmann::json());
  if (told.is_object()) told.erase("replay");
  return told;
}

// Adds what tells recordings from those that the run was started with.
void compare_data(const data::DataIdentity& now, data::DataIdentity then, data::Unreadable damage,
                  const std::string& run, std::vector<std::string>& found) {
  if (damage == data::Unreadable::skip) {
    then.frames = 0;
    then.fingerprint.clear();
  }
  for (const auto& difference : data::differences(now, then))
    found.push_back(now.data + ": " + difference);
  if (!now.data.empty() && !then.data.empty() && !data::same_place(now.data, then.data))
    log(LogLevel::warning,
        fmt::format(
            "{} was started with recordings at {}; as far as can be told, {} holds the same", run,
            then.data, now.data));
}

data::Unreadable damage_of(const nlohmann::json& config) {
  const nlohmann::json::json_pointer place("/learn/loader/unreadable");
  return config.contains(place) && config[place] == enum_name(data::Unreadable::skip)
             ? data::Unreadable::skip
             : data::Unreadable::fail;
}

// What changes no number may differ between machines, and files lie where they lie.
nlohmann::json shared_by_processes(nlohmann::json config) {
  const auto leave_out = [&](const char* where, std::initializer_list<const char*> names) {
    const nlohmann::json::json_pointer place(where);
    if (!config.contains(place) || !config[place].is_object()) return;
    for (const auto* name : names) config[place].erase(name);
  };
  leave_out("", {"data"});
  leave_out("/learn", {"cache", "features", "backbone"});
  leave_out("/learn/loader", {"threads", "queue", "memory"});
  leave_out("/learn_on", {"bundle"});
  leave_out("/learn_on/replay", {"data"});
  if (damage_of(config) == data::Unreadable::skip) {  // what one cannot read, another may
    leave_out("", {"pictures"});
    leave_out("/learn_on/replay", {"pictures"});
  }
  return config;
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

nlohmann::json run_config(nlohmann::json options, const LearnedFrom& data,
                          const LearnHooks& hooks) {
  const auto* from = hooks.continuation;
  auto config = write_options(data.recordings);
  config["learn"] = std::move(options);
  if (hooks.success && !hooks.success_setting.empty()) {
    config["success"] = nlohmann::json::parse(hooks.success_setting, nullptr, false);
    require(config["success"].is_object(), ErrorCategory::invalid_argument,
            "LearnHooks.success_setting is no JSON object: " + hooks.success_setting);
  }
  if (from == nullptr) return config;
  auto& origin = config["learn_on"];
  origin = {{"bundle", from->bundle.string()}, {"share", data.replay ? from->share : 0.0}};
  if (data.replay) origin["replay"] = write_options(*data.replay);
  return config;
}

void open_run(const nlohmann::json& config, const RunFolder& folder, const LearnHooks& hooks) {
  const auto processes = hooks.reducer != nullptr ? hooks.reducer->replicas() : nullptr;
  require_agreement(shared_by_processes(config), processes.get());
  if (!writes_run(hooks)) return;
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
  const auto part = [](const nlohmann::json& whole, const char* name) {
    return whole.is_object() ? whole.value(name, nlohmann::json()) : nlohmann::json();
  };
  compare(part(config, "family"), part(started, "family"), "family", kInTheRun, found);
  compare(part(config, "learn"), part(started, "learn"), "", kInTheRun, found);
  compare(origin_without_replay(config), origin_without_replay(started), "learn_on", kInTheRun,
          found);
  if (started.contains("measured"))
    compare(part(config, "measured"), started["measured"], "measured", kInTheRun, found);
  if (config.contains("success") && started.contains("success"))
    compare(config["success"], started["success"], "success", kInTheRun, found);
  else if (config.contains("success"))
    found.unknown.push_back("success = " + config["success"].dump());
  const auto damage = damage_of(config);
  compare_data(data::identity_told(config), data::identity_told(started), damage,
               folder.path.string(), found.other);
  compare_data(replay_told(config), replay_told(started), damage, folder.path.string(),
               found.other);
  require(found.other.empty(), ErrorCategory::invalid_option,
          fmt::format("{} was started with other options or recordings: {}", folder.path.string(),
                      fmt::join(found.other, "; ")));
  for (const auto& option : found.unknown)
    log(LogLevel::warning,
        fmt::format("{}: the run does not know {}; it may have been started by an earlier version, "
                    "and what it computed with then need not be this",
                    path.string(), option));
}

}  // namespace foresight::train
