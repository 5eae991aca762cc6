// SPDX-License-Identifier: Apache-2.0
// DinoWm against gaoyuezhou/dino_wm and against stable-worldmodel's PreJEPA: latents, losses,
// gradients, a training step, rollouts, goal costs.
#include <torch/optim/adamw.h>

#include "dino_wm_golden.hpp"
#include "golden_autocast.hpp"

namespace foresight::dino_wm_parity_test {

namespace {

constexpr std::array kTypes{at::kFloat, at::kDouble};

std::string section_of(at::ScalarType type) {
  return type == at::kDouble ? "outputs64/" : "outputs/";
}

void compare_if_there(Golden& golden, const std::string& key, const Tensor& actual) {
  const auto full = section_of(actual.scalar_type()) + key;
  if (golden.has(full)) golden.compare(full, actual);
}

// The model's state after observing features [B,n,P,D] and proprioception [B,n,N].
State observed(const models::DinoWm& model, const Tensor& features, const Tensor& proprio,
               const Tensor& blocks) {
  auto state = model.initial(features.size(0));
  for (int64_t t = 0; t < features.size(1); ++t)
    state = model.observe_features(state, t == 0 ? Tensor() : blocks.select(1, t - 1),
                                   features.select(1, t), proprio.select(1, t));
  return state;
}

// All frames [B,H,P',D'] of one candidate [B,H,A], by steps.
Tensor imagined_frames(const models::DinoWm& model, State state, const Tensor& blocks) {
  PhiloxNoise noise(1);
  std::vector<Tensor> frames;
  for (int64_t h = 0; h < blocks.size(1); ++h) {
    state = model.step(state, blocks.select(1, h), noise).next;
    frames.push_back(state.at("frame"));
  }
  return at::stack(frames, 1);
}

// Upstream's latents of n observed and k imagined frames: every frame but the last is joined with
// the action that leaves it, the last keeps what the predictor put into the action's place.
Tensor upstream_latents(const models::DinoWm& model, const Tensor& frames, const Tensor& blocks) {
  const auto count = blocks.size(1);
  const auto joined =
      model.predictor().join(frames.narrow(1, 0, count), model.embed_actions(blocks));
  const auto window = std::min(count, model.options().history);
  const auto last = whole_prediction(model, joined.narrow(1, count - window, window));
  return at::cat({joined, last.narrow(1, window - 1, 1)}, 1);
}

void compare_separated(Golden& golden, const models::DinoWm& model, const Tensor& frames,
                       const Tensor& blocks) {
  const auto parts = model.separate(frames);
  compare_if_there(golden, "separated_visual", parts.features);
  compare_if_there(golden, "separated_proprio", parts.proprio.squeeze(2));
  compare_if_there(golden, "separated_action",
                   model.embed_actions(blocks).narrow(-1, 0, model.options().action_width));
}

// One training step in bfloat16, and the update that follows from it.
void check_bfloat16_step(Golden& golden, const models::DinoWmOptions& options) {
  const auto model = golden_dino_wm(golden, options, at::kFloat);
  const auto actions = golden.input("actions");
  const auto features = golden_features(golden, golden.input("visual"));
  const auto n = roundings_of_step(roundings_of_network(options.predictor.depth));
  const auto loss = [&] {
    return model
        ->loss_of_features(features, golden.input("proprio"),
                           actions.narrow(1, 0, actions.size(1) - 1))
        .total();
  };
  if (!compare_autocast_step(golden, "loss", models::dino_wm_tensors(*model), loss, n)) return;
  const double rate = golden.config().at("predictor_lr");
  const auto& adamw = golden.config().at("adamw");
  for (const auto& [key, tensor] : models::dino_wm_tensors(*model)) {
    if (!key.starts_with("predictor.")) continue;
    // Where the gradient's sign is sure, AdamW's first step is the reference's.
    const auto sure = golden.sign_is_sure("grads/" + key, n.gradient);
    torch::optim::AdamW({tensor}, torch::optim::AdamWOptions(rate)
                                      .betas({adamw.at("betas")[0], adamw.at("betas")[1]})
                                      .eps(adamw.at("eps"))
                                      .weight_decay(adamw.at("weight_decay")))
        .step();
    const auto off = (tensor.detach() - golden.at("after_step/" + key)).abs().masked_select(sure);
    INFO(key);
    if (off.numel() > 0) CHECK(off.max().item<double>() < 0.02 * rate);
  }
}

}  // namespace

TEST_CASE("a DINO-WM training step has the reference's latents, losses, gradients and weights",
          "[parity][device]") {
  for_each_golden("dino_wm/train", [](Golden& golden) {
    const auto options = golden_dino_wm_options(golden.config().at("model"));
    check_bfloat16_step(golden, options);
    for (const auto type : kTypes) {
      const auto model = golden_dino_wm(golden, options, type);
      const auto input = [&](const char* key) { return golden.input(key).to(type); };
      const auto features = golden_features(golden, input("visual"));
      const auto proprio = input("proprio"), actions = input("actions");
      const auto frames = model->join(features, model->encode_proprio(proprio));
      const auto joined = model->predictor().join(frames, model->embed_actions(actions));
      compare_if_there(golden, "latent", joined);
      compare_if_there(golden, "prediction",
                       whole_prediction(*model, joined.narrow(1, 0, options.history)));
      compare_separated(golden, *model, frames, actions);
      const auto terms =
          model->loss_of_features(features, proprio, actions.narrow(1, 0, actions.size(1) - 1));
      compare_if_there(golden, "loss", terms.total());
      compare_if_there(golden, "z_loss", terms.at("prediction").value);
      compare_if_there(golden, "z_visual_loss", terms.at("visual").value);
      compare_if_there(golden, "z_proprio_loss", terms.at("proprio").value);
      if (type == at::kDouble) continue;

      terms.total().backward();
      const auto& config = golden.config();
      std::vector<Tensor> predictor, embeddings;
      for (const auto& [key, tensor] : models::dino_wm_tensors(*model)) {
        golden.compare("grads/" + key, tensor.grad());
        (key.starts_with("predictor.") ? predictor : embeddings).push_back(tensor);
      }
      const auto settings = [&](const char* lr) {
        const auto& adamw = config.at("adamw");
        return torch::optim::AdamWOptions(config.at(lr).get<double>())
            .betas({adamw.at("betas")[0], adamw.at("betas")[1]})
            .eps(adamw.at("eps"))
            .weight_decay(adamw.at("weight_decay"));
      };
      torch::optim::AdamW(predictor, settings("predictor_lr")).step();
      torch::optim::AdamW(embeddings, settings("action_encoder_lr")).step();
      // Adam turns a gradient of rounding size into a full step: such elements are not compared.
      for (const auto& [key, tensor] : models::dino_wm_tensors(*model))
        golden.compare_where("after_step/" + key, tensor, tensor.grad().abs().gt(1e-6));
      CHECK(golden.uncompared("grads").empty());
      for (const auto& key : golden.uncompared("after_step"))
        CHECK(key.starts_with("after_step/encoder.proj."));  // the stand-in backbone, frozen
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

namespace {

// A model's rollout in bfloat16. Frames after the first are two blocks' worth of roundings and more
// behind the one before.
void check_bfloat16_rollout(Golden& golden, const models::DinoWm& model, const std::string& visual,
                            const std::string& proprio, const Tensor& features,
                            const Tensor& positions, const Tensor& blocks,
                            const Tensor& candidates) {
  at::NoGradGuard no_grad;
  PhiloxNoise noise(1);
  const auto narrow = [](const Tensor& x) { return x.defined() ? x.to(at::kBFloat16) : x; };
  const auto state = observed(model, narrow(features), narrow(positions), narrow(blocks));
  const auto imagined = model.rollout(state, narrow(candidates), noise).states;
  const auto parts =
      model.separate(model.join(narrow(features), model.encode_proprio(narrow(positions))));
  const auto with_context = [&](const Tensor& context, const Tensor& future) {
    auto shape = context.unsqueeze(1).sizes().vec();
    shape[1] = future.size(1);
    auto whole = at::cat({context.unsqueeze(1).expand(shape), future}, 2);
    const auto key = golden.output(future.is_same(imagined.at("latent")) ? visual : proprio);
    return whole.reshape(key.sizes());
  };
  const auto roundings =
      candidates.size(2) * roundings_of_network(model.predictor().options().depth);
  golden.compare_bfloat16(visual, with_context(parts.features, imagined.at("latent")), roundings);
  golden.compare_bfloat16(proprio, with_context(parts.proprio, imagined.at("proprio")), roundings);
}

}  // namespace

TEST_CASE("fused and stepped rollouts equal DINO-WM's from one or several observations",
          "[parity][device]") {
  for_each_golden("dino_wm/rollout", [](Golden& golden) {
    at::NoGradGuard no_grad;
    PhiloxNoise noise(1);
    for (const auto type : kTypes) {
      const auto model =
          golden_dino_wm(golden, golden_dino_wm_options(golden.config().at("model")), type);
      for (const auto& run : golden.config().at("runs")) {
        const std::string name = run.at("name");
        const auto input = [&](const char* key) { return golden.input(name + "." + key).to(type); };
        const auto features = golden_features(golden, input("visual"));
        const auto proprio = input("proprio"), actions = input("actions");
        const auto seen = features.size(1);
        const auto state = observed(*model, features, proprio, actions);
        const auto future = actions.slice(1, seen - 1);
        const auto context = model->join(features, model->encode_proprio(proprio));
        const auto frames = at::cat({context, imagined_frames(*model, state, future)}, 1);
        compare_if_there(golden, name + ".latent", upstream_latents(*model, frames, actions));
        const auto parts = model->separate(context);
        const auto imagined = model->rollout(state, future.unsqueeze(1), noise).states;
        compare_if_there(golden, name + ".visual",
                         at::cat({parts.features, imagined.at("latent").squeeze(1)}, 1));
        compare_if_there(
            golden, name + ".proprio",
            at::cat({parts.proprio.squeeze(2), imagined.at("proprio").squeeze(1).squeeze(2)}, 1));
      }
    }
    const auto narrow =
        golden_dino_wm(golden, golden_dino_wm_options(golden.config().at("model")), at::kBFloat16);
    for (const auto& run : golden.config().at("runs")) {
      const std::string name = run.at("name");
      const auto features = golden_features(golden, golden.input(name + ".visual"));
      const auto actions = golden.input(name + ".actions");
      check_bfloat16_rollout(golden, *narrow, name + ".visual", name + ".proprio", features,
                             golden.input(name + ".proprio"), actions,
                             actions.slice(1, features.size(1) - 1).unsqueeze(1));
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

namespace {

// One history length of a PreJEPA rollout fixture, in one precision; the gradient not in bfloat16.
void check_prejepa_case(Golden& golden, const std::string& name, at::ScalarType type) {
  INFO("case " << name << " in " << c10::toString(type));
  const auto model =
      golden_dino_wm(golden, golden_prejepa_options(golden.config().at("model")), type);
  const auto key = [&](const char* rest) { return name + "_" + rest; };
  const auto input = [&](const char* rest) { return golden.input(key(rest)).to(type); };
  const auto features = input("features"), proprio = input("proprio");
  const auto seen = features.size(1);
  const auto history = seen > 1 ? input("action_history") : Tensor();
  const auto candidates = input("candidates").requires_grad_();
  const auto samples = candidates.size(1), horizon = candidates.size(2);
  PhiloxNoise noise(1);
  const auto state = observed(*model, features, proprio, history);
  const auto imagined = model->rollout(state, candidates, noise).states;
  const auto for_all = [&](const Tensor& x) {
    auto shape = x.unsqueeze(1).sizes().vec();
    shape[1] = samples;
    return x.unsqueeze(1).expand(shape);
  };

  // What is given, embeddings included, counts as what comes before a network's blocks.
  const auto of_given = roundings_of_network(0);
  const auto of_future =
      of_given + horizon * roundings_of_network(model->predictor().options().depth);
  const auto compare = [&](const char* rest, const Tensor& actual, int64_t roundings) {
    if (type != at::kBFloat16)
      compare_if_there(golden, key(rest), actual);
    else if (golden.has("outputs/" + key(rest)))
      golden.compare_bfloat16(key(rest), actual.to(type), roundings);
  };

  const auto context = model->join(features, model->encode_proprio(proprio));
  auto blocks = candidates;
  if (seen > 1) blocks = at::cat({for_all(history), candidates}, 2);
  std::vector<Tensor> latents;
  for (int64_t s = 0; s < samples; ++s) {
    const auto future = imagined_frames(*model, state, candidates.select(1, s));
    latents.push_back(upstream_latents(*model, at::cat({context, future}, 1), blocks.select(1, s)));
  }
  const auto emb = at::stack(latents, 1);
  const auto d = model->spec().channels, e = model->options().proprio.width;
  compare("predicted_emb", emb, of_future);
  compare("context_emb", emb.narrow(2, 0, seen), of_given);
  compare("predicted_action", emb.narrow(-1, d + e, model->options().action_width).select(3, 0),
          of_future);
  const auto pixels = at::cat({for_all(features), imagined.at("latent")}, 2);
  compare("predicted_pixels", pixels, of_future);
  const auto own = at::cat({for_all(model->separate(context).proprio), imagined.at("proprio")}, 2);
  compare("predicted_proprio", own.squeeze(3), of_future);

  const auto goal_features = input("goal_features");
  const auto goal_proprio = model->encode_proprio(input("goal_proprio"));
  compare("goal_emb", model->join(goal_features, goal_proprio), of_given);
  compare("goal_pixels", goal_features, of_given);
  compare("goal_proprio", goal_proprio, of_given);
  const auto wide = at::promote_types(type, at::kFloat);  // as goal_distance() compares
  const auto last = [&](const char* field) {
    return imagined.at(field).select(2, horizon - 1).to(wide);
  };
  const auto pixel_error = (last("latent") - goal_features.to(wide)).square().flatten(2);
  const auto proprio_error = (last("proprio").squeeze(2) - goal_proprio.to(wide)).square();
  const auto of_cost = roundings_of_squares(of_future);
  compare("cost_pixels", pixel_error.mean(-1), of_cost);
  compare("cost_pixels_sum", pixel_error.sum(-1), of_cost);
  compare("cost_proprio", proprio_error.mean(-1), of_cost);
  compare("cost_proprio_sum", proprio_error.sum(-1), of_cost);
  const auto cost = pixel_error.mean(-1) + proprio_error.mean(-1);
  compare("cost", cost, of_cost);
  if (type == at::kBFloat16) return;
  cost.sum().backward();
  compare_if_there(golden, key("cost_grad"), candidates.grad());
}

}  // namespace

TEST_CASE("rollouts, goal costs and action gradients equal PreJEPA's for every history",
          "[parity][device]") {
  for_each_golden("lewm/prejepa_rollout", [](Golden& golden) {
    for (const auto& config : golden.config().at("cases"))
      for (const auto type : kNetworkTypes) check_prejepa_case(golden, config.at("name"), type);
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("PreJEPA's tensors come back under its names, masks included", "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("the masks of a file are made on the CPU");
  for_each_golden("lewm/prejepa_rollout", [](Golden& golden) {
    const auto given = golden_params(golden);
    CHECK(models::dino_wm_layout(given) == models::DinoWmLayout::prejepa);
    const auto model = golden_dino_wm(golden, golden_prejepa_options(golden.config().at("model")));
    const auto back = models::dino_wm_tensors(*model, models::DinoWmLayout::prejepa);
    const std::map<std::string, Tensor> by_name(back.begin(), back.end());
    REQUIRE(by_name.size() == given.size());
    for (const auto& [name, tensor] : given) {
      INFO(name);
      REQUIRE(by_name.contains(name));
      CHECK(by_name.at(name).scalar_type() == tensor.scalar_type());
      CHECK(at::equal(by_name.at(name), tensor));
    }
    CHECK(models::dino_wm_layout(models::dino_wm_tensors(*model)) == models::DinoWmLayout::dino_wm);
  });
}

namespace {

// The model's tensors under PreJEPA's names of its gradients.
io::NamedTensors prejepa_tensors(const models::DinoWm& model) {
  auto tensors = models::dino_wm_tensors(model);
  for (auto& [key, tensor] : tensors)
    for (const std::string part : {"action", "proprio"})
      if (key.starts_with(part + "_encoder."))
        key = "extra_encoders." + part + key.substr(part.size() + 8);
  return tensors;
}

}  // namespace

TEST_CASE("PreJEPA's training loss and gradients are the same", "[parity][device]") {
  for_each_golden("lewm/prejepa_train", [](Golden& golden) {
    const auto options = golden_prejepa_options(golden.config().at("model"));
    const auto narrow = golden_dino_wm(golden, options);
    const auto loss = [&] {
      const auto action = golden.input("action").nan_to_num(0.0);
      return narrow
          ->loss_of_features(golden.input("features"), golden.input("proprio"),
                             action.narrow(1, 0, action.size(1) - 1))
          .total();
    };
    compare_autocast_step(golden, "loss", prejepa_tensors(*narrow), loss,
                          roundings_of_step(roundings_of_network(options.predictor.depth)));
    for (const auto type : kTypes) {
      const auto model = golden_dino_wm(golden, options, type);
      const auto input = [&](const char* key) { return golden.input(key).to(type); };
      const auto features = input("features"), proprio = input("proprio");
      const auto action = input("action").nan_to_num(0.0);  // the block of a reset step
      const auto frames = model->join(features, model->encode_proprio(proprio));
      compare_if_there(golden, "emb",
                       model->predictor().join(frames, model->embed_actions(action)));
      const auto terms =
          model->loss_of_features(features, proprio, action.narrow(1, 0, action.size(1) - 1));
      compare_if_there(golden, "loss", terms.total());
      compare_if_there(golden, "pixels_loss", terms.at("visual").value);
      compare_if_there(golden, "proprio_loss", terms.at("proprio").value);
      if (type == at::kDouble) continue;
      terms.total().backward();
      for (const auto& [key, tensor] : prejepa_tensors(*model))
        golden.compare("grads/" + key, tensor.grad());
      CHECK(golden.uncompared("grads").empty());
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

}  // namespace foresight::dino_wm_parity_test
