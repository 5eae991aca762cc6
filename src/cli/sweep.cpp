// SPDX-License-Identifier: Apache-2.0
#include "sweep.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
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

constexpr const char *kSuccess = "success", *kLoss = "validation_loss",
                     *kCriticLoss = "critic_validation_loss";

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
          {kLoss, number_or_null(result.world_model.kept_validation_loss)},
          {kCriticLoss, number_or_null(result.critic.kept_validation_loss)},
          {kSuccess, number_or_null(last.kept_success)},
          {"seconds", number_or_null(result.seconds)}};
}

// A row of an earlier version lacks some.
nlohmann::json number_in(const nlohmann::json& row, const std::string& column) {
  return row.value(column, nlohmann::json());
}

bool any_has(const nlohmann::json& rows, const char* column) {
  return std::any_of(rows.begin(), rows.end(),
                     [&](const nlohmann::json& row) { return number_in(row, column).is_number(); });
}

// Success may not have been measured at the step whose weights a run kept.
bool all_finished_have(const nlohmann::json& rows, const char* column) {
  return any_has(rows, column) &&
         std::all_of(rows.begin(), rows.end(), [&](const nlohmann::json& row) {
           return row.value("outcome", std::string()) != "finished" ||
                  number_in(row, column).is_number();
         });
}

// Smaller is better; what has no number comes last.
double rank_of(const nlohmann::json& row, const std::string& by) {
  const auto value = number_in(row, by);
  if (!value.is_number() || row["outcome"] != "finished")
    return std::numeric_limits<double>::infinity();
  return by == kSuccess ? -value.get<double>() : value.get<double>();
}

constexpr std::array kResults = {"outcome",         "success", "validation loss",
                                 "cost-to-go loss", "loss",    "seconds"};
constexpr std::array kColumns = {"outcome", kSuccess, kLoss, kCriticLoss, "loss", "seconds"};

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

// Options that say what the loss is, or of which data: its value means another thing where one of
// them differs. Statistics of a batch depend on how large it is.
constexpr std::array kObjectives = {"model.loss",
                                    "model.regulariser",
                                    "model.prediction",
                                    "model.predicted_steps",
                                    "model.auto_steps",
                                    "model.sigreg",
                                    "model.loss_exponent",
                                    "model.rollout_start",
                                    "task.short_range",
                                    "task.long_range",
                                    "task.loss_exponent",
                                    "task.views",
                                    "task.batch",
                                    "task.seed",
                                    "task.masks",
                                    "task.distance",
                                    "windows.frames",
                                    "windows.stride",
                                    "loader.batch",
                                    "model.normalise_latents",
                                    "validation",
                                    "validation_split",
                                    "validation_batches",
                                    "task.validation_clips",
                                    "split",
                                    "split_seed",
                                    "walks",
                                    "image_size",
                                    "model.proprio",
                                    "model.action_width",
                                    "model.action_repeat",
                                    "model.image.max_aspect",
                                    "backbone",
                                    "target",
                                    "model.regularisation"};

// The same of the cost-to-go, whose targets it makes itself.
constexpr std::array kCriticObjectives = {"critic_task"};

bool is_within(const std::string& path, const std::string& whole) {
  return path == whole || path.starts_with(whole + ".");
}

// Those of `paths` that are, hold or belong to one of `options`.
template <std::size_t N>
std::vector<std::string> among(const std::vector<std::string>& paths,
                               const std::array<const char*, N>& options) {
  std::vector<std::string> found;
  for (const auto& path : paths)
    if (std::any_of(options.begin(), options.end(), [&](const char* option) {
          return is_within(path, option) || is_within(option, path);
        }))
      found.push_back(path);
  return found;
}

// What the runs of a sweep are compared by, or why they are not.
struct Ranking {
  const char* by = kLoss;
  std::string problem = {};
};

Ranking ranking_of(const nlohmann::json& grid, const nlohmann::json& rows, LossTarget target) {
  constexpr const char* kAdvice = "planning success compares (training.success_every)";
  if (all_finished_have(rows, kSuccess)) return {kSuccess};
  std::vector<std::string> varied;
  for (const auto& [path, unused] : grid.items())
    if (varies(grid, path)) varied.push_back(path);
  if (varied.empty()) return {};
  if (target == LossTarget::moving_encoder)
    return {kLoss,
            "every run's loss is taken against a slow copy of its own encoder, so that the smaller "
            "one is not the better; a probe on the bundles compares (train vjepa2_probe)"};
  const bool of_critic = std::all_of(varied.begin(), varied.end(), [](const std::string& path) {
    return path.starts_with("critic");
  });
  auto incomparable = of_critic ? among(varied, kCriticObjectives) : among(varied, kObjectives);
  if (target == LossTarget::labels) std::erase(incomparable, "backbone");
  Ranking ranking{of_critic ? kCriticLoss : kLoss};
  if (!incomparable.empty())
    ranking.problem = fmt::format(
        "{} change(s) what the loss is or what it is measured on, so that the smaller one is not "
        "the better; {}",
        fmt::join(incomparable, ", "), kAdvice);
  return ranking;
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

bool varies(const nlohmann::json& grid, const std::string& path) {
  return grid.contains(path) && grid[path].size() > 1;
}

std::string sweep_table(const nlohmann::json& rows) {
  std::vector<std::vector<std::string>> lines(1);
  if (rows.empty()) return "";
  const auto is_shown = [&](std::size_t column) {
    return std::string(kColumns[column]) != kCriticLoss || any_has(rows, kCriticLoss);
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
    auto sorted = rows;
    if (ranking.problem.empty())
      std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
        return rank_of(a, ranking.by) < rank_of(b, ranking.by);
      });
    auto whole = setting;
    whole.update({{"grid", grid}, {"base", base}, {"runs", sorted}});
    whole["ranked_by"] = ranking.by;
    if (!ranking.problem.empty()) whole["ranked_by"] = nullptr;
    io::write_json(record, whole);
    auto table = sweep_table(sorted);
    if (!ranking.problem.empty() && !rows.empty())
      table += fmt::format("not ranked: {}\n", ranking.problem);
    io::write_text(out / "sweep.txt", table);
    return table;
  };
  std::filesystem::create_directories(out);
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
