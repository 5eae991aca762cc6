// SPDX-License-Identifier: Apache-2.0
#include "foresight/envs/registry.hpp"

#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "foresight/envs/two_room.hpp"

namespace foresight::envs {

namespace {

[[noreturn]] void unknown_name(const std::string& kind, std::string_view name,
                               const std::vector<std::string>& known) {
  std::string accepted;
  for (const auto& candidate : known) accepted += (accepted.empty() ? "" : ", ") + candidate;
  throw Error(ErrorCategory::not_found,
              "unknown " + kind + " '" + std::string(name) + "', accepted: " + accepted);
}

}  // namespace

std::vector<std::string> env_names() { return {"two_room", "eb_two_rooms"}; }

std::unique_ptr<Env> make_env(std::string_view name, const nlohmann::json& options) {
  if (name == "two_room") {
    TwoRoomOptions parsed;
    read_options(parsed, options, "two_room");
    return std::make_unique<TwoRoom>(std::move(parsed));
  }
  if (name == "eb_two_rooms") {
    EbTwoRoomsOptions parsed;
    read_options(parsed, options, "eb_two_rooms");
    return std::make_unique<EbTwoRooms>(std::move(parsed));
  }
  unknown_name("environment", name, env_names());
}

std::unique_ptr<Env> make_env(std::string_view name) {
  return make_env(name, nlohmann::json::object());
}

std::vector<std::string> policy_names() {
  return {"random", "still", "straight", "expert", "expert_exact"};
}

std::unique_ptr<ScriptedPolicy> make_policy(std::string_view name) {
  if (name == "random") return std::make_unique<RandomPolicy>();
  if (name == "still") return std::make_unique<StillPolicy>();
  if (name == "straight") return std::make_unique<StraightPolicy>();
  if (name == "expert") return std::make_unique<TwoRoomExpert>();
  if (name == "expert_exact")
    return std::make_unique<TwoRoomExpert>(
        TwoRoomExpertOptions{.noise_std = 0, .repeat_probability = 0});
  unknown_name("policy", name, policy_names());
}

}  // namespace foresight::envs
