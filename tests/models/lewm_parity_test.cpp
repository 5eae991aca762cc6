// SPDX-License-Identifier: Apache-2.0
// Jepa against the reference implementation of LeWM and PLDM: preprocessing, rollouts, costs, keys.
#include <set>

#include "foresight/core/action_space.hpp"
#include "lewm_golden.hpp"

namespace foresight::lewm_parity_test {

namespace {

constexpr std::array kTypes{at::kFloat, at::kDouble};

void compare_if_there(Golden& golden, const std::string& key, const Tensor& actual) {
  const bool wide = actual.scalar_type() == at::kDouble;
  const auto full = (wide ? "outputs64/" : "outputs/") + key;
  if (golden.has(full)) golden.compare(full, actual);
}

std::vector<double> row(const Tensor& tensor) {
  const auto flat = tensor.to(at::kCPU, at::kDouble).flatten().contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

}  // namespace

TEST_CASE("picture preprocessing equals the reference for every size", "[parity][device]") {
  for_each_golden("lewm/lewm_preprocess_image", [](Golden& golden) {
    for (const auto& [name, size] : golden.config().at("target_size").items()) {
      models::ImageOptions options;
      options.size = size;
      options.mean = golden.config().at("mean").get<std::vector<double>>();
      options.std = golden.config().at("std").get<std::vector<double>>();
      const auto pixels = golden.input(name);
      for (const auto type : kTypes) {
        const auto images = models::preprocess_images(pixels.flatten(0, 1), options, type)
                                .unflatten(0, {pixels.size(0), pixels.size(1)});
        compare_if_there(golden, name, images);
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

namespace {

// What the fixture's statistics are, which the library computes from recordings
// (tests/train/lewm_parity_test.cpp) and a checkpoint brings along, and percentiles, which no code
// of ours computes: all are given to the action spaces that are compared.
const std::set<std::string> kGivenStatistics{"train_mean", "train_std",      "eval_mean",
                                             "eval_scale", "percentile_low", "percentile_high"};

std::string section_of(at::ScalarType type) {
  return type == at::kDouble ? "outputs64/" : "outputs/";
}

ActionSpace training_space(const Golden& golden, at::ScalarType type) {
  const auto mean = golden.output("train_mean", type), std = golden.output("train_std", type);
  ActionSpace space;
  space.dim = mean.size(-1);
  space.mean = row(mean);
  space.std = row(std.clamp_min(golden.config().at("zscore_eps").get<double>()));
  return space;
}

ActionSpace evaluation_space(const Golden& golden, at::ScalarType type) {
  ActionSpace space;
  space.mean = row(golden.output("eval_mean", type));
  space.std = row(golden.output("eval_scale", type));
  space.dim = static_cast<int64_t>(space.mean.size());
  return space;
}

// Single actions, where upstream keeps what is missing until the blocks are made: we never do.
void check_unblocked_actions(Golden& golden) {
  for (const auto type : kTypes) {
    const auto clip = golden.input("clip_raw").to(type);
    const auto known = clip.isnan().logical_not();
    const auto compare = [&](const std::string& key, const Tensor& actual, const Tensor& where) {
      const auto full = section_of(type) + key;
      if (golden.has(full)) golden.compare_where(full, actual, where);
    };
    compare("eval_clip_z", evaluation_space(golden, type).normalise(clip), known);
    auto space = training_space(golden, type);
    compare("clip_z", space.normalise(clip), known);
    space.block = golden.config().at("action_block");
    const auto shape = golden.output("clip_blocks_nan").sizes();
    compare("clip_blocks_nan", space.normalise(clip.reshape(shape)), known.reshape(shape));
  }
}

// Upstream offers a scaler by percentiles as well, which no recipe uses: an ActionSpace whose -1
// and 1 are two percentiles, and limits there.
void check_percentile_actions(Golden& golden) {
  for (const auto type : kTypes) {
    const auto compare = [&](const char* key, const Tensor& actual, const Tensor& where) {
      golden.compare_where(section_of(type) + key, actual, where);
    };
    const auto low = golden.output("percentile_low", type).to(at::kDouble),
               high = golden.output("percentile_high", type).to(at::kDouble);
    ActionSpace space;
    space.dim = low.size(-1);
    space.mean = row((low + high) / 2);
    space.std = row((high - low).clamp_min(1e-8) / 2);
    const auto clip = golden.input("clip_raw").to(type);
    const auto known = clip.isnan().logical_not();  // upstream keeps what is missing
    const auto scaled = space.normalise(clip).clamp(-1, 1);
    // A constant column is at its lower percentile upstream, in the middle of both here.
    compare("percentile_clip", scaled, known.logical_and(high > low));
    compare("percentile_inverse", space.denormalise(scaled).squeeze(-2), known);
  }
}

}  // namespace

TEST_CASE("action blocks equal the reference's, there and back", "[parity][device]") {
  for_each_golden("lewm/lewm_preprocess_action", [](Golden& golden) {
    for (const auto type : kTypes) {
      auto space = training_space(golden, type);
      space.block = golden.config().at("action_block");
      const auto clip = golden.input("clip_raw").to(type);
      compare_if_there(golden, "clip_blocks",
                       space.normalise(clip.reshape({clip.size(0), -1, space.width()})));
      const auto plan = golden.input("plan_blocks").to(type);
      const double smallest = golden.config().at("zscore_eps");
      golden.compare_within(
          section_of(type) + "plan_raw_train", space.denormalise(plan).flatten(1, 2),
          {10 * smallest, type == at::kDouble ? 1e-9 : 1e-5, 0},
          "the original inverts a constant column with deviation 0, we with the smallest one");
      auto evaluation = evaluation_space(golden, type);
      evaluation.block = space.block;
      golden.compare(section_of(type) + "plan_raw_eval",
                     evaluation.denormalise(plan).flatten(1, 2));
    }
    check_unblocked_actions(golden);
    check_percentile_actions(golden);
    for (const auto* section : {"outputs", "outputs64"})
      for (const auto& key : golden.uncompared(section)) {
        INFO(key);
        CHECK(kGivenStatistics.contains(key.substr(key.find('/') + 1)));
      }
  });
}

namespace {

enum class Inference { packed, bfloat16, fixed16 };

// One case of a rollout fixture as only inference computes it: with packed float32 weights, in
// bfloat16 or in fixed point: latents and costs. The projections count as a block.
void check_inferred_rollout(Golden& golden, const nlohmann::json& config, Inference precision) {
  const bool is_bfloat16 = precision == Inference::bfloat16;
  const std::string name = config.at("name");
  INFO("case " << name << ", precision " << static_cast<int>(precision));
  at::NoGradGuard no_grad;
  auto options = golden_jepa_options(golden.config());
  options.history = std::min(options.history, config.value("history_size", options.history));
  auto model = golden_jepa(golden, options);
  const auto type = is_bfloat16 ? at::kBFloat16 : at::kFloat;
  if (is_bfloat16)
    model->to(test_device(), type);
  else if (precision == Inference::fixed16)
    model = model->fixed_point_copy();
  else
    model->pack();
  PhiloxNoise noise(1);
  const auto input = [&](const std::string& key) {
    return golden.input(name + "_" + key).to(type);
  };
  const auto compare = [&](const std::string& key, const Tensor& actual, int64_t roundings) {
    if (is_bfloat16)
      golden.compare_bfloat16(name + key, actual, roundings);
    else if (precision == Inference::fixed16)
      golden.compare_fixed_point(name + key, actual, roundings);
    else
      golden.compare_packed(name + key, actual);
  };
  const auto of_frame = roundings_of_network(options.vit.depth);
  const auto of_step = roundings_of_network(options.adaln.depth);
  const auto context = model->encode_images(input("pixels"), nn::Mode::infer);
  if (golden.has("outputs/" + name + "_emb_context")) compare("_emb_context", context, of_frame);
  auto state = model->initial(context.size(0));
  for (int64_t t = 0; t < context.size(1); ++t)
    state =
        model->observe_latent(state, t == 0 ? Tensor() : input("action_history").select(1, t - 1),
                              context.narrow(1, t, 1));
  const auto candidates = input("candidates");
  const auto samples = candidates.size(1), horizon = candidates.size(2);
  const auto latents = model->rollout(state, candidates, noise).states.at("latent").squeeze(3);
  REQUIRE(latents.scalar_type() == type);
  const auto roundings = of_frame + horizon * of_step;
  compare("_predicted_emb",
          at::cat({context.unsqueeze(1).expand({-1, samples, -1, -1}), latents}, 2), roundings);
  if (!config.value("goal", false)) return;
  const auto goal = model->encode_images(input("goal"), nn::Mode::infer);
  compare("_goal_emb", goal, of_frame);
  const auto error = latents.select(2, -1) - goal.select(1, -1).unsqueeze(1);
  // A square errs by twice its root's share: four times the variance.
  compare("_cost_sum", error.square().sum(-1), 4 * roundings);
  if (golden.has("outputs/" + name + "_cost_mean"))
    compare("_cost_mean", error.square().mean(-1), 4 * roundings);
}

// One case of a rollout fixture, in one precision.
void check_rollout_case(Golden& golden, const nlohmann::json& config, at::ScalarType type) {
  const std::string name = config.at("name");
  INFO("case " << name);
  auto options = golden_jepa_options(golden.config());
  options.history = std::min(options.history, config.value("history_size", options.history));
  const auto model = golden_jepa(golden, options);
  model->to(test_device(), type);
  PhiloxNoise noise(1);
  const auto input = [&](const std::string& key) {
    return golden.input(name + "_" + key).to(type);
  };

  State state;
  Tensor context, embedded_history;
  {
    at::NoGradGuard no_grad;
    context = model->encode_images(input("pixels"), nn::Mode::infer);
    compare_if_there(golden, name + "_emb_context", context);
    state = model->initial(context.size(0));
    for (int64_t t = 0; t < context.size(1); ++t) {
      const auto last = t == 0 ? Tensor() : input("action_history").select(1, t - 1);
      state = model->observe_latent(state, last, context.narrow(1, t, 1));
    }
  }
  for (const bool fused : {true, false}) {
    const auto candidates = input("candidates").requires_grad_();
    const auto future = fused ? model->rollout(state, candidates, noise)
                              : model->looped_rollout(state, candidates, noise);
    const auto latents = future.states.at("latent").squeeze(3);
    const auto samples = candidates.size(1);
    compare_if_there(golden, name + "_predicted_emb",
                     at::cat({context.unsqueeze(1).expand({-1, samples, -1, -1}), latents}, 2));
    auto blocks = candidates;
    if (context.size(1) > 1)
      blocks = at::cat(
          {input("action_history").unsqueeze(1).expand({-1, samples, -1, -1}), candidates}, 2);
    compare_if_there(golden, name + "_act_emb", model->embed_actions(blocks));
    if (!config.value("goal", false)) continue;

    const auto goal = model->encode_images(input("goal"), nn::Mode::infer).detach();
    compare_if_there(golden, name + "_goal_emb", goal);
    const auto error = latents.select(2, -1) - goal.select(1, -1).unsqueeze(1);
    const auto sum = error.square().sum(-1), mean = error.square().mean(-1);
    const auto penalty = candidates.square().sum({2, 3});
    const auto weights = config.at("weights");
    compare_if_there(golden, name + "_cost_sum", sum);
    compare_if_there(golden, name + "_cost_mean", mean);
    compare_if_there(golden, name + "_control_penalty", penalty);
    compare_if_there(golden, name + "_weighted_sum",
                     weights[0].get<double>() * sum + weights[1].get<double>() * penalty);
    sum.sum().backward();
    compare_if_there(golden, name + "_cost_sum_action_grad", candidates.grad());
  }
}

void check_rollouts(Golden& golden) {
  for (const auto& config : golden.config().at("cases")) {
    for (const auto type : kTypes) check_rollout_case(golden, config, type);
    for (const auto precision : {Inference::packed, Inference::bfloat16, Inference::fixed16})
      if (on_cpu() || precision == Inference::bfloat16)  // packed weights are the CPU's
        check_inferred_rollout(golden, config, precision);
  }
  CHECK(golden.uncompared("outputs").empty());
  CHECK(golden.uncompared("outputs64").empty());
}

}  // namespace

TEST_CASE("fused and looped rollouts equal LeWM's for every history and window",
          "[parity][device]") {
  for_each_golden("lewm/lewm_rollout", check_rollouts);
}

TEST_CASE("fused and looped rollouts equal PLDM's", "[parity][device]") {
  for_each_golden("lewm/pldm_rollout", check_rollouts);
}

TEST_CASE("the full-size model has the published 303 tensors and parameter count") {
  const auto released = golden_json("lewm/lewm_released_keys.json");
  models::Jepa model(models::JepaOptions::lewm());
  const auto ours = nn::state_dict(model);
  CHECK(ours.size() == released.at("tensors"));
  CHECK(nn::parameter_count(model) == released.at("trainable_parameters"));
  const auto& keys = released.at("keys");
  REQUIRE(ours.size() == keys.size());
  for (const auto& [name, tensor] : ours) {
    INFO(name);
    REQUIRE(keys.contains(name));
    CHECK(keys.at(name).get<std::vector<int64_t>>() == tensor.sizes().vec());
    CHECK(tensor.scalar_type() == (name.ends_with("num_batches_tracked") ? at::kLong : at::kFloat));
  }
  auto cube = models::JepaOptions::lewm();
  cube.action.dim = 5;
  CHECK(nn::parameter_count(models::Jepa(cube)) == released.at("trainable_parameters_A25"));
}

TEST_CASE("checkpoint keys are recognised with a wrapper's prefix and in the newer layout") {
  const auto layouts = golden_json("lewm/lewm_key_layouts.json");
  for (const auto& [older, newer] : layouts.at("full_size_old_to_new").items()) {
    CHECK(models::lewm_key(newer.get<std::string>()) == older);
    CHECK(models::lewm_key("model." + newer.get<std::string>()) == older);
  }
  for (const std::string key : layouts.at("unchanged")) {
    CHECK(models::lewm_key(key) == key);
    CHECK(models::lewm_key("model." + key) == key);
  }
}

}  // namespace foresight::lewm_parity_test
