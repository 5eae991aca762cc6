// SPDX-License-Identifier: Apache-2.0
// Question: what does a plan with EB-JEPA cost, and how does that compare with the way upstream
// makes one? The published MPPI (200 candidates, 20 iterations, 90 steps) on the full-size Two
// Rooms model with random weights. In turns, on one device and as many threads each, from the same
// weights and draws: ours, which encodes the picture once, and the procedure of
// facebookresearch/eb_jepa, which encodes it for every candidate in every iteration. That procedure
// is restated in Python (peer_eb_jepa.py says how), or, for "-", with our own model, step by step.
//   benchmark_eb_jepa_plan [--device cpu|cuda] [<python>] [<threads>] [<rounds>] [<steps>]
//                          [<candidates>] [<iterations>]
// Encoding the picture is part of a solve; normalising it, encoding the goal and drawing the noise
// are not. Prints one JSON object.
#include <ATen/Parallel.h>

#include "../tests/temporary_folder.hpp"
#include "compared_search.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"
#include "foresight/models/graphed_model.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;

struct Settings {
  at::Device device = at::kCPU;
  int threads = 1, rounds = 3;
  int64_t horizon = 90, samples = 200, iterations = 20;
};

// A room of 65 pixels: walls, and a dot at (x, y).
Tensor room_picture(int64_t x, int64_t y) {
  auto picture = at::zeros({1, 2, 65, 65}, at::kByte);
  picture[0][0][y][x] = 255;
  picture[0][1].select(1, 32).fill_(255);
  picture[0][1].narrow(0, 14, 9).fill_(0);
  return picture;
}

struct Inputs {
  Tensor noise;        // [I,S,H,A]
  Tensor choice;       // [1,1], uniform
  Tensor image, goal;  // [1,C,S,S], normalised
};

class Planning {
 public:
  Planning(const std::shared_ptr<models::EbJepa>& model, Inputs inputs)
      : model_(*model),
        imagining_(model),
        inputs_(std::move(inputs)),
        options_(eb_jepa_mppi()),
        task_(1) {
    at::NoGradGuard no_grad;
    options_.iterations = inputs_.noise.size(0);
    options_.samples = inputs_.noise.size(1);
    options_.elites = std::min(options_.elites, options_.samples);
    options_.record = PlannerRecord::everything;
    task_.set(kGoal, model_.encode_images(inputs_.goal).unsqueeze(1));
    objective_.add("goal", 1.0, goal_distance({.steps = Steps::sum, .reduction = Reduction::mean}));
    // Upstream counts the observed state as well.
    objective_.add("start", 1.0, [](const Trajectory& trajectory, const Task& task) {
      const auto distance = (task.at("observed") - task.at(kGoal)).square().mean({1, 2});  // [B]
      return distance.unsqueeze(1).expand({-1, trajectory.actions.size(1)});
    });
  }

  Solve ours(int64_t iterations) const {
    PhiloxNoise none(0);
    return solve(iterations, [&] {
      const auto state = model_.observe_images(inputs_.image);
      return objective_.cost_function(imagining_, state, none, with_start(state));
    });
  }

  Solve plain(int64_t iterations) const {
    return solve(iterations, [&]() -> CostFunction {
      return [&](const Tensor& actions) {  // [1,S,H,A]
        const auto samples = actions.size(1);
        PhiloxNoise none(0);
        const auto images = inputs_.image.expand({samples, -1, -1, -1});
        State state(2);
        state.set("latent", model_.encode_images(images).view({1, samples, 1, -1}));
        state.set_filled(1);
        const auto task = with_start(state.select(at::zeros({1, 1}, at::kLong)));
        std::vector<State> states;
        for (int64_t h = 0; h < actions.size(2); ++h)
          states.push_back(state = model_.step(state, actions.select(2, h), none).next);
        Trajectory trajectory;
        trajectory.actions = actions;
        trajectory.states = State::stack(states);
        return objective_.evaluate(trajectory, task);
      };
    });
  }

  int64_t elites() const { return options_.elites; }

 private:
  Task with_start(const State& state) const {
    auto task = task_;
    const auto& latent = state.at("latent");
    return task.set("observed", latent.dim() == 4 ? latent.select(1, 0) : latent);
  }

  Solve solve(int64_t iterations, const std::function<CostFunction()>& cost) const {
    at::NoGradGuard no_grad;
    RecordedNoise draws;
    for (int64_t i = 0; i < iterations; ++i) draws.push(inputs_.noise[i].unsqueeze(0));
    draws.push(inputs_.choice);
    auto options = options_;
    options.iterations = iterations;
    const auto device = inputs_.noise.device();
    return timed_solve(
        [&] {
          Problem problem;
          problem.options = problem.options.device(device);
          problem.horizon = inputs_.noise.size(2);
          problem.action = model_.spec().action;
          problem.cost = cost();
          return SamplingPlanner(options).solve(problem, draws);
        },
        device);
  }

  const models::EbJepa& model_;
  const models::GraphedModel imagining_;  // the same, on a GPU by CUDA graphs
  Inputs inputs_;
  SamplingOptions options_;
  Objective objective_;
  Task task_;
};

void load(Peer& peer, const models::EbJepa& model, const Inputs& inputs, const Settings& settings,
          int64_t elites) {
  const TemporaryFolder folder;
  const auto weights = folder / "weights.safetensors", tensors = folder / "inputs.safetensors";
  io::write_safetensors(weights, models::eb_jepa_tensors(model));
  io::write_safetensors(tensors, {{"noise", inputs.noise},
                                  {"choice", inputs.choice},
                                  {"image", inputs.image.contiguous()},
                                  {"goal", inputs.goal.contiguous()}});
  const auto options = eb_jepa_mppi();
  peer.ask({{"do", "load"},
            {"weights", weights.string()},
            {"inputs", tensors.string()},
            {"elites", elites},
            {"temperature", options.temperature},
            {"std", options.initial_std[0]},
            {"device", settings.device.str()},
            {"threads", settings.threads}});
}

nlohmann::json measure(Peer* peer, const Settings& settings) {
  at::NoGradGuard no_grad;
  const auto shared = std::make_shared<models::EbJepa>(models::EbJepaOptions::two_rooms(), 1);
  auto& model = *shared;
  model.to(settings.device);
  PhiloxNoise noise(7);
  const auto drawn = noise.normal({settings.iterations, settings.samples, settings.horizon, 2});
  const auto choice = noise.uniform({1, 1});
  const Inputs inputs{drawn.to(settings.device), choice.to(settings.device),
                      model.preprocess(room_picture(12, 40)),
                      model.preprocess(room_picture(50, 20))};
  const Planning planning(shared, inputs);
  if (peer) load(*peer, model, inputs, settings, planning.elites());
  Solve ours, theirs;
  const auto of_ours = [&](int64_t iterations) { return (ours = planning.ours(iterations)).ms; };
  const auto of_theirs = [&](int64_t iterations) {
    theirs = peer ? answered_solve(peer->ask({{"do", "solve"}, {"iterations", iterations}}),
                                   settings.horizon)
                  : planning.plain(iterations);
    return theirs.ms;
  };
  of_ours(1), of_theirs(1);  // to warm up
  const auto times = in_turns({[&] { return of_ours(settings.iterations); },
                               [&] { return of_theirs(settings.iterations); }},
                              settings.rounds, /*warm_up=*/0);
  const auto steps = static_cast<double>(settings.horizon * settings.iterations);
  auto report =
      nlohmann::json{{"ours", solve_row(times[0], ours)},
                     {peer ? "upstream_procedure" : "plain", solve_row(times[1], theirs)}};
  report["times_faster"] = median(times[1]) / median(times[0]);
  report["times_faster_in_processor_time_of_last"] = theirs.processor_ms / ours.processor_ms;
  report["ms_per_imagined_step"] = median(times[0]) / steps;
  report["comparison"] = compare(ours, theirs, planning.elites());
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  return report_beside_peer("eb_jepa_plan", argc, argv, [](const PeerArguments& arguments) {
    const Settings settings{arguments.device(),       arguments.number(2, 1),
                            arguments.number(3, 3),   arguments.number(4, 90),
                            arguments.number(5, 200), arguments.number(6, 20)};
    at::set_num_threads(settings.threads);
    const auto peer = arguments.start("peer_eb_jepa.py");
    nlohmann::json report{{"threads", settings.threads},
                          {"horizon", settings.horizon},
                          {"samples", settings.samples},
                          {"iterations", settings.iterations}};
    if (peer) report["peer"] = peer->about;
    report.update(measure(peer.get(), settings));
    return report;
  });
}
