// SPDX-License-Identifier: Apache-2.0
// One planned episode for the report: what the planner imagined at each decision, drawn into the
// picture.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "foresight/core/options_json.hpp"
#include "foresight/eval/planning_protocol.hpp"
#include "foresight/viz/episode_film.hpp"
#include "planning_success.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

constexpr int64_t kGoalOffset = 50, kBudget = 100, kProblems = 40;
constexpr int64_t kDrawnCandidates = 40, kFrames = 4;

// Positions in the picture: probed states of imagined latents, scaled from the simulator's pixels
// to the frame's.
class PositionInPicture {
 public:
  PositionInPicture(const eval::LinearProbe& probe, double scale) : probe_(probe), scale_(scale) {}
  Tensor of_latents(const Tensor& latents) const { return of_states(probe_.predict(latents)); }
  /// Pixel centres: coordinate x of the large picture lies at (x + 1/2) scale - 1/2 of the small
  /// one.
  Tensor of_states(const Tensor& states) const {
    return (states.narrow(-1, 0, 2).to(at::kDouble) + 0.5) * scale_ - 0.5;
  }

 private:
  const eval::LinearProbe& probe_;
  double scale_;
};

// The recorded problem whose straight way is longest compared with the others: it crosses rooms if
// any does.
eval::PlanningInstance far_problem(const data::Dataset& dataset,
                                   const std::map<int64_t, std::string>& unreadable) {
  for (const auto offset : {kGoalOffset, kGoalOffset / 2, kGoalOffset / 10}) {
    try {
      const auto protocol = eval::sample_planning_protocol(
          states_of_readable(dataset, unreadable),
          {.goal_offset = offset, .budget = kBudget, .count = kProblems, .seed = 7});
      const auto distance = [](const eval::PlanningInstance& p) {
        return std::hypot(p.goal_state[0] - p.start_state[0], p.goal_state[1] - p.start_state[1]);
      };
      return *std::max_element(
          protocol.instances.begin(), protocol.instances.end(),
          [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
    } catch (const Error&) {
      continue;  // too few rows so far apart: nearer goals
    }
  }
  throw Error(ErrorCategory::invalid_argument,
              "the recordings are too short for a planning problem");
}

}  // namespace

void add_planned_episode(viz::RunReport& report, const Agent& given, const eval::LinearProbe& probe,
                         std::shared_ptr<const data::FrameCache> frames,
                         const std::map<int64_t, std::string>& unreadable, envs::Env& env,
                         const std::filesystem::path& film_path) {
  const auto& dataset = *frames->dataset();
  const auto size = dataset.image_size().width;
  const PositionInPicture position(
      probe, static_cast<double>(size) / static_cast<double>(env.spec().native_size));

  auto agent = given;
  agent.options.control.batch = 1;
  agent.options.sampling.record = PlannerRecord::everything;
  const auto weights = write_options(agent.options.objective);  // by the terms' names
  auto mpc = agent.controller();
  const auto problem = far_problem(dataset, unreadable);
  const auto state = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(env.spec().state_dtype);
  };
  env.reset_to(state(problem.start_state), state(problem.goal_state));
  const auto goal_frame = frames->frames(problem.episode, {problem.goal_step});
  mpc.set_goal({kPixels, goal_frame});

  std::vector<Tensor> pictures, path{env.state()}, plans;
  Tensor plan_path;
  PhiloxNoise noise(0);
  bool reached = false;
  for (int64_t t = 0; t < kBudget && !reached; ++t) {
    const auto picture =
        t == 0 ? frames->frames(problem.episode, {problem.start_step})[0] : env.render(size);
    const auto decision = mpc.act({kPixels, picture.unsqueeze(0)});
    if (decision.replanned()) {
      const auto& plan = decision.solved.front().plan;
      const auto start = agent.model().observe(agent.model().initial(1), {},
                                               {kPixels, picture.unsqueeze(0)}, noise);
      const auto imagine = [&](const Tensor& actions) {  // [N,H,A] -> [N,H,2]
        const auto future = agent.model().rollout(start, actions.unsqueeze(0), noise);
        return position.of_latents(token_mean(future.states.at("latent")).squeeze(0));
      };
      plan_path = imagine(plan.actions)[0];
      if (static_cast<int64_t>(report.frames.size()) < kFrames &&
          !plan.diagnostics.iteration.empty()) {
        const auto& first = plan.diagnostics.iteration.front();
        const auto& last = plan.diagnostics.iteration.back();
        const auto candidates = first.candidates[0];
        viz::PlannedFrame drawn{
            .caption =
                fmt::format("step {}: candidates of the first iteration, elites of the last, "
                            "the chosen plan",
                            t),
            .image = picture,
            .executed = position.of_states(at::stack(path)),
            .candidates =
                imagine(candidates.narrow(0, 0, std::min(kDrawnCandidates, candidates.size(0)))),
            .chosen = plan_path,
            .goal = position.of_states(env.goal())};
        if (last.survivors.defined())
          drawn.elites = imagine(last.candidates[0].index_select(0, last.survivors[0]));
        report.frames.push_back(std::move(drawn));
      }
      if (report.costs.empty())
        for (const auto& [name, value] : plan.terms)
          report.costs.push_back(
              {.term = name, .weight = weights.value(name, 1.0), .value = value[0].item<double>()});
    }
    pictures.push_back(picture);
    plans.push_back(plan_path.defined()
                        ? plan_path
                        : at::full({agent.options.control.horizon, 2}, NAN, at::kDouble));
    reached = env.step(decision.action[0]).terminated;
    path.push_back(env.state());
  }
  const auto steps = static_cast<int64_t>(pictures.size());
  report.headline.push_back(
      {film_path.empty() ? "planned episode: steps to the goal" : "film: steps to the goal",
       reached ? std::to_string(steps) : "not reached"});
  if (film_path.empty()) return;
  viz::write_episode_film(
      {.frames = at::stack(pictures),
       .goal = goal_frame[0],
       .positions = position.of_states(at::stack(path)).narrow(0, 0, steps),
       .plans = at::stack(plans),
       .fps = dataset.fps() > 0 ? dataset.fps() : 10},  // not every recording tells
      film_path);
}

}  // namespace foresight::cli
