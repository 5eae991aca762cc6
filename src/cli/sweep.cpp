// SPDX-License-Identifier: Apache-2.0
#include "sweep.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <optional>

#include "foresight/data/identity.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::cli {
namespace {

constexpr std::size_t kMostPoints = 10000;
constexpr const char* kRunResult = "result.json";

nlohmann::json number_or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

// What a run has brought, of the weights that it kept.
nlohmann::json row_of(const SweepPoint& point, const char* outcome,
                      const train::LearnResult& result) {
  // The stage that measured last, whose weights the bundle holds.
  const auto& last = result.critic.step > 0 && std::isfinite(result.critic.success)
                         ? result.critic
                         : result.world_model;
  return {{"folder", point.folder},
          {"values", point.values},
          {"outcome", outcome},
          {"message", result.message},
          {"steps", result.world_model.step},
          {"loss", number_or_null(result.world_model.loss)},
          {kLossColumn, number_or_null(result.world_model.kept_validation_loss)},
          {kCriticLossColumn, number_or_null(result.critic.kept_validation_loss)},
          {kSuccessColumn, number_or_null(last.kept_success)},
          {kBeforeCritic, result.critic.step > 0 && &last == &result.world_model},
          {"seconds", number_or_null(result.seconds)}};
}

constexpr std::array kResults = {"outcome",         "success", "validation loss",
                                 "cost-to-go loss", "loss",    "seconds"};
constexpr std::array kColumns = {"outcome",         kSuccessColumn, kLossColumn,
                                 kCriticLossColumn, "loss",         "seconds"};

// The end of an option path, as many parts of it as no other column ends with.
std::string heading(const std::string& path, const nlohmann::json& values) {
  const auto ambiguous = [&](const std::string& name) {
    if (std::find(kResults.begin(), kResults.end(), name) != kResults.end()) return true;
    for (const auto& [other, unused] : values.items())
      if (other != path && (other == name || other.ends_with("." + name))) return true;
    return false;
  };
  auto dot = path.rfind('.');
  while (dot != std::string::npos && ambiguous(path.substr(dot + 1)))
    dot = dot > 0 ? path.rfind('.', dot - 1) : std::string::npos;
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

std::string cell(const nlohmann::json& value) {
  if (value.is_null()) return "-";
  if (value.is_number_float()) return fmt::format("{:.4g}", value.get<double>());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// "training.precision: \"fp32\" here, \"bf16\" then" of every option that differs. An earlier
// version did without those that it did not know.
std::vector<std::string> changed_options(const nlohmann::json& now, const nlohmann::json& then) {
  std::vector<std::string> found;
  if (!now.is_object() || !then.is_object()) return found;
  const auto here = now.flatten(), there = then.flatten();
  const auto text = [](const nlohmann::json& values, const std::string& path) {
    return values.contains(path) ? values[path].dump() : std::string("unknown");
  };
  auto paths = here;
  paths.update(there);
  for (const auto& [path, unused] : paths.items()) {
    const auto a = text(here, path), b = text(there, path);
    const bool of_a_list = std::isdigit(static_cast<unsigned char>(path.back())) != 0;
    if (a == b || (!there.contains(path) && !of_a_list)) continue;
    auto name = path.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    found.push_back(fmt::format("{}: {} here, {} then", name, a, b));
  }
  return found;
}

// A sweep of an earlier version tells neither.
void require_same_setting(const nlohmann::json& setting, const nlohmann::json& started,
                          const std::filesystem::path& out) {
  std::vector<std::string> found;
  if (setting.contains("recordings") && started.contains("recordings"))
    found = data::differences(data::identity_told(setting["recordings"]),
                              data::identity_told(started["recordings"]));
  const auto reading = [](const nlohmann::json& told) -> nlohmann::json {
    return told.contains("reading") ? told["reading"] : nlohmann::json::object();
  };
  if (reading(setting) != reading(started))
    found.push_back(
        fmt::format("reading: {} here, {} then", reading(setting).dump(), reading(started).dump()));
  if (started.contains("success") && started["success"] != setting["success"])
    found.push_back(fmt::format("success: {} here, {} then", setting["success"].dump(),
                                started["success"].dump()));
  require(found.empty(), ErrorCategory::invalid_argument,
          fmt::format("{} holds a sweep with other recordings or another measure of success ({}); "
                      "choose another folder",
                      out.string(), fmt::join(found, "; ")));
}

}  // namespace

std::vector<SweepPoint> sweep_points(const nlohmann::json& grid, const std::string& name) {
  require(grid.is_object() && !grid.empty(), ErrorCategory::invalid_option,
          name + ": expected an object {\"option.path\": [values], ...}");
  std::vector<SweepPoint> points{{"", nlohmann::json::object()}};
  for (const auto& [path, values] : grid.items()) {
    require(values.is_array() && !values.empty(), ErrorCategory::invalid_option,
            fmt::format("{}: '{}' = {}, expected a list of values", name, path, values.dump()));
    require(points.size() * values.size() <= kMostPoints, ErrorCategory::invalid_option,
            fmt::format("{}: more than {} combinations", name, kMostPoints));
    std::vector<SweepPoint> more;
    for (const auto& point : points)
      for (const auto& value : values) {
        more.push_back(point);
        more.back().values[path] = value;
      }
    points = std::move(more);
  }
  for (std::size_t i = 0; i < points.size(); ++i) points[i].folder = fmt::format("{:03}", i);
  return points;
}

std::string sweep_table(const nlohmann::json& rows) {
  std::vector<std::vector<std::string>> lines(1);
  if (rows.empty()) return "";
  const auto is_shown = [&](std::size_t column) {
    return std::string(kColumns[column]) != kCriticLossColumn || any_has(rows, kCriticLossColumn);
  };
  lines[0] = {"run"};
  for (const auto& [path, unused] : rows[0]["values"].items())
    lines[0].push_back(heading(path, rows[0]["values"]));
  for (std::size_t i = 0; i < kResults.size(); ++i)
    if (is_shown(i)) lines[0].emplace_back(kResults[i]);
  for (const auto& row : rows) {
    std::vector<std::string> line{row["folder"].get<std::string>()};
    for (const auto& [unused, value] : row["values"].items()) line.push_back(cell(value));
    for (std::size_t i = 0; i < kColumns.size(); ++i)
      if (is_shown(i)) line.push_back(cell(number_in(row, kColumns[i])));
    lines.push_back(std::move(line));
  }
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      std::size_t width = 0;
      for (const auto& other : lines) width = std::max(width, other[i].size());
      text += fmt::format("{:<{}}", line[i], i + 1 < line.size() ? width + 2 : 0);
    }
    text += "\n";
  }
  return text;
}

nlohmann::json sweep_setting(const data::Dataset* recordings,
                             const std::vector<std::string>& states, const nlohmann::json& reading,
                             const SuccessFlags& success) {
  nlohmann::json setting = {{"success", write_options(success)}};
  if (!reading.empty()) setting["reading"] = reading;
  if (recordings != nullptr)
    setting["recordings"] =
        write_options(data::identity_of(*recordings, recordings->action_columns(), states));
  return setting;
}

bool holds_out_by_point(const std::filesystem::path& out) {
  const auto file = out / "sweep.json";
  return std::filesystem::exists(file) &&
         io::read_json(file).value(nlohmann::json::json_pointer("/base/split_seed"), -1) < 0;
}

bool train_points(const std::vector<SweepPoint>& points, const nlohmann::json& grid,
                  const nlohmann::json& base, const nlohmann::json& setting,
                  const std::filesystem::path& out, LossTarget target,
                  const PointTraining& training) {
  const auto record = out / "sweep.json";
  if (std::filesystem::exists(record)) {
    const auto started = io::read_json(record);
    require(started.value("grid", nlohmann::json()) == grid, ErrorCategory::invalid_argument,
            fmt::format("{} holds a sweep of another grid; choose another folder", out.string()));
    const auto began = started.value("base", nlohmann::json());
    const auto changed = changed_options(base, began);
    require(began.is_object() && changed.empty(), ErrorCategory::invalid_argument,
            fmt::format("{} holds a sweep with other options ({}); choose another folder, or give "
                        "those",
                        out.string(), fmt::join(changed, "; ")));
    require_same_setting(setting, started, out);
  }
  auto rows = nlohmann::json::array();
  const auto write = [&] {
    const auto ranking = ranking_of(grid, rows, target);
    const auto sorted = in_order(ranking, rows);
    const auto told = [](const std::string& column) {
      return column.empty() ? nlohmann::json() : nlohmann::json(column);
    };
    auto whole = setting;
    whole.update({{"grid", grid},
                  {"base", base},
                  {"runs", sorted},
                  {"ranked_by", told(ranking.by)},
                  {"then_by", told(ranking.then_by)}});
    io::write_json(record, whole);
    auto table = sweep_table(sorted);
    if (!rows.empty()) table += ranking.told + "\n";
    io::write_text(out / "sweep.txt", table);
    return table;
  };
  std::error_code error;
  std::filesystem::create_directories(out, error);
  require(!error, ErrorCategory::io_failure,
          fmt::format("cannot create {}: {}", out.string(), error.message()));
  std::string table = write();
  std::optional<Error> refusal;  // the first
  std::size_t refused = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const auto folder = out / points[i].folder;
    const auto done = folder / kRunResult;
    if (std::filesystem::exists(done)) {
      rows.push_back(io::read_json(done));
    } else {
      fmt::print("sweep {}/{}: {}\n", i + 1, points.size(), points[i].values.dump());
      std::fflush(stdout);
      try {
        const auto result = training(i, folder);
        if (result.outcome == train::Outcome::interrupted) return false;
        const bool finished = result.outcome == train::Outcome::finished;
        rows.push_back(row_of(points[i], finished ? "finished" : "diverged", result));
        io::write_json(done, rows.back());
      } catch (const Error& problem) {  // of these values with these data; others may be fine
        const auto category = problem.category();
        const bool refuses = category == ErrorCategory::invalid_option ||
                             category == ErrorCategory::invalid_argument;
        const bool is_locked =  // another sweep is at work
            std::string_view(problem.what()).find("another training is at work here") !=
            std::string_view::npos;
        if (!refuses || is_locked) throw;
        if (!refusal) refusal = problem;
        ++refused;
        fmt::print("refused: {}\n", problem.what());
        train::LearnResult result;
        result.message = problem.what();
        rows.push_back(row_of(points[i], "refused", result));
      }
    }
    table = write();
  }
  fmt::print("{}", table);
  if (refusal && refused == points.size()) throw *refusal;
  return true;
}

}  // namespace foresight::cli
