// SPDX-License-Identifier: Apache-2.0
// Question: how long does LeWM's planner take, and how does it compare with stable-worldmodel? A
// whole LeWM (18 million parameters, random weights), CEM as published: 300 candidates, 30 elites,
// 30 iterations, five blocks of five actions, one observed frame and one goal. Encoding both is
// part of a solve, preparing the pictures is not. In turns, on as many threads each: ours in
// float32 and in bfloat16, stable-worldmodel in float32; from the same weights and draws, so that
// the plans can be compared as well.
//   benchmark_lewm_cem [<python>] [<threads>] [<rounds>] [<candidates>] [<iterations>]
// <python> runs peer_stable_worldmodel.py beside this file's source; "-" leaves the peer out.
// Prints one JSON object.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "../tests/temporary_folder.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "measurement.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;

struct Settings {
  int threads = 1, rounds = 3;
  int64_t samples = 300, iterations = 30;
};
constexpr int64_t kHorizon = 5, kElites = 30;

// Every tensor random: with initial weights the gates of the predictor are zero, and all candidates
// would cost the same.
std::shared_ptr<models::Jepa> random_lewm() {
  auto model = std::make_shared<models::Jepa>(models::JepaOptions::lewm());
  model->eval();
  PhiloxNoise noise(1);
  at::NoGradGuard no_grad;
  for (auto& [name, tensor] : nn::state_dict(*model)) {
    if (!tensor.is_floating_point()) continue;
    const auto draw = noise.normal(tensor.sizes());
    const double fan_in =
        static_cast<double>(tensor.numel() / std::max<int64_t>(1, tensor.size(0)));
    if (name.ends_with("running_var"))
      tensor.copy_(0.5 + draw.abs());
    else if (name.ends_with("bias"))
      tensor.copy_(0.05 * draw);
    else if (name.ends_with("weight") && tensor.dim() == 1)
      tensor.copy_(1 + 0.1 * draw);
    else if (name.ends_with("weight"))
      tensor.copy_(draw / std::sqrt(fan_in));
    else
      tensor.copy_(0.2 * draw);
  }
  return model;
}

struct Inputs {
  Tensor noise;         // [I,1,S,H,A]
  Tensor pixels, goal;  // [1,1,3,224,224], normalised
};

Inputs random_inputs(const Settings& settings, int64_t width) {
  PhiloxNoise noise(2);
  return {noise.normal({settings.iterations, 1, settings.samples, kHorizon, width}),
          noise.normal({1, 1, 3, 224, 224}), noise.normal({1, 1, 3, 224, 224})};
}

struct Solve {
  double ms = 0, processor_ms = 0;  // the latter of all threads
  Tensor plan;                      // [H,A]
  Tensor costs;                     // [I,S]
  double elite_cost = 0;            // mean of the last iteration's elites
};

// A model in one precision, and what it is to plan.
class Planning {
 public:
  Planning(std::shared_ptr<models::Jepa> model, Inputs inputs, at::ScalarType type)
      : model_(std::move(model)), inputs_(std::move(inputs)), type_(type) {
    model_->to(type);
    options_ = lewm_cem();
    options_.samples = inputs_.noise.size(2);
    options_.iterations = inputs_.noise.size(0);
    options_.elites = std::min(kElites, options_.samples);
    options_.noise_sharing = NoiseSharing::per_problem;
    options_.record = PlannerRecord::everything;
    options_.evaluate_result = false;
  }

  Solve solve() const {
    at::NoGradGuard no_grad;
    RecordedNoise draws;
    for (const auto& draw : inputs_.noise.unbind(0)) draws.push(draw);
    Solve result;
    Plan plan;
    const auto processor = std::clock();
    result.ms =
        milliseconds([&] { plan = SamplingPlanner(options_).solve(problem(draws), draws); });
    result.processor_ms = 1e3 * static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC;
    if (plan.status != Status::ok) throw std::runtime_error(plan.message);
    result.plan = plan.actions[0].to(at::kFloat);
    std::vector<Tensor> costs;
    for (const auto& record : plan.diagnostics.iteration) costs.push_back(record.costs[0]);
    result.costs = at::stack(costs).to(at::kDouble);
    result.elite_cost = plan.diagnostics.survivor_cost[-1][0].item<double>();
    return result;
  }

  /// What a plan costs by this model.
  double cost_of(const Tensor& plan) const {
    at::NoGradGuard no_grad;
    PhiloxNoise noise(3);
    return problem(noise).cost(plan.unsqueeze(0).unsqueeze(0)).total.item<double>();
  }

  double encode_ms() const {
    at::NoGradGuard no_grad;
    return milliseconds([&] { model_->encode_images(inputs_.pixels.to(type_), nn::Mode::infer); });
  }

 private:
  Problem problem(Noise& noise) const {
    const auto latent = [&](const Tensor& picture) {
      return model_->encode_images(picture.to(type_), nn::Mode::infer);  // [1,1,D]
    };
    Objective objective;
    objective.add("goal", 1.0, goal_distance());
    Problem problem;
    problem.horizon = kHorizon;
    problem.action = model_->spec().action;
    problem.cost = objective.cost_function(
        *model_, model_->observe_latent(model_->initial(1), {}, latent(inputs_.pixels)), noise,
        Task(1).set("goal", latent(inputs_.goal)));
    return problem;
  }

  std::shared_ptr<models::Jepa> model_;
  Inputs inputs_;
  at::ScalarType type_;
  SamplingOptions options_;
};

Solve peer_solve(Peer& peer, const Settings& settings) {
  const auto answer = peer.ask({{"do", "solve"}, {"dtype", "float32"}});
  const auto tensor = [](const nlohmann::json& numbers) {
    return at::tensor(numbers.get<std::vector<double>>(), at::kDouble);
  };
  std::vector<Tensor> costs;
  for (const auto& iteration : answer.at("costs")) costs.push_back(tensor(iteration));
  return {answer.at("ms"), answer.at("processor_ms"),
          tensor(answer.at("plan")).to(at::kFloat).reshape({kHorizon, -1}),
          at::stack(costs).reshape({settings.iterations, settings.samples}),
          answer.at("elite_cost")};
}

// Where two searches part. Elites are a set: the first iteration in which the sets differ, how far
// the costs themselves lie apart there, and the gap between the last elite and the first candidate
// that is none. A gap below the difference is a tie that rounding decides.
nlohmann::json compare(const Solve& ours, const Solve& theirs, const Planning& judge) {
  nlohmann::json result{
      {"largest_difference_of_plans", (ours.plan - theirs.plan).abs().max().item<double>()},
      {"cost_of_our_plan", judge.cost_of(ours.plan)},
      {"cost_of_their_plan", judge.cost_of(theirs.plan)}};
  const auto elites = std::min(kElites, ours.costs.size(1));
  for (int64_t i = 0; i < ours.costs.size(0); ++i) {
    const auto a = ours.costs[i], b = theirs.costs[i];
    const auto set = [&](const Tensor& costs) {
      return std::get<0>(costs.argsort().slice(0, 0, elites).sort());
    };
    if (at::equal(set(a), set(b))) continue;
    const auto sorted = std::get<0>(b.sort());
    result["elites_differ_from_iteration"] = i;
    result["difference_of_costs_there"] = (a - b).abs().max().item<double>();
    if (elites < b.size(0))
      result["gap_behind_the_elites_there"] = (sorted[elites] - sorted[elites - 1]).item<double>();
    return result;
  }
  result["elites_differ_from_iteration"] = nullptr;
  return result;
}

nlohmann::json measure(Peer* peer, const Settings& settings) {
  const auto model = random_lewm();
  const auto inputs = random_inputs(settings, model->options().action.width());
  const TemporaryFolder folder;
  if (peer) {
    const auto weights = folder / "weights.safetensors", tensors = folder / "inputs.safetensors";
    io::write_safetensors(weights, nn::state_dict(*model));
    io::write_safetensors(tensors, {{"noise", inputs.noise.contiguous()},
                                    {"pixels", inputs.pixels.contiguous()},
                                    {"goal", inputs.goal.contiguous()}});
    peer->ask({{"do", "load"},
               {"weights", weights.string()},
               {"inputs", tensors.string()},
               {"elites", std::min(kElites, settings.samples)},
               {"threads", settings.threads}});
  }
  const Planning narrow(model->copy(), inputs, at::kBFloat16), wide(model, inputs, at::kFloat);
  Solve ours, ours_narrow, theirs;
  std::vector<std::function<double()>> works{[&] { return (ours = wide.solve()).ms; },
                                             [&] { return (ours_narrow = narrow.solve()).ms; }};
  if (peer) works.emplace_back([&] { return (theirs = peer_solve(*peer, settings)).ms; });
  const auto times = in_turns(works, settings.rounds, /*warm_up=*/1);
  const auto row = [](const std::vector<double>& ms, const Solve& solve) {
    auto result = summary(ms);
    result["elite_cost"] = solve.elite_cost;
    result["processor_ms_of_last"] = solve.processor_ms;
    return result;
  };
  nlohmann::json report{{"float32", row(times[0], ours)}, {"bfloat16", row(times[1], ours_narrow)}};
  report["float32"]["encode_ms"] = wide.encode_ms();
  report["bfloat16"]["encode_ms"] = narrow.encode_ms();
  report["bfloat16_and_float32"] = compare(ours_narrow, ours, wide);
  if (!peer) return report;
  report["stable_worldmodel"] = row(times[2], theirs);
  report["float32_times_faster"] = median(times[2]) / median(times[0]);
  report["bfloat16_times_faster"] = median(times[2]) / median(times[1]);
  report["float32_and_stable_worldmodel"] = compare(ours, theirs, wide);
  report["bfloat16_and_stable_worldmodel"] = compare(ours_narrow, theirs, wide);
  return report;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto number = [&](int index, int otherwise) {
    return argc > index ? std::stoi(argv[index]) : otherwise;
  };
  const std::string python = argc > 1 ? argv[1] : "python3";
  const Settings settings{number(2, 1), number(3, 3), number(4, 300), number(5, 30)};
  at::set_num_threads(settings.threads);
  std::unique_ptr<Peer> peer;
  if (python != "-") peer = std::make_unique<Peer>(python, "peer_stable_worldmodel.py");
  nlohmann::json report{{"benchmark", "lewm_cem"},
                        {"machine", machine()},
                        {"threads", settings.threads},
                        {"samples", settings.samples},
                        {"iterations", settings.iterations},
                        {"elites", kElites},
                        {"horizon", kHorizon}};
  if (peer) report["peer"] = peer->about;
  report.update(measure(peer.get(), settings));
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_lewm_cem: " << error.what() << "\n";
  return 1;
}
