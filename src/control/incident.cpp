// SPDX-License-Identifier: Apache-2.0
// The record itself: from a decision, to a line and back.
#include "foresight/control/incident.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"
#include "foresight/core/fnv1a.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFirstActions = 8;
constexpr std::size_t kNamedProblems = 10;

double value_of(const Tensor& values, int64_t place) {
  if (!values.defined() || values.dim() == 0 || place >= values.size(0)) return std::nan("");
  return values[place].item<double>();
}

// The last iteration's value of a diagnostic [I,B].
double last_of(const Tensor& values, int64_t place) {
  if (!values.defined() || values.dim() != 2 || values.size(0) == 0) return std::nan("");
  return value_of(values[values.size(0) - 1], place);
}

std::vector<double> row_of(const Tensor& values) {
  const auto flat = values.to(at::kCPU, at::kDouble).contiguous().flatten();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

// The plan that was made for `row` in this decision; the last one where there were retries.
void add_plan(Incident& incident, const Decision& decision, const ActionSpace& space, int64_t row) {
  for (const auto& [rows, plan] : decision.solved) {
    const auto found = std::find(rows.begin(), rows.end(), row);
    if (found == rows.end()) continue;
    const auto place = static_cast<int64_t>(found - rows.begin());
    const auto i = static_cast<std::size_t>(place);
    incident.plan_status = to_string(i < plan.statuses.size() ? plan.statuses[i] : plan.status);
    incident.plan_cost = value_of(plan.cost, place);
    incident.plan_iterations = plan.diagnostics.iterations;
    incident.plan_spread = last_of(plan.diagnostics.spread, place);
    incident.plan_effective_samples = last_of(plan.diagnostics.effective_samples, place);
    incident.terms.clear();
    for (const auto& [name, value] : plan.terms)
      incident.terms.emplace_back(name, value_of(value, place));
    incident.plan_actions.clear();
    if (!plan.actions.defined() || place >= plan.actions.size(0)) continue;
    const auto raw =
        space.denormalise(plan.actions[place].to(at::kCPU)).flatten(0, 1);  // [H*block,dim]
    for (int64_t k = 0; k < std::min(kFirstActions, raw.size(0)); ++k)
      incident.plan_actions.push_back(row_of(raw[k]));
  }
}

// JSON knows neither: NaN is written as null, infinity by name.
Json json_of(double value) {
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;  // NaN becomes null when it is written
}

double number_of(const nlohmann::json& value) {
  if (value.is_null()) return std::nan("");
  if (value == "Infinity") return INFINITY;
  if (value == "-Infinity") return -INFINITY;
  return value.get<double>();
}

Json json_of(const std::vector<double>& values) {
  auto array = Json::array();
  for (const double value : values) array.push_back(json_of(value));
  return array;
}

std::vector<double> numbers_of(const nlohmann::json& values) {
  std::vector<double> numbers;
  for (const auto& value : values) numbers.push_back(number_of(value));
  return numbers;
}

// Throws nlohmann's exceptions, whose messages name the missing key or the wrong type.
Incident incident_from(const nlohmann::json& line) {
  Incident incident;
  line.at("time").get_to(incident.time);
  line.at("event").get_to(incident.event);
  line.at("problem").get_to(incident.problem);
  line.at("observation").get_to(incident.observation);
  incident.surprise = number_of(line.at("surprise"));
  incident.threshold = number_of(line.at("threshold"));
  line.at("consecutive").get_to(incident.consecutive);
  const auto& plan = line.at("plan");
  plan.at("status").get_to(incident.plan_status);
  incident.plan_cost = number_of(plan.at("cost"));
  plan.at("iterations").get_to(incident.plan_iterations);
  incident.plan_spread = number_of(plan.at("spread"));
  incident.plan_effective_samples = number_of(plan.at("effective_samples"));
  for (const auto& action : plan.at("actions")) incident.plan_actions.push_back(numbers_of(action));
  for (const auto& [name, value] : line.at("terms").get_ref<const nlohmann::json::object_t&>())
    incident.terms.emplace_back(name, number_of(value));
  const auto& decision = line.at("decision");
  decision.at("status").get_to(incident.status);
  decision.at("source").get_to(incident.source);
  decision.at("message").get_to(incident.message);
  incident.action = numbers_of(decision.at("action"));
  line.at("suppressed").get_to(incident.suppressed);
  return incident;
}

}  // namespace

std::string observation_hash(const Observation& observation, int64_t row) {
  Fnv1a hash;
  for (const auto& [name, value] : observation.fields()) {
    const auto own = value[row].to(at::kCPU).contiguous();
    hash.add(name);
    hash.add(fmt::format(" {}{}", at::toString(own.scalar_type()), shape_string(own.sizes())));
    hash.add(own.data_ptr(), own.nbytes());
  }
  return fmt::format("fnv1a64:{:016x}", hash.value());
}

Incident incident_of(const Observation& observation, const Decision& decision,
                     const ActionSpace& space, int64_t row) {
  const auto i = static_cast<std::size_t>(row);
  const auto& verdict = decision.safety.at(i);
  Incident incident;
  incident.event = verdict.change == FlagChange::raised    ? "raised"
                   : verdict.change == FlagChange::cleared ? "cleared"
                                                           : "standing";
  incident.problem = row;
  incident.observation =
      row < observation.batch() ? observation_hash(observation, row) : std::string("none");
  incident.surprise = verdict.surprise;
  incident.threshold = verdict.threshold;
  incident.consecutive = verdict.consecutive;
  add_plan(incident, decision, space, row);
  incident.status = to_string(decision.statuses.at(i));
  incident.source = enum_name(decision.sources.at(i));
  incident.message = decision.message;
  incident.action = row_of(decision.action[row]);
  return incident;
}

std::string incident_line(const Incident& incident) {
  Json line;
  line["time"] = incident.time;
  line["event"] = incident.event;
  line["problem"] = incident.problem;
  line["surprise"] = json_of(incident.surprise);
  line["threshold"] = json_of(incident.threshold);
  line["consecutive"] = incident.consecutive;
  line["observation"] = incident.observation;
  line["decision"] = {{"status", incident.status},
                      {"source", incident.source},
                      {"message", incident.message},
                      {"action", json_of(incident.action)}};
  auto actions = Json::array();
  for (const auto& action : incident.plan_actions) actions.push_back(json_of(action));
  line["plan"] = {{"status", incident.plan_status},
                  {"cost", json_of(incident.plan_cost)},
                  {"iterations", incident.plan_iterations},
                  {"spread", json_of(incident.plan_spread)},
                  {"effective_samples", json_of(incident.plan_effective_samples)},
                  {"actions", actions}};
  line["terms"] = Json::object();
  for (const auto& [name, value] : incident.terms) line["terms"][name] = json_of(value);
  line["suppressed"] = incident.suppressed;
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

IncidentFile read_incidents(const std::filesystem::path& path) {
  const auto text = io::read_text(path);
  IncidentFile file;
  int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const auto line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    const auto name = fmt::format("line {}", number + 1);
    std::string problem;
    try {
      file.incidents.push_back(incident_from(io::parse_json(line, name)));
      continue;
    } catch (const Error& error) {
      problem = error.what();
    } catch (const nlohmann::json::exception& error) {
      problem = name + ": " + error.what();
    }
    ++file.malformed;
    if (file.problems.size() < kNamedProblems) file.problems.push_back(std::move(problem));
  }
  return file;
}

}  // namespace foresight
