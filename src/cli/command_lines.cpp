// SPDX-License-Identifier: Apache-2.0
#include "command_lines.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "flags.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "machine_flags.hpp"
#include "planning_success.hpp"

namespace foresight::cli {
namespace {

std::string flag(std::string_view name, const std::string& value) {
  return fmt::format(" --{} {}", name, shell_word(value));
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ","));
}

// The flags that read the same recordings again. "pixels" stands for a camera without a name.
std::string data_flags(const std::string& path, const std::string& camera,
                       const std::vector<std::string>& states) {
  auto text = flag("data", path);
  if (!camera.empty() && camera != "pixels") text += flag("camera", camera);
  if (!states.empty()) text += flag("states", joined(states));
  return text;
}

// --reading.*, but for what is told otherwise.
std::string reading_flags(const nlohmann::json& told, const std::string& path = "reading") {
  std::string text;
  if (!told.is_object()) return text;
  for (const auto& [name, value] : told.items()) {
    const auto below = path + "." + name;
    text += value.is_object() ? reading_flags(value, below) : flag(below, flag_text(value));
  }
  return text;
}

std::string replay_flags(const nlohmann::json& origin) {
  const auto replay = origin.value("replay", nlohmann::json());
  // Earlier versions told its name alone.
  const auto path = replay.is_string()   ? replay.get<std::string>()
                    : replay.is_object() ? data::identity_told(replay).data
                                         : std::string();
  if (path.empty()) return {};
  return flag("replay", path) +
         flag("replay-share", origin.value("share", nlohmann::json()).dump());
}

// How success was measured meanwhile; nothing of a measure that is no flags' but a program's own
// (train::LearnHooks::success_setting).
std::string success_flags(const nlohmann::json& config) {
  SuccessFlags success;
  const auto told = config.value("success", nlohmann::json());
  const auto flags = write_options(success);
  if (!told.is_object() || told.size() != flags.size()) return {};
  for (const auto& [name, preset] : flags.items()) {
    const auto value = told.value(name, nlohmann::json());
    if (preset.is_string() ? !value.is_string() : !value.is_number_integer()) return {};
  }
  read_options(success, told, "config.json: success");
  return flag("success-protocol", success.protocol) + flag("success-env", success.environment) +
         flag("success-instances", std::to_string(success.instances)) +
         flag("success-seed", std::to_string(success.seed));
}

}  // namespace

std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=+@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::filesystem::path folder_path(const std::string& path) {
  auto whole = std::filesystem::absolute(path).lexically_normal();
  if (!whole.has_filename() && whole.has_relative_path()) whole = whole.parent_path();
  return whole;
}

std::string train_again(const nlohmann::json& config, const std::string& data,
                        const std::string& run) {
  const auto family = config.value("family", std::string());
  const auto trained_on = data::identity_told(config);
  auto line = "foresight train" + (family.empty() ? "" : " " + family);
  if (family != models::kEbJepaFamily)
    line += data_flags(data, trained_on.camera, trained_on.observed_columns) +
            reading_flags(config.value("reading", nlohmann::json()));
  if (const auto origin = config.value("learn_on", nlohmann::json()); origin.is_object())
    line += flag("continue", origin.value("bundle", std::string())) + replay_flags(origin);
  const auto folder = std::filesystem::path(run).has_filename()
                          ? std::filesystem::path(run)
                          : std::filesystem::path(run).parent_path();
  return line + success_flags(config) + flag("out", folder.string() + "-again") +
         flag("config", (folder / "config.json").string());
}

std::string eval_again(const nlohmann::json& evaluation, const std::string& data,
                       const std::string& camera, const std::string& environment,
                       const std::string& run) {
  auto line = "foresight eval" + flag("bundle", (std::filesystem::path(run) / "bundle").string());
  if (!evaluation.is_object())
    return line + data_flags(data, camera, {}) + flag("env", environment);
  const auto text = [&](const char* name) { return evaluation.value(name, std::string()); };
  // One that was given no recordings drew its problems from the environment.
  if (!text("data").empty()) {
    line += data_flags(data, text("camera"),
                       evaluation.value("observed_columns", std::vector<std::string>()));
    line += reading_flags(evaluation.value("reading", nlohmann::json()));
    if (evaluation.contains("open_loop_blocks"))
      line += flag("open-loop", evaluation["open_loop_blocks"].dump());
  }
  if (const auto precision = text("precision"); !precision.empty() && precision != kAsSaved)
    line += flag("precision", precision);
  line += flag("env", text("environment"));
  if (const auto options = evaluation.value("environment_options", nlohmann::json::object());
      !options.empty())
    line += flag("env-options", options.dump());
  if (!text("problems").empty()) line += flag("problems", text("problems"));
  std::vector<std::string> protocols;
  for (const auto& entry : evaluation.value("protocols", nlohmann::json::array()))
    protocols.push_back(entry.at("planner").at("protocol").get<std::string>());
  if (protocols.empty()) return line;
  if (evaluation.contains("agent"))  // how it planned
    line += flag("config", (std::filesystem::path(run) / "eval.json").string());
  line += flag("protocol", joined(protocols));
  for (const auto* number : {"instances", "seed"})
    if (evaluation.contains(number)) line += flag(number, evaluation[number].dump());
  if (!evaluation["protocols"].front().contains("baselines")) line += " --no-baselines";
  return line + (evaluation.contains("trade_off") ? " --trade-off" : "");
}

}  // namespace foresight::cli
