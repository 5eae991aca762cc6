// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/probe.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight::eval {

namespace {

// [..., C] -> double rows [N, C] on the CPU, checked.
Tensor rows_of(const char* name, const Tensor& tensor) {
  require(tensor.defined() && tensor.dim() >= 1 && tensor.size(-1) >= 1,
          ErrorCategory::invalid_argument, std::string(name) + " must have rows [..., columns]");
  check_finite(name, tensor);
  return tensor.detach().to(at::kCPU, at::kDouble).reshape({-1, tensor.size(-1)});
}

void check_same_rows(const Tensor& latents, const Tensor& targets) {
  require(latents.size(0) == targets.size(0), ErrorCategory::invalid_argument,
          "linear probe: " + std::to_string(latents.size(0)) + " latents but " +
              std::to_string(targets.size(0)) + " targets");
}

std::vector<std::string> column_names(std::vector<std::string> names, int64_t columns) {
  if (names.empty())
    for (int64_t i = 0; i < columns; ++i) names.push_back("column_" + std::to_string(i));
  require(static_cast<int64_t>(names.size()) == columns, ErrorCategory::invalid_argument,
          "linear probe: " + std::to_string(names.size()) + " names for " +
              std::to_string(columns) + " target columns");
  return names;
}

}  // namespace

Tensor LinearProbe::predict(const Tensor& latents) const {
  require(weight.defined() && bias.defined(), ErrorCategory::invalid_argument,
          "LinearProbe::predict: the probe was not fitted");
  require(latents.defined() && latents.dim() >= 1 && latents.size(-1) == weight.size(0),
          ErrorCategory::invalid_argument,
          "LinearProbe::predict: latents " +
              (latents.defined() ? shape_string(latents.sizes()) : std::string("undefined")) +
              " must end in " + std::to_string(weight.size(0)) + " channels");
  return at::matmul(latents.detach().to(at::kCPU, at::kDouble), weight) + bias;
}

void LinearProbe::save(const std::filesystem::path& path) const {
  io::write_safetensors(path, {{"weight", weight}, {"bias", bias}},
                        {{"names", nlohmann::json(names).dump()}});
}

LinearProbe LinearProbe::load(const std::filesystem::path& path) {
  const auto file = io::SafeTensors::open(path);
  LinearProbe probe;
  probe.weight = file.at("weight").to(at::kDouble).clone();
  probe.bias = file.at("bias").to(at::kDouble).clone();
  require(probe.weight.dim() == 2 && probe.bias.dim() == 1 &&
              probe.weight.size(1) == probe.bias.size(0),
          ErrorCategory::bad_file,
          path.string() + ": a linear probe has weight [D,K] and bias [K], found " +
              shape_string(probe.weight.sizes()) + " and " + shape_string(probe.bias.sizes()));
  require(probe.weight.isfinite().all().item<bool>() && probe.bias.isfinite().all().item<bool>(),
          ErrorCategory::bad_file, path.string() + ": the probe holds non-finite values");
  const auto entry = file.metadata().find("names");
  if (entry != file.metadata().end()) {
    const auto names = nlohmann::json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
    const bool strings = names.is_array() && std::all_of(names.begin(), names.end(),
                                                         [](auto& n) { return n.is_string(); });
    require(strings && static_cast<int64_t>(names.size()) == probe.bias.size(0),
            ErrorCategory::bad_file,
            path.string() + ": metadata 'names' must list one text per column");
    probe.names = names.get<std::vector<std::string>>();
  }
  probe.names = column_names(std::move(probe.names), probe.bias.size(0));
  return probe;
}

LinearProbe fit_linear_probe(const Tensor& latents, const Tensor& targets,
                             std::vector<std::string> names, double ridge) {
  const at::NoGradGuard no_grad;
  require(ridge >= 0 && std::isfinite(ridge), ErrorCategory::invalid_argument,
          "fit_linear_probe: ridge = " + std::to_string(ridge) + " must be >= 0");
  const auto z = rows_of("fit_linear_probe: latents", latents);
  const auto y = rows_of("fit_linear_probe: targets", targets);
  check_same_rows(z, y);
  require(z.size(0) >= 2, ErrorCategory::invalid_argument,
          "fit_linear_probe: " + std::to_string(z.size(0)) + " row(s), at least two are needed");

  LinearProbe probe;
  probe.names = column_names(std::move(names), y.size(1));
  const auto z_mean = z.mean(0), y_mean = y.mean(0);
  const auto z_centred = z - z_mean;
  const auto rows = static_cast<double>(z.size(0));
  auto covariance = z_centred.t().mm(z_centred) / rows;
  const auto cross = z_centred.t().mm(y - y_mean) / rows;
  const double mean_variance = covariance.diagonal().mean().item<double>();
  covariance.diagonal().add_(ridge * mean_variance);

  const auto [factor, info] = at::linalg_cholesky_ex(covariance);
  require(info.item<int>() == 0, ErrorCategory::invalid_argument,
          "fit_linear_probe: the latents do not vary independently (their covariance is singular); "
          "a ridge > 0 and latents that vary are expected");
  probe.weight = at::cholesky_solve(cross, factor);
  probe.bias = y_mean - at::matmul(z_mean, probe.weight);
  return probe;
}

ProbeReport evaluate_probe(const LinearProbe& probe, const Tensor& latents, const Tensor& targets) {
  const at::NoGradGuard no_grad;
  const auto z = rows_of("evaluate_probe: latents", latents);
  const auto y = rows_of("evaluate_probe: targets", targets);
  check_same_rows(z, y);
  require(probe.bias.defined() && y.size(1) == probe.bias.size(0), ErrorCategory::invalid_argument,
          "evaluate_probe: targets have " + std::to_string(y.size(1)) +
              " columns, which differs from the probe's");
  return evaluate_predictions(probe.predict(z), y, probe.names);
}

ProbeReport evaluate_predictions(const Tensor& predictions, const Tensor& wanted,
                                 std::vector<std::string> given_names) {
  const at::NoGradGuard no_grad;
  const auto predicted = rows_of("evaluate_predictions: predictions", predictions);
  const auto y = rows_of("evaluate_predictions: targets", wanted);
  require(predicted.sizes() == y.sizes(), ErrorCategory::invalid_argument,
          "evaluate_predictions: predictions " + shape_string(predictions.sizes()) +
              " of targets " + shape_string(wanted.sizes()));
  const auto squared_error = (predicted - y).square();

  ProbeReport report;
  report.rows = y.size(0);
  report.rmse = std::sqrt(squared_error.sum(1).mean().item<double>());
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto names = column_names(std::move(given_names), y.size(1));
  for (int64_t column = 0; column < y.size(1); ++column) {
    const auto target = y.select(1, column) - y.select(1, column).mean();
    const auto guess = predicted.select(1, column) - predicted.select(1, column).mean();
    const double target_power = target.square().mean().item<double>();
    const double guess_power = guess.square().mean().item<double>();
    const double error = squared_error.select(1, column).mean().item<double>();
    const double scale = std::sqrt(target_power * guess_power);
    ProbeScore score;
    score.name = names[static_cast<std::size_t>(column)];
    score.rmse = std::sqrt(error);
    score.r2 = target_power > 0 ? 1 - error / target_power : kNan;
    score.pearson_r = scale > 0 ? (target * guess).mean().item<double>() / scale : kNan;
    report.columns.push_back(std::move(score));
  }
  return report;
}

Tensor rows_of_episodes(const Tensor& row_episodes, const std::vector<int64_t>& episodes) {
  check_shape("rows_of_episodes: row_episodes", row_episodes, {kAny}, "[N]");
  const auto wanted = at::tensor(episodes, at::kLong);
  return at::isin(row_episodes.to(at::kCPU, at::kLong), wanted).nonzero().squeeze(1);
}

nlohmann::json to_json(const ProbeReport& report) {
  auto number = [](double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
  };
  auto columns = nlohmann::json::array();
  for (const auto& score : report.columns)
    columns.push_back({{"name", score.name},
                       {"pearson_r", number(score.pearson_r)},
                       {"r2", number(score.r2)},
                       {"rmse", score.rmse}});
  return {{"rows", report.rows}, {"rmse", report.rmse}, {"columns", columns}};
}

}  // namespace foresight::eval
