// SPDX-License-Identifier: Apache-2.0
// Question: how long does LeWM's planner take, and how does it compare with stable-worldmodel? A
// whole LeWM (18 million parameters, random weights), CEM as published: 300 candidates, 30 elites,
// 30 iterations, five blocks of five actions, one observed frame and one goal. Encoding both is
// part of a solve, preparing the pictures is not. In turns, on one device and as many threads each:
// ours in float32, in bfloat16, in bfloat16 with candidates in doubt again in float32 and, on the
// CPU, in fixed point of 16 bits, on a GPU also kernel by kernel instead of as CUDA graphs,
// stable-worldmodel in float32 and in bfloat16; from the same weights and draws, so that the plans can be compared
// as well. Then the two parts of a solve, in turns as well: encoding one picture, and imagining all
// candidates once.
//   benchmark_lewm_cem [--device cpu|cuda] [<python>] [<threads>] [<rounds>] [<candidates>]
//                      [<iterations>]
// <python> runs peer_stable_worldmodel.py beside this file's source; "-" leaves the peer out.
// Prints one JSON object.
#include <ATen/Parallel.h>

#include <algorithm>

#include "../tests/temporary_folder.hpp"
#include "compared_search.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/graphed_model.hpp"
#include "foresight/nn/packing_pays.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "peer.hpp"
#include "random_lewm.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;

struct Settings {
  at::Device device = at::kCPU;
  int threads = 1, rounds = 3;
  int64_t samples = 300, iterations = 30;
};
constexpr int64_t kHorizon = 5, kElites = 30;

struct Inputs {
  Tensor noise;         // [I,1,S,H,A]
  Tensor pixels, goal;  // [1,1,3,224,224], normalised
};

Inputs random_inputs(const Settings& settings, int64_t width) {
  PhiloxNoise noise(2);
  return {noise.normal({settings.iterations, 1, settings.samples, kHorizon, width}),
          noise.normal({1, 1, 3, 224, 224}), noise.normal({1, 1, 3, 224, 224})};
}

enum class Graphs { no, yes };

// A model in one precision, and what it is to plan.
class Planning {
 public:
  Planning(std::shared_ptr<models::Jepa> model, const Inputs& inputs, Graphs graphs = Graphs::no,
           std::shared_ptr<const WorldModel> quick = nullptr)
      : model_(std::move(model)),
        imagining_(graphs == Graphs::yes ? std::make_shared<models::GraphedModel>(model_)
                                         : std::shared_ptr<const WorldModel>(model_)),
        quick_(std::move(quick)),
        device_(model_->parameters().front().device()),
        type_(model_->parameters().front().scalar_type()),
        inputs_{inputs.noise.to(device_), inputs.pixels.to(device_), inputs.goal.to(device_)} {
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
    return timed_solve([&] { return SamplingPlanner(options_).solve(problem(draws), draws); },
                       device_);
  }

  /// What a plan costs by this model.
  double cost_of(const Tensor& plan) const {
    at::NoGradGuard no_grad;
    PhiloxNoise noise(3);
    return problem(noise).cost(plan.to(device_).unsqueeze(0).unsqueeze(0)).total.item<double>();
  }

  /// One picture to its latent.
  double encode_ms() const {
    at::NoGradGuard no_grad;
    return milliseconds([&] { latent(inputs_.pixels); }, device_);
  }

  /// The first iteration's candidates from a latent that is known.
  double rollout_ms() const {
    at::NoGradGuard no_grad;
    PhiloxNoise noise(3);
    const auto state = observed();
    const auto candidates = inputs_.noise[0].to(type_);
    return milliseconds([&] { imagining_->rollout(state, candidates, noise); }, device_);
  }

  std::shared_ptr<const WorldModel> imagining() const { return imagining_; }

 private:
  Tensor latent(const Tensor& picture) const {
    return model_->encode_images(picture.to(type_), nn::Mode::infer);  // [1,1,D]
  }
  State observed() const {
    return model_->observe_latent(model_->initial(1), {}, latent(inputs_.pixels));
  }
  Problem problem(Noise& noise) const {
    Objective objective;
    objective.add("goal", 1.0, goal_distance());
    if (quick_) objective.set_quick_model(quick_, at::kBFloat16, recheck_for(options_));
    Problem problem;
    problem.options = problem.options.device(device_);
    problem.horizon = kHorizon;
    problem.action = model_->spec().action;
    problem.cost = objective.cost_function(*imagining_, observed(), noise,
                                           Task(1).set("goal", latent(inputs_.goal)));
    return problem;
  }

  std::shared_ptr<models::Jepa> model_;
  std::shared_ptr<const WorldModel> imagining_, quick_;
  at::Device device_;
  at::ScalarType type_;
  Inputs inputs_;
  SamplingOptions options_;
};

// The same plan judged by one model, beside where the searches part.
nlohmann::json compared(const Solve& ours, const Solve& theirs, const Planning& judge) {
  auto result = compare(ours, theirs, kElites);
  result["cost_of_our_plan"] = judge.cost_of(ours.plan);
  result["cost_of_their_plan"] = judge.cost_of(theirs.plan);
  return result;
}

// Ours in one precision; float32 comes first.
struct Precision {
  std::string name;
  Planning planning;
};

// A part of a plan in turns: ours in all precisions, the peer's in float32.
nlohmann::json part(const std::vector<Precision>& ours, Peer* peer, double (Planning::*ms)() const,
                    const std::string& name) {
  std::vector<std::function<double()>> works;
  for (const auto& precision : ours)
    works.emplace_back([&precision, ms] { return (precision.planning.*ms)(); });
  if (peer)
    works.emplace_back([&]() -> double {
      return peer->ask({{"do", name}, {"dtype", "float32"}}).at("ms");
    });
  constexpr int kPartRounds = 7;
  const auto times = in_turns(works, kPartRounds, /*warm_up=*/1);
  nlohmann::json report;
  for (std::size_t i = 0; i < ours.size(); ++i) report[ours[i].name] = summary(times[i]);
  if (!peer) return report;
  report["stable_worldmodel"] = summary(times.back());
  for (std::size_t i = 0; i < ours.size(); ++i)
    report[ours[i].name + "_times_faster"] = median(times.back()) / median(times[i]);
  return report;
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
               {"device", settings.device.str()},
               {"threads", settings.threads}});
  }
  const bool on_cpu = settings.device.is_cpu();
  if (!on_cpu)
    model->to(settings.device);
  else if (nn::packing_pays(at::kFloat))
    model->pack();
  const auto narrow = model->copy();
  narrow->to(at::kBFloat16);
  if (on_cpu && nn::packing_pays(at::kBFloat16)) narrow->pack();
  const auto graphs = on_cpu ? Graphs::no : Graphs::yes;
  std::vector<Precision> ours{{"float32", {model, inputs, graphs}},
                              {"bfloat16", {narrow, inputs, graphs}}};
  ours.push_back({"bfloat16_rechecked", {model, inputs, graphs, ours.back().planning.imagining()}});
  if (on_cpu) {
    ours.push_back({"fixed16", {model->fixed_point_copy(), inputs}});
  } else {
    ours.push_back({"float32_without_graphs", {model, inputs}});
    ours.push_back({"bfloat16_without_graphs", {narrow, inputs}});
  }
  const auto& judge = ours.front().planning;
  std::vector<Solve> found(ours.size());
  Solve theirs, theirs_in_bfloat16;
  std::vector<std::function<double()>> works;
  for (std::size_t i = 0; i < ours.size(); ++i)
    works.emplace_back([&, i] { return (found[i] = ours[i].planning.solve()).ms; });
  const auto of_peer = [&](const std::string& type, Solve& solve) {
    solve = answered_solve(peer->ask({{"do", "solve"}, {"dtype", type}}), kHorizon);
    return solve.ms;
  };
  if (peer) {
    works.emplace_back([&] { return of_peer("bfloat16", theirs_in_bfloat16); });
    works.emplace_back([&] { return of_peer("float32", theirs); });
  }
  const auto times = in_turns(works, settings.rounds, /*warm_up=*/1);
  nlohmann::json report;
  for (std::size_t i = 0; i < ours.size(); ++i)
    report[ours[i].name] = solve_row(times[i], found[i]);
  report["encode"] = part(ours, peer, &Planning::encode_ms, "encode");
  report["rollout"] = part(ours, peer, &Planning::rollout_ms, "rollout");
  for (std::size_t i = 1; i < ours.size(); ++i) {
    report[ours[i].name + "_and_float32"] = compared(found[i], found[0], judge);
    report[ours[i].name + "_times_faster_than_float32"] = median(times[0]) / median(times[i]);
  }
  if (!peer) return report;
  report["stable_worldmodel"] = solve_row(times.back(), theirs);
  const auto& in_bfloat16 = times[ours.size()];
  report["stable_worldmodel_bfloat16"] = solve_row(in_bfloat16, theirs_in_bfloat16);
  report["stable_worldmodel_bfloat16_and_float32"] = compared(theirs_in_bfloat16, theirs, judge);
  report["bfloat16_times_faster_in_same_precision"] = median(in_bfloat16) / median(times[1]);
  for (std::size_t i = 0; i < ours.size(); ++i) {
    report[ours[i].name + "_times_faster"] = median(times.back()) / median(times[i]);
    report[ours[i].name + "_and_stable_worldmodel"] = compared(found[i], theirs, judge);
  }
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  return report_beside_peer("lewm_cem", argc, argv, [](const PeerArguments& arguments) {
    const Settings settings{arguments.device(), arguments.number(2, 1), arguments.number(3, 3),
                            arguments.number(4, 300), arguments.number(5, 30)};
    at::set_num_threads(settings.threads);
    const auto peer = arguments.start("peer_stable_worldmodel.py");
    nlohmann::json report{{"threads", settings.threads},
                          {"samples", settings.samples},
                          {"iterations", settings.iterations},
                          {"elites", kElites},
                          {"horizon", kHorizon}};
    if (peer) report["peer"] = peer->about;
    report.update(measure(peer.get(), settings));
    return report;
  });
}
