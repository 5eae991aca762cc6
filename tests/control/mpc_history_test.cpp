// SPDX-License-Identifier: Apache-2.0
// What the model is shown of the past, whenever the loop replans.
#include "control/mpc_loop_parts.hpp"

namespace foresight::mpc_history_test {
namespace {

// Remembers the last three observations and the two blocks between them, as window models do.
class WindowModel final : public PointMass {
 public:
  explicit WindowModel(int64_t block) : PointMass(block) { mutable_spec().history = 3; }
  State initial(int64_t batch) const override {
    auto state = PointMass::initial(batch);
    state.set("frames", at::full({batch, 3}, -1.0));
    state.set("blocks", at::zeros({batch, 2, spec().action.width()}));
    return state;
  }
  State observe(const State& previous, const Tensor& block, const Observation& observation,
                Noise& noise) const override {
    auto state = PointMass::observe(previous, block, observation, noise);
    const auto newest = observation.at(kProprio).narrow(1, 0, 1);
    state.set("frames", at::cat({previous.at("frames").narrow(1, 1, 2), newest}, 1));
    auto blocks = previous.at("blocks");
    if (block.defined()) blocks = at::cat({blocks.narrow(1, 1, 1), block.unsqueeze(1)}, 1);
    state.set("blocks", blocks);
    seen.push_back(state);
    return state;
  }
  mutable std::vector<State> seen;
};

// What the model must have seen at raw step t: frames t, t-block, t-2*block and the actions
// between.
void check_window(const State& state, int64_t t, int64_t block,
                  const std::vector<Tensor>& actions) {
  const auto frames = state.at("frames")[0], blocks = state.at("blocks")[0];
  for (int64_t k = 0; k < 3; ++k) {
    const auto when = t - (2 - k) * block;
    CHECK(frames[k].item<double>() == (when >= 0 ? static_cast<double>(when) : -1.0));
  }
  for (int64_t k = 0; k < 2; ++k) {
    const auto from = t - (2 - k) * block;
    if (from < 0) continue;
    std::vector<Tensor> expected(actions.begin() + from, actions.begin() + from + block);
    CHECK(at::allclose(blocks[k], at::cat(expected, 1)[0]));
  }
}

TEST_CASE("histories advance in blocks on every phase that replanning meets") {
  constexpr int64_t kBlock = 3;
  for (const auto mode : {HistoryMode::incremental, HistoryMode::window})
    for (const int64_t replan : {1, 2, 3, 6}) {
      INFO("mode " << enum_name(mode) << ", replanning every " << replan);
      const auto model = std::make_shared<WindowModel>(kBlock);
      Mpc mpc(model, reach(), quick_planner(),
              {.horizon = 3, .replan_steps = replan, .history_mode = mode});
      mpc.set_goal(goal_at(0, 0));
      std::vector<Tensor> actions;
      for (int64_t t = 0; t < 20; ++t) {
        model->seen.clear();
        const auto decision =
            mpc.act(at_state(at::tensor({static_cast<float>(t), 0.F, 0.F, 0.F}).unsqueeze(0)));
        REQUIRE(decision.status == Status::ok);
        if (decision.replanned()) {
          REQUIRE_FALSE(model->seen.empty());
          check_window(model->seen.back(), t, kBlock, actions);
          CHECK(model->seen.back().filled() == std::min<int64_t>(3, 1 + t / kBlock));
        }
        actions.push_back(decision.action);
      }
    }
}

TEST_CASE("actions reported as executed are what the history holds") {
  const auto model = std::make_shared<WindowModel>(1);
  Mpc mpc(model, reach(), quick_planner(), {.horizon = 3, .replan_steps = 1});
  mpc.set_goal(goal_at(0, 0));
  mpc.act(at_state(at::zeros({1, 4})));
  mpc.act(at_state(at::zeros({1, 4})), at::full({1, 2}, 0.125));
  CHECK(model->seen.back().at("blocks")[0][1].eq(0.125).all().item<bool>());
}

}  // namespace
}  // namespace foresight::mpc_history_test
