// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/planning_protocol.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"

namespace foresight::eval {

namespace {

using nlohmann::json;

json read_protocols(const std::filesystem::path& file) {
  require(std::filesystem::is_regular_file(file), ErrorCategory::not_found,
          file.string() + ": no such file");
  std::ifstream stream(file);
  const auto document = json::parse(stream, nullptr, /*allow_exceptions=*/false);
  require(document.is_object() && document.contains("protocols") &&
              document.at("protocols").is_object(),
          ErrorCategory::bad_file, file.string() + ": expected JSON with an object 'protocols'");
  return document.at("protocols");
}

// Reads members of one JSON object and names file, object and key when something is wrong.
class Reader {
 public:
  Reader(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    require(object.is_object(), ErrorCategory::bad_file, where_ + ": expected an object");
  }

  int64_t integer(const char* key, int64_t low) const {
    const auto& value = at(key);
    require(value.is_number_integer() && value.get<int64_t>() >= low, ErrorCategory::bad_file,
            where_ + "." + key + " = " + value.dump() +
                ", expected an integer >= " + std::to_string(low));
    return value.get<int64_t>();
  }

  std::vector<double> numbers(const char* key) const {
    const auto& value = at(key);
    bool holds = value.is_array() && !value.empty();
    std::vector<double> result;
    if (holds)
      for (const auto& item : value) {
        holds = holds && item.is_number();
        if (item.is_number()) result.push_back(item.get<double>());
      }
    require(holds, ErrorCategory::bad_file, where_ + "." + key + ": expected a list of numbers");
    return result;
  }

  const json& at(const char* key) const {
    const auto found = object_.find(key);
    require(found != object_.end(), ErrorCategory::bad_file,
            where_ + ": key '" + key + "' is missing");
    return *found;
  }

 private:
  const json& object_;
  std::string where_;
};

std::vector<double> numbers_of(const Tensor& row) {
  const auto values = row.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto* begin = values.data_ptr<double>();
  return std::vector<double>(begin, begin + values.numel());
}

}  // namespace

std::vector<std::string> planning_protocol_names(const std::filesystem::path& file) {
  const auto protocols = read_protocols(file);  // items() refers to it
  std::vector<std::string> names;
  for (const auto& [name, unused] : protocols.items()) names.push_back(name);
  return names;
}

PlanningProtocol read_planning_protocol(const std::filesystem::path& file,
                                        const std::string& name) {
  const auto protocols = read_protocols(file);
  if (!protocols.contains(name)) {
    std::string accepted;
    for (const auto& [key, unused] : protocols.items())
      accepted += (accepted.empty() ? "" : ", ") + key;
    throw Error(ErrorCategory::not_found,
                file.string() + ": no protocol '" + name + "', it has: " + accepted);
  }
  const std::string where = file.string() + ": protocols." + name;
  const Reader reader(protocols.at(name), where);
  PlanningProtocol protocol;
  protocol.name = name;
  protocol.goal_offset = reader.integer("goal_offset", 1);
  protocol.budget = reader.integer("eval_budget", 1);
  const auto& instances = reader.at("instances");
  require(instances.is_array() && !instances.empty(), ErrorCategory::bad_file,
          where + ".instances: expected a list of at least one problem");
  for (std::size_t i = 0; i < instances.size(); ++i) {
    const std::string which = where + ".instances[" + std::to_string(i) + "]";
    const Reader item(instances[i], which);
    PlanningInstance instance;
    instance.episode = item.integer("episode", 0);
    instance.start_step = item.integer("start_step", 0);
    instance.goal_step = item.integer("goal_step", instance.start_step + 1);
    instance.start_state = item.numbers("start_state");
    instance.goal_state = item.numbers("goal_state");
    require(instance.start_state.size() == instance.goal_state.size(), ErrorCategory::bad_file,
            which + ": start_state and goal_state differ in length");
    protocol.instances.push_back(std::move(instance));
  }
  return protocol;
}

std::vector<std::string> ProtocolOptions::validate() const {
  Rules rules("ProtocolOptions");
  auto at_least_one = [&](const char* field, int64_t value) {
    rules.check(value >= 1, field, static_cast<double>(value), "must be >= 1");
  };
  at_least_one("goal_offset", goal_offset);
  at_least_one("budget", budget);
  at_least_one("count", count);
  rules.check(seed >= 0, "seed", static_cast<double>(seed), "must be >= 0");
  return rules.problems();
}

PlanningProtocol sample_planning_protocol(const std::vector<Tensor>& episode_states,
                                          const ProtocolOptions& options) {
  require_valid(options);
  struct Row {
    int64_t episode, step;
  };
  std::vector<Row> candidates;
  for (std::size_t episode = 0; episode < episode_states.size(); ++episode) {
    check_shape("sample_planning_protocol: episode states", episode_states[episode], {kAny, kAny},
                "[T,N]");
    const int64_t last = episode_states[episode].size(0) - options.goal_offset - 1;
    for (int64_t step = 0; step <= last; ++step)
      candidates.push_back({static_cast<int64_t>(episode), step});
  }
  const auto available = static_cast<int64_t>(candidates.size());
  require(available >= options.count, ErrorCategory::invalid_argument,
          "sample_planning_protocol: " + std::to_string(available) + " rows have a goal " +
              std::to_string(options.goal_offset) +
              " steps later, fewer than count = " + std::to_string(options.count));
  constexpr std::uint64_t kProtocolStream = 0x70726f74;
  auto order =
      PhiloxNoise(static_cast<std::uint64_t>(options.seed), kProtocolStream).permutation(available);
  order.resize(static_cast<std::size_t>(options.count));
  std::sort(order.begin(), order.end());

  PlanningProtocol protocol;
  protocol.name = "sampled_" + std::to_string(options.goal_offset) + "_" +
                  std::to_string(options.budget) + "_seed" + std::to_string(options.seed);
  protocol.goal_offset = options.goal_offset;
  protocol.budget = options.budget;
  for (const auto index : order) {
    const auto [episode, step] = candidates[static_cast<std::size_t>(index)];
    const auto& states = episode_states[static_cast<std::size_t>(episode)];
    protocol.instances.push_back({episode, step, step + options.goal_offset,
                                  numbers_of(states[step]),
                                  numbers_of(states[step + options.goal_offset])});
  }
  return protocol;
}

PlanningProtocol sample_environment_protocol(envs::Env& env, int64_t budget, int64_t count,
                                             int64_t seed) {
  require(budget >= 1 && count >= 1 && seed >= 0, ErrorCategory::invalid_argument,
          "sample_environment_protocol: budget = " + std::to_string(budget) +
              ", count = " + std::to_string(count) + ", seed = " + std::to_string(seed) +
              ", expected budget and count >= 1 and seed >= 0");
  PlanningProtocol protocol;
  protocol.name = "random_" + std::to_string(budget) + "_seed" + std::to_string(seed);
  protocol.budget = budget;
  protocol.success_distance = env.spec().end_distance;
  if (protocol.success_distance > 0) protocol.solved_when = SolvedWhen::near_at_end;
  const auto tries = 100 * count;
  std::mt19937_64 seeds(static_cast<std::uint64_t>(seed));
  for (int64_t i = 0; i < tries && static_cast<int64_t>(protocol.instances.size()) < count; ++i)
    if (!env.reset(seeds()).terminated)
      protocol.instances.push_back(
          {kNoEpisode, 0, 0, numbers_of(env.state()), numbers_of(env.goal())});
  require(static_cast<int64_t>(protocol.instances.size()) == count, ErrorCategory::invalid_argument,
          "sample_environment_protocol: environment '" + env.spec().name + "' drew only " +
              std::to_string(protocol.instances.size()) + " unsolved problems in " +
              std::to_string(tries) + " tries, count = " + std::to_string(count));
  return protocol;
}

}  // namespace foresight::eval
