// SPDX-License-Identifier: Apache-2.0
#include "run_config.hpp"

#include <fmt/format.h>

#include <array>
#include <exception>
#include <nlohmann/json.hpp>
#include <span>

#include "../data/writers/recording_lock.hpp"
#include "../io/temporary.hpp"
#include "agreement.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/checkpoint.hpp"

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
  const auto differences = data::differences(now, then);
  for (const auto& difference : differences) found.push_back(now.data + ": " + difference);
  if (differences.empty() && !now.data.empty() && !then.data.empty() &&
      !data::same_place(now.data, then.data))
    log(LogLevel::warning,
        fmt::format(
            "{} was started with recordings at {}; as far as can be told, {} holds the same", run,
            then.data, now.data));
}

using Places = std::span<const char* const>;

// What changes no number: machines may differ in it, and so may a run that goes on.
constexpr std::array kNoNumbers = {"/learn/cache", "/learn/features", "/learn/loader/threads",
                                   "/learn/loader/queue", "/learn/loader/memory"};
// When a run tells of itself and what it keeps.
constexpr std::array kIntervals = {
    "/learn/training/log_every",        "/learn/critic_training/log_every",
    "/learn/training/checkpoint_every", "/learn/critic_training/checkpoint_every",
    "/learn/training/keep_checkpoints", "/learn/critic_training/keep_checkpoints"};
// Where files lie on a machine.
constexpr std::array kFiles = {"/data", "/learn/backbone", "/learn_on/bundle",
                               "/learn_on/replay/data"};
constexpr std::array kPictures = {"/pictures", "/learn_on/replay/pictures"};
constexpr const char* kUnreadableOption = "/learn/loader/unreadable";

void leave_out(nlohmann::json& config, Places places) {
  for (const auto* place : places) {
    const nlohmann::json::json_pointer path(place);
    const auto parent = path.parent_pointer();
    if (config.contains(parent) && config[parent].is_object()) config[parent].erase(path.back());
  }
}

data::Unreadable damage_of(const nlohmann::json& config) {
  const nlohmann::json::json_pointer place(kUnreadableOption);
  return config.contains(place) && config[place] == enum_name(data::Unreadable::skip)
             ? data::Unreadable::skip
             : data::Unreadable::fail;
}

nlohmann::json shared_by_processes(nlohmann::json config) {
  leave_out(config, kNoNumbers);
  leave_out(config, kFiles);
  // What one cannot read, another may.
  if (damage_of(config) == data::Unreadable::skip) leave_out(config, kPictures);
  return config;
}

// What a run that goes on must have as it was.
nlohmann::json kept_by_run(nlohmann::json config, bool begins_to_skip) {
  leave_out(config, kNoNumbers);
  leave_out(config, kIntervals);
  if (begins_to_skip) leave_out(config, Places(&kUnreadableOption, 1));
  return config;
}

// Whether a run has anything to go on from.
bool has_trained(const std::filesystem::path& run) {
  if (std::filesystem::exists(run / "bundle")) return true;
  std::error_code none;
  for (const auto& task : std::filesystem::directory_iterator(run / "checkpoints", none))
    if (has_checkpoint(task.path())) return true;
  return false;
}

// Adds what is new of a run that goes on: the number of processes, where that was another one last
// (a run of an earlier version does not tell with how many it was started), and that files which
// cannot be read are skipped from now on.
void tell_changes(const nlohmann::json& config, const nlohmann::json& started, bool begins_to_skip,
                  const std::filesystem::path& path) {
  auto now = started;
  auto& told = now["processes"];
  if (!told.is_array()) told = nlohmann::json::array({nullptr});
  if (told.empty() || told.back() != config["processes"].back())
    told.push_back(config["processes"].back());
  if (begins_to_skip) {
    now[nlohmann::json::json_pointer(kUnreadableOption)] = enum_name(data::Unreadable::skip);
    log(LogLevel::warning,
        fmt::format("{}: windows that cannot be read are skipped from now on, as "
                    "loader.unreadable = skip says",
                    path.parent_path().string()));
  }
  if (now != started) io::write_json(path, now);
}

nlohmann::json object_of(const std::string& text, const char* what) {
  auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(object.is_object(), ErrorCategory::invalid_argument,
          fmt::format("{} is no JSON object: {}", what, text));
  return object;
}

// Throws Error(invalid_option) naming everything that differs; tells `path` what may.
void require_same_run(const nlohmann::json& given, const nlohmann::json& told,
                      const std::filesystem::path& path) {
  const auto run = path.parent_path().string();
  const auto damage = damage_of(given);
  const bool begins_to_skip =
      damage == data::Unreadable::skip && damage_of(told) == data::Unreadable::fail;
  auto then = told;  // a run of an earlier version held out by its seed
  if (const nlohmann::json::json_pointer split("/learn/split_seed");
      given.contains(split) && then.contains("learn") && !then.contains(split))
    then[split] = -1;
  const auto config = kept_by_run(given, begins_to_skip),
             started = kept_by_run(then, begins_to_skip);
  Differences found;
  const auto part = [](const nlohmann::json& whole, const char* name) {
    return whole.is_object() ? whole.value(name, nlohmann::json()) : nlohmann::json();
  };
  compare(part(config, "family"), part(started, "family"), "family", kInTheRun, found);
  compare(part(config, "learn"), part(started, "learn"), "", kInTheRun, found);
  const bool other_options = !found.other.empty();
  const auto before_origin = found.other.size();
  compare(origin_without_replay(config), origin_without_replay(started), "learn_on", kInTheRun,
          found);
  const bool other_origin = found.other.size() > before_origin;
  if (started.contains("measured"))
    compare(part(config, "measured"), started["measured"], "measured", kInTheRun, found);
  if (config.contains("success") && started.contains("success"))
    compare(config["success"], started["success"], "success", kInTheRun, found);
  else if (config.contains("success"))
    found.unknown.push_back("success = " + config["success"].dump());
  if (const auto now = part(config, "reading"), then = part(started, "reading"); now != then)
    found.other.push_back(
        fmt::format("reading: {} here, {} {}", now.dump(), then.dump(), kInTheRun));
  compare_data(data::identity_told(config), data::identity_told(started), damage, run, found.other);
  compare_data(replay_told(config), replay_told(started), damage, run, found.other);
  require(
      found.other.empty(), ErrorCategory::invalid_option,
      fmt::format(
          "{} was started with other options or recordings: {}{}{}", run,
          fmt::join(found.other, "; "),
          other_options ? fmt::format("; `--config {}` takes those of the run", path.string()) : "",
          other_origin ? "; what it learns on from is said by `--continue`, `--replay` "
                         "and `--replay-share`"
                       : ""));
  for (const auto& option : found.unknown)
    log(LogLevel::warning,
        fmt::format("{}: the run does not know {}; it may have been started by an earlier version, "
                    "and what it computed with then need not be this",
                    path.string(), option));
  tell_changes(given, told, begins_to_skip, path);
}

// A run's folder, locked. One that fails before it has recorded anything, as for an option that
// only its network or its batches can refuse, leaves no config.json that would be in the way of the
// same command with another option.
class OpenRun {
 public:
  explicit OpenRun(const std::filesystem::path& run)
      : run_(run),
        lock_(run / "run",
              run.string() +
                  ": another training is at work here; wait until it has ended, choose another "
                  "folder (`--out`), or, if its machine is gone, remove run.lock") {}
  ~OpenRun() {
    if (!is_new_ || std::uncaught_exceptions() <= exceptions_) return;
    std::error_code none;
    const auto metrics = run_ / "metrics.jsonl";
    if (std::filesystem::exists(metrics, none) && std::filesystem::file_size(metrics, none) > 0)
      return;
    std::filesystem::remove(run_ / "config.json", none);
  }
  OpenRun(const OpenRun&) = delete;
  OpenRun& operator=(const OpenRun&) = delete;

  void began_anew() { is_new_ = true; }

 private:
  std::filesystem::path run_;
  data::NameLock lock_;
  bool is_new_ = false;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace

bool writes_run(const LearnHooks& hooks) {
  return hooks.reducer == nullptr || hooks.reducer->rank() == 0;
}

EventWriter open_metrics(const RunFolder& folder, const LearnHooks& hooks,
                         std::optional<int64_t> resume_step) {
  if (!writes_run(hooks)) return EventWriter::nowhere();
  return EventWriter(folder.path, resume_step);
}

nlohmann::json reading_of(const LearnHooks& hooks) {
  return hooks.reading.empty() ? nlohmann::json::object()
                               : object_of(hooks.reading, "LearnHooks.reading");
}

nlohmann::json run_config(nlohmann::json options, const LearnedFrom& data,
                          const LearnHooks& hooks) {
  const auto* from = hooks.continuation;
  auto config = write_options(data.recordings);
  config["learn"] = std::move(options);
  config["processes"] =
      nlohmann::json::array({hooks.reducer != nullptr ? hooks.reducer->world_size() : 1});
  if (hooks.success && !hooks.success_setting.empty())
    config["success"] = object_of(hooks.success_setting, "LearnHooks.success_setting");
  if (const auto reading = reading_of(hooks); !reading.empty()) config["reading"] = reading;
  if (from == nullptr) return config;
  auto& origin = config["learn_on"];
  origin = {{"bundle", from->bundle.string()}, {"share", data.replay ? from->share : 0.0}};
  if (data.replay) origin["replay"] = write_options(*data.replay);
  return config;
}

RunLock open_run(const nlohmann::json& config, const RunFolder& folder, const LearnHooks& hooks) {
  const auto processes = hooks.reducer != nullptr ? hooks.reducer->replicas() : nullptr;
  require_agreement(shared_by_processes(config), processes.get());
  if (!writes_run(hooks)) return nullptr;
  const auto run = folder.path.string();
  std::error_code error;
  std::filesystem::create_directories(folder.path, error);
  require(!error, ErrorCategory::io_failure,
          fmt::format("cannot create {}: {}", run, error.message()));
  auto open = std::make_shared<OpenRun>(folder.path);
  const auto path = folder.path / "config.json";
  const bool is_new = !std::filesystem::exists(path);
  const auto told = is_new ? nlohmann::json() : io::read_json(path);
  require(is_new || (told.is_object() && told.contains("learn")), ErrorCategory::invalid_argument,
          fmt::format("{} is no training's, but a bundle's or another project's: choose another "
                      "folder (`--out`)",
                      path.string()));
  require(is_new || folder.resume, ErrorCategory::invalid_argument,
          fmt::format("{} holds a run already: resume it (`--resume`), or choose another folder "
                      "(`--out`){}",
                      run,
                      has_trained(folder.path) ? ""
                                               : "; it has no checkpoint yet, so that resuming "
                                                 "starts it anew, with other options too"));
  if (is_new || !has_trained(folder.path)) {
    if (!is_new)
      log(LogLevel::warning, fmt::format("{} has no checkpoint yet: the run starts anew", run));
    io::write_json(path, config);
    if (is_new) open->began_anew();
  } else {
    require_same_run(config, told, path);
  }
  io::remove_abandoned_in(folder.path);  // of a process that was killed while it wrote one
  return open;
}

}  // namespace foresight::train
