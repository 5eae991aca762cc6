// SPDX-License-Identifier: Apache-2.0
// Question: what do shared and kept keys save when V-JEPA 2-AC imagines? Times the rollout against
// the plain one, which computes the whole sequence of every candidate at every step, and reports by
// how much their results differ. Arguments: [width depth grid samples horizon threads]; the
// published network is 1024 24 16. Prints one JSON object.
#include <ATen/Parallel.h>

#include <cstdlib>
#include <iostream>
#include <vector>

#include "foresight/models/vjepa2_ac.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;

models::VJepa2AcOptions sized(int64_t width, int64_t depth, int64_t grid, int64_t history,
                              int64_t window) {
  models::VJepa2AcOptions options;
  options.encoder = nn::VideoVitOptions::tiny();  // it takes no part in a rollout
  options.encoder.width = width * 11 / 8 / 8 * 8;
  options.encoder.heads = 8;
  options.encoder.depth = 1;
  options.encoder.image_height = options.encoder.image_width = options.image.size =
      grid * options.encoder.patch;
  options.predictor.width = width;
  options.predictor.depth = depth;
  options.predictor.heads = width / 64;
  options.predictor.mlp_width = 4 * width;
  options.history = history;
  options.window = window;
  return options;
}

nlohmann::json measure(const models::VJepa2AcOptions& options, int64_t samples, int64_t horizon) {
  at::NoGradGuard no_grad;
  const models::VJepa2Ac model(options, 1);
  PhiloxNoise noise(2);
  auto state = model.initial(1);
  const auto& spec = model.spec();
  for (int64_t t = 0; t < options.history; ++t)
    state =
        model.observe_latent(state, t == 0 ? Tensor() : noise.normal({1, 7}) * 0.05,
                             nn::normalise_tokens(noise.normal({1, spec.tokens, spec.channels})),
                             noise.normal({1, 7}) * 0.1);
  const auto actions = noise.normal({1, samples, horizon, 7}) * 0.05;
  Tensor kept, plain;
  const auto keep = [&] { kept = model.rollout(state, actions, noise).states.at("latent"); };
  const auto repeat = [&] {
    plain = model.looped_rollout(state, actions, noise).states.at("latent");
  };
  constexpr int kRounds = 3, kWarmUp = 1;
  const auto times = benchmark::in_turns({[&] { return benchmark::milliseconds(keep); },
                                          [&] { return benchmark::milliseconds(repeat); }},
                                         kRounds, kWarmUp);
  return {{"history", options.history},
          {"horizon", horizon},
          {"samples", samples},
          {"kept_keys_ms", benchmark::summary(times[0])},
          {"plain_ms", benchmark::summary(times[1])},
          {"speedup", benchmark::median(times[1]) / benchmark::median(times[0])},
          {"largest_difference", (kept - plain).abs().max().item<double>()}};
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int index, int64_t otherwise) {
    return argc > index ? std::atoll(argv[index]) : otherwise;
  };
  const int64_t width = argument(1, 384), depth = argument(2, 6), grid = argument(3, 8);
  const int64_t samples = argument(4, 16), horizon = argument(5, 2);
  at::set_num_threads(static_cast<int>(argument(6, 1)));
  nlohmann::json report{{"benchmark", "vjepa2_rollout"},
                        {"machine", foresight::benchmark::machine()},
                        {"threads", at::get_num_threads()},
                        {"width", width},
                        {"depth", depth},
                        {"tokens", grid * grid}};
  for (const auto& [history, steps] :
       std::vector<std::pair<int64_t, int64_t>>{{1, horizon}, {1, 2 * horizon}, {4, horizon}})
    report["results"].push_back(
        measure(sized(width, depth, grid, history, history + steps), samples, steps));
  std::cout << report.dump(2) << "\n";
}
