// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/safety_monitor.hpp"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

constexpr double kLevels[] = {0.5,   0.75,  0.9,   0.95,   0.98,  0.99,
                              0.995, 0.998, 0.999, 0.9995, 0.9999};
constexpr int64_t kFewest = 20;  // transitions: ten for the scale, ten for the quantiles
// A channel that the model predicts exactly must not drown the others.
constexpr double kSmallestScale = 1e-3;

double middle(std::vector<double> values) {
  const auto half = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), half, values.end());
  if (values.size() % 2 == 1) return *half;
  return (*half + *std::max_element(values.begin(), half)) / 2;
}

std::vector<double> to_doubles(const Tensor& tensor) {
  const auto flat = tensor.to(at::kCPU, at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

// Rank (from 1) of the conformal quantile of n values; larger than n: they cannot tell.
int64_t conformal_rank(double level, int64_t n) {
  // The small term keeps (n+1) * 0.99 = 99.00000000000001 from being rounded up to 100.
  return static_cast<int64_t>(std::ceil(static_cast<double>(n + 1) * level - 1e-9));
}

}  // namespace

std::vector<std::string> SurpriseCalibration::validate() const {
  Rules rules("SurpriseCalibration");
  rules.check(transitions >= 1, "transitions", static_cast<double>(transitions),
              "must be >= 1: calibrate_surprise() makes a calibration");
  const auto count = static_cast<double>(levels.size());
  rules.check(levels.size() == quantiles.size(), "levels", count,
              fmt::format("values must be as many as quantiles, {}", quantiles.size()));
  rules.check(std::isfinite(median) && median >= 0, "median", median, "must be >= 0");
  rules.check(std::isfinite(spread) && spread >= 0, "spread", spread, "must be >= 0");
  for (const double level : levels)
    rules.check(level > 0 && level < 1, "levels", level, "must be between 0 and 1");
  for (const double value : quantiles)
    rules.check(std::isfinite(value) && value >= 0, "quantiles", value, "must be >= 0");
  for (const auto* values : {&levels, &quantiles})
    rules.check(std::is_sorted(values->begin(), values->end()),
                values == &levels ? "levels" : "quantiles", count, "values must ascend");
  for (const double value : scale)
    rules.check(std::isfinite(value) && value > 0, "scale", value, "must be positive");
  rules.check(!scale.empty(), "scale", 0, "values: one per latent channel is needed");
  return rules.problems();
}

std::vector<std::string> SafetyMonitorOptions::validate() const {
  Rules rules("SafetyMonitorOptions");
  rules.check(level > 0 && level < 1, "level", level, "must be between 0 and 1");
  rules.check(std::isfinite(z) && z > 0, "z", z, "must be positive");
  rules.check(std::isfinite(margin) && margin > 0, "margin", margin, "must be positive");
  rules.check(raise_after >= 1, "raise_after", static_cast<double>(raise_after), "must be >= 1");
  rules.check(clear_after >= 1, "clear_after", static_cast<double>(clear_after), "must be >= 1");
  rules.check(clear_ratio >= 0 && clear_ratio <= 1, "clear_ratio", clear_ratio,
              "must be between 0 and 1");
  return rules.problems();
}

Tensor prediction_error(const WorldModel& model, const State& before, const Tensor& block,
                        const State& after, Noise& noise) {
  const auto& latent = model.spec().imagined.front();
  const auto& observed = after.at(latent);
  const auto predicted = model.step(before, block, noise).next.at(latent);
  check_shape("predicted latent", predicted, observed.sizes(), "as observed");
  return (predicted - observed).reshape({observed.size(0), -1, observed.size(-1)});
}

Tensor surprise_of(const Tensor& errors, const std::vector<double>& scale) {
  check_shape("errors", errors, {kAny, kAny, static_cast<int64_t>(scale.size())}, "[N,P,D]");
  const auto divisor = at::tensor(scale, at::kDouble).to(errors.device());
  return (errors.to(at::kDouble) / divisor).square().mean({1, 2}).sqrt();
}

SurpriseCalibration calibrate_surprise(const Tensor& errors) {
  check_shape("errors", errors, {kAny, kAny, kAny}, "[N,P,D]");
  require(errors.size(0) >= kFewest, ErrorCategory::invalid_argument,
          fmt::format("calibrate_surprise: {} transitions, expected at least {}", errors.size(0),
                      kFewest));
  check_finite("errors", errors);
  const auto cpu = errors.detach().to(at::kCPU, at::kDouble);
  auto scale = cpu.slice(0, 0, cpu.size(0), 2).square().mean(at::IntArrayRef{0, 1}).sqrt();
  const auto largest = scale.max().item<double>();
  // A model that was never wrong: every later error is compared with none.
  scale = largest > 0 ? scale.clamp_min(kSmallestScale * largest) : at::ones_like(scale);

  SurpriseCalibration calibration;
  calibration.scale = to_doubles(scale);
  auto values = to_doubles(surprise_of(cpu.slice(0, 1, cpu.size(0), 2), calibration.scale));
  std::sort(values.begin(), values.end());
  const auto n = static_cast<int64_t>(values.size());
  calibration.transitions = n;
  calibration.median = middle(values);
  auto deviations = values;
  for (auto& value : deviations) value = std::abs(value - calibration.median);
  calibration.spread = 1.4826 * middle(deviations);
  for (const double level : kLevels) {
    const auto rank = conformal_rank(level, n);
    if (rank > n) break;
    calibration.levels.push_back(level);
    calibration.quantiles.push_back(values[static_cast<std::size_t>(rank - 1)]);
  }
  return calibration;
}

SurpriseCalibration calibrate_surprise(const WorldModel& model,
                                       const std::vector<ObservationWindow>& episodes,
                                       Noise& noise) {
  c10::NoGradGuard no_grad;
  std::vector<Tensor> errors;
  for (std::size_t e = 0; e < episodes.size(); ++e) {
    const auto& [frames, blocks] = episodes[e];
    require(frames.size() == blocks.size() + 1, ErrorCategory::invalid_argument,
            fmt::format("calibrate_surprise: episode {} has {} frames and {} blocks, expected one "
                        "block less than frames",
                        e, frames.size(), blocks.size()));
    auto state = model.observe(model.initial(frames.front().batch()), {}, frames.front(), noise);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto block = blocks[i].to(state.fields().front().second.device());
      const auto next = model.observe(state, block, frames[i + 1], noise);
      errors.push_back(prediction_error(model, state, block, next, noise).to(at::kCPU));
      state = next;
    }
  }
  require(!errors.empty(), ErrorCategory::invalid_argument,
          "calibrate_surprise: the episodes hold no transition");
  return calibrate_surprise(at::cat(errors));
}

double surprise_threshold(const SurpriseCalibration& calibration,
                          const SafetyMonitorOptions& options) {
  require_valid(calibration);
  require_valid(options);
  if (options.rule == SurpriseRule::robust_z)
    return options.margin * (calibration.median + options.z * calibration.spread);
  // Between two levels the higher one: never more false alarms than asked for.
  for (std::size_t i = 0; i < calibration.levels.size(); ++i)
    if (calibration.levels[i] >= options.level - 1e-12)
      return options.margin * calibration.quantiles[i];
  throw Error(
      ErrorCategory::invalid_option,
      fmt::format("SafetyMonitorOptions.level = {} is more than {} calibration transitions "
                  "can tell, at most {}; calibrate with at least {} transitions or use "
                  "rule robust_z",
                  options.level, calibration.transitions,
                  calibration.levels.empty() ? 0.0 : calibration.levels.back(),
                  2 * static_cast<int64_t>(std::ceil(options.level / (1 - options.level)))));
}

SafetyMonitor::SafetyMonitor(std::shared_ptr<const WorldModel> model,
                             SurpriseCalibration calibration, SafetyMonitorOptions options)
    : model_(std::move(model)),
      calibration_(std::move(calibration)),
      options_(options),
      threshold_(surprise_threshold(calibration_, options_)),
      noise_(static_cast<std::uint64_t>(options_.seed), /*stream=*/1) {
  require(model_ != nullptr, ErrorCategory::invalid_argument, "SafetyMonitor needs a model");
  const auto channels = model_->spec().channels;
  require(static_cast<int64_t>(calibration_.scale.size()) == channels,
          ErrorCategory::invalid_argument,
          fmt::format("SurpriseCalibration.scale has {} values, the model's latent has {} channels",
                      calibration_.scale.size(), channels));
}

SafetyMonitor::Flag& SafetyMonitor::flag(int64_t row) {
  if (row >= static_cast<int64_t>(flags_.size())) flags_.resize(static_cast<std::size_t>(row) + 1);
  return flags_[static_cast<std::size_t>(row)];
}

void SafetyMonitor::update(Flag& flag, double surprise) const {
  auto& verdict = flag.verdict;
  verdict.surprise = std::isfinite(surprise) ? surprise : INFINITY;
  const bool above = verdict.surprise > threshold_;
  verdict.consecutive = above ? verdict.consecutive + 1 : 0;
  flag.calm = verdict.surprise <= options_.clear_ratio * threshold_ ? flag.calm + 1 : 0;
  if (!verdict.flagged && verdict.consecutive >= options_.raise_after) {
    verdict.flagged = true;
    verdict.change = FlagChange::raised;
  } else if (verdict.flagged && flag.calm >= options_.clear_after) {
    verdict.flagged = false;
    verdict.change = FlagChange::cleared;
  }
}

void SafetyMonitor::judge(const std::vector<int64_t>& rows, const State& before,
                          const Tensor& block, const State& after) noexcept {
  std::string problem;
  try {
    c10::NoGradGuard no_grad;
    const auto surprise = to_doubles(
        surprise_of(prediction_error(*model_, before, block, after, noise_), calibration_.scale));
    require(surprise.size() == rows.size(), ErrorCategory::invalid_argument,
            fmt::format("{} transitions for {} problems", surprise.size(), rows.size()));
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (rows[i] >= 0) update(flag(rows[i]), surprise[i]);
    return;
  } catch (const std::exception& error) {
    problem = error.what();
  } catch (...) {
    problem = "an unknown exception";
  }
  try {
    for (const auto row : rows)
      if (row >= 0) flag(row).verdict.message = "surprise unknown: " + problem;
  } catch (...) {  // out of memory: nothing is left to be told
  }
}

std::vector<SafetyVerdict> SafetyMonitor::conclude(int64_t batch) {
  std::vector<SafetyVerdict> verdicts;
  for (int64_t row = 0; row < batch; ++row) {
    auto& verdict = flag(row).verdict;
    verdict.threshold = threshold_;
    verdict.response = verdict.flagged ? options_.response : SafetyResponse::report;
    verdicts.push_back(verdict);
    verdict.surprise = std::numeric_limits<double>::quiet_NaN();
    verdict.change = FlagChange::none;
    verdict.message.clear();
  }
  return verdicts;
}

void SafetyMonitor::reset(const std::vector<int64_t>& rows) {
  for (const auto row : rows)
    if (row >= 0) flag(row) = Flag{};
}

}  // namespace foresight
