// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/presets.hpp"

#include <array>
#include <cmath>
#include <utility>

#include "foresight/core/error.hpp"

namespace foresight {

SamplingOptions lewm_cem() {
  return {.samples = 300,
          .iterations = 30,
          .elites = 30,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .mean_candidate = MeanCandidate::every_iteration,
          .bound = BoundKind::none,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::unbiased,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions lewm_icem() {
  return {.samples = 300,
          .iterations = 30,
          .elites = 30,
          .proposal = ProposalKind::coloured,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .noise_exponent = 2.0,
          .noise_scale = NoiseScale::per_sequence,
          .mean_candidate = MeanCandidate::every_iteration,
          .kept_elites = 5,
          .bound = BoundKind::box,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::unbiased,
          .mean_momentum = {0.1},
          .std_momentum = {0.1},
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions lewm_mppi() {
  return {.samples = 300,
          .iterations = 30,
          .elites = 30,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .mean_candidate = MeanCandidate::every_iteration,
          .bound = BoundKind::none,
          .weights = WeightKind::softmax,
          .temperature = 0.5,
          .temperature_rule = TemperatureRule::divide,
          .std_update = StdUpdate::fixed,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions dino_wm_cem() {
  return {.samples = 300,
          .iterations = 30,
          .elites = 30,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .mean_candidate = MeanCandidate::every_iteration,
          .bound = BoundKind::none,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::unbiased,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions vjepa2_ac_cem(double maxnorm) {
  require(maxnorm > 0, ErrorCategory::invalid_option, "vjepa2_ac_cem: maxnorm must be positive");
  // Rotation (dimensions 3..5) is pinned by the problem; its std only has to be valid.
  return {.samples = 400,
          .iterations = 10,
          .elites = 10,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {maxnorm, maxnorm, maxnorm, 0.0, 0.0, 0.0, 1.0},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::box,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::unbiased,
          .mean_momentum = {0.15},
          .std_momentum = {0.15},
          .returned = Returned::mean,
          .dead_zone = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25},
          .tail = Tail::prior};
}

SamplingOptions eb_jepa_cem() {
  return {.samples = 200,
          .iterations = 20,
          .elites = 20,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.5},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::radial,
          .radius = 2.45,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::unbiased,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions eb_jepa_mppi() {
  return {.samples = 200,
          .iterations = 20,
          .elites = 20,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {2.0},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::none,
          .weights = WeightKind::softmax,
          .temperature = 0.005,
          .temperature_rule = TemperatureRule::multiply,
          .std_update = StdUpdate::population,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::sampled_survivor,
          .survivor_draw = SurvivorDraw::inverse_cdf,
          .tail = Tail::prior};
}

SamplingOptions pldm() {
  return {.samples = 2000,
          .iterations = 1,
          .elites = 0,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {std::sqrt(12.0)},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::radial,
          .radius = 2.45,
          .weights = WeightKind::softmax,
          .temperature = 0.005,
          .temperature_rule = TemperatureRule::divide,
          .std_update = StdUpdate::fixed,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .control_cost = 0.005,
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions tdmpc2(int64_t action_dim) {
  return {.samples = 512,
          .iterations = action_dim >= 20 ? 8 : 6,
          .elites = 64,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {2.0},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::box,
          .weights = WeightKind::softmax,
          .temperature = 0.5,
          .temperature_rule = TemperatureRule::multiply,
          .std_update = StdUpdate::population,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .min_std = 0.05,
          .max_std = 2.0,
          .returned = Returned::sampled_survivor,
          .survivor_draw = SurvivorDraw::gumbel,
          .tail = Tail::prior};
}

SamplingOptions planet_cem() {
  return {.samples = 1000,
          .iterations = 10,
          .elites = 100,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::box,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::population,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions icem() {
  return {.samples = 300,
          .iterations = 10,
          .elites = 30,
          .sample_decay = 1.25,
          .proposal = ProposalKind::coloured,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .noise_exponent = 2.0,
          .noise_scale = NoiseScale::analytic,
          .mean_candidate = MeanCandidate::last_iteration,
          .kept_elites = 9,
          .carried_elites = 9,
          .bound = BoundKind::box,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::population,
          .mean_momentum = {0.1},
          .std_momentum = {0.1},
          .returned = Returned::best_ever,
          .tail = Tail::repeat_last};
}

SamplingOptions mppi() {
  return {.samples = 300,
          .iterations = 1,
          .elites = 0,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .mean_candidate = MeanCandidate::never,
          .bound = BoundKind::box,
          .weights = WeightKind::softmax,
          .temperature = 1.0,
          .temperature_rule = TemperatureRule::divide,
          .std_update = StdUpdate::fixed,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .control_cost = 1.0,
          .returned = Returned::mean,
          .tail = Tail::prior};
}

SamplingOptions pytorch_mppi() {
  auto options = mppi();
  options.samples = 100;
  return options;
}

SamplingOptions smppi() {
  auto options = mppi();
  options.proposal = ProposalKind::action_rates;
  options.rate_step = 1.0;
  options.tail = Tail::repeat_last;
  return options;
}

SamplingOptions kmppi() {
  auto options = mppi();
  options.proposal = ProposalKind::knots;
  options.knots = 0;
  options.knot_kernel = KnotKernel::rbf;
  options.kernel_width = 1.0;
  return options;
}

SamplingOptions predictive_sampling() {
  return {.samples = 300,
          .iterations = 1,
          .elites = 1,
          .proposal = ProposalKind::gaussian,
          .initial_mean = {0.0},
          .initial_std = {1.0},
          .mean_candidate = MeanCandidate::every_iteration,
          .bound = BoundKind::box,
          .weights = WeightKind::uniform,
          .std_update = StdUpdate::fixed,
          .mean_momentum = {0.0},
          .std_momentum = {0.0},
          .returned = Returned::best_last,
          .tail = Tail::repeat_last};
}

SamplingOptions categorical_cem() {
  return {.samples = 300,
          .iterations = 30,
          .elites = 30,
          .proposal = ProposalKind::categorical,
          .mean_candidate = MeanCandidate::every_iteration,
          .bound = BoundKind::none,
          .weights = WeightKind::uniform,
          .mean_momentum = {0.0},
          .smoothing = 0.01,
          .returned = Returned::mean};
}

namespace {

constexpr std::array<std::pair<std::string_view, SamplingOptions (*)()>, 20> kPresets{
    {{"lewm", lewm_cem},
     {"lewm_cem", lewm_cem},
     {"lewm_icem", lewm_icem},
     {"lewm_mppi", lewm_mppi},
     {"dino_wm", dino_wm_cem},
     {"dino_wm_cem", dino_wm_cem},
     {"vjepa2_ac", [] { return vjepa2_ac_cem(); }},
     {"vjepa2_ac_cem", [] { return vjepa2_ac_cem(); }},
     {"eb_jepa_cem", eb_jepa_cem},
     {"eb_jepa_mppi", eb_jepa_mppi},
     {"pldm", pldm},
     {"tdmpc2", [] { return tdmpc2(); }},
     {"planet_cem", planet_cem},
     {"icem", icem},
     {"mppi", mppi},
     {"pytorch_mppi", pytorch_mppi},
     {"smppi", smppi},
     {"kmppi", kmppi},
     {"predictive_sampling", predictive_sampling},
     {"categorical_cem", categorical_cem}}};

}  // namespace

std::vector<std::string> sampling_preset_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : kPresets) names.emplace_back(name);
  return names;
}

SamplingOptions sampling_preset(std::string_view name) {
  for (const auto& [known, make] : kPresets)
    if (known == name) return make();
  const auto suggestion = nearest_name(name, sampling_preset_names());
  throw Error(ErrorCategory::not_found,
              "no planner preset '" + std::string(name) + "'" +
                  (suggestion.empty() ? std::string() : ", did you mean '" + suggestion + "'?"));
}

}  // namespace foresight
