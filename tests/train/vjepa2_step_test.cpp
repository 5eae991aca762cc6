// SPDX-License-Identifier: Apache-2.0
// Whole training steps of V-JEPA 2 and V-JEPA 2-AC against the reference: schedules, loss,
// gradients, AdamW, moving average.
#include "foresight/models/vjepa2_pretraining.hpp"
#include "foresight/nn/ema.hpp"
#include "foresight/train/adamw.hpp"
#include "foresight/train/schedule.hpp"
#include "golden_autocast.hpp"
#include "vjepa2_golden.hpp"

namespace foresight::train::vjepa2_step_test {

namespace {

constexpr double kNoise = 1e-6;  // gradients below it are rounding, which Adam blows up to a step

train::AdamWOptions adamw_options(const nlohmann::json& optim) {
  train::AdamWOptions options;
  options.lr = optim.at("lr");
  options.weight_decay = optim.at("weight_decay");
  options.beta1 = optim.at("betas")[0];
  options.beta2 = optim.at("betas")[1];
  options.epsilon = optim.at("eps");
  options.decay = train::Decay::matrices;
  options.clip = 0;
  return options;
}

/// Factors on rate and decay at a step, counted from 1.
struct Factors {
  double rate = 1, decay = 1;
};

Factors pretraining_factors(const nlohmann::json& optim, int64_t step) {
  const double ipe = optim.at("ipe");
  train::ScheduleOptions rate{.kind = train::ScheduleKind::cosine};
  rate.warmup = static_cast<int64_t>(optim.at("warmup").get<double>() * ipe);
  rate.warmup_start = optim.at("start_lr").get<double>() / optim.at("lr").get<double>();
  rate.final_factor = optim.at("final_lr").get<double>() / optim.at("lr").get<double>();
  train::ScheduleOptions decay{.kind = train::ScheduleKind::cosine, .warmup = 0};
  decay.final_factor =
      optim.at("final_weight_decay").get<double>() / optim.at("weight_decay").get<double>();
  const auto steps = static_cast<int64_t>(optim.at("ipe_scale").get<double>() *
                                          optim.at("epochs").get<double>() * ipe);
  return {train::learning_rate_factor(rate, step, steps),
          train::learning_rate_factor(decay, step, steps)};
}

Factors action_factors(const nlohmann::json& optim, int64_t step) {
  const int64_t ipe = optim.at("ipe"), epochs = optim.at("epochs");
  train::ScheduleOptions rate{.kind = train::ScheduleKind::wsd};
  rate.warmup = optim.at("warmup").get<int64_t>() * ipe;
  rate.warmup_start = optim.at("start_lr").get<double>() / optim.at("lr").get<double>();
  rate.final_factor = optim.at("final_lr").get<double>() / optim.at("lr").get<double>();
  rate.decay_fraction = optim.at("anneal").get<double>() / static_cast<double>(epochs);
  return {train::learning_rate_factor(rate, step, epochs * ipe), 1.0};
}

// The reference's rates and decays of its four groups: weights of both networks, then the rest.
void check_factors(Golden& golden, const std::string& suffix, const std::string& prefix,
                   const nlohmann::json& optim, const Factors& factors) {
  const double rate = optim.at("lr").get<double>() * factors.rate;
  const double decay = optim.at("weight_decay").get<double>() * factors.decay;
  const auto close = at::tensor({decay, decay, 0.0, 0.0}, at::kDouble);
  for (const std::string section : {"outputs/", "outputs64/"}) {
    const auto key = section + prefix;
    const char* why = "schedules are computed in float64 in every run: relative";
    golden.compare_within(key + "lr" + suffix, at::full({4}, rate, at::kDouble), {1e-15, 1e-12, 0},
                          why);
    golden.compare_within(key + "wd" + suffix, close, {1e-15, 1e-12, 0}, why);
  }
}

// Our name of a parameter -> the fixture's, which has the wrapper "backbone" below each network.
std::string wrapped(const std::string& name) {
  const auto dot = name.find('.');
  return name.substr(0, dot) + ".backbone" + name.substr(dot);
}

void compare_gradients(Golden& golden, const torch::nn::Module& module,
                       const std::function<std::string(const std::string&)>& reference) {
  for (const auto& item : module.named_parameters()) {
    const auto key = "grads/" + reference(item.key());
    if (item.value().grad().defined() && golden.has(key))
      golden.compare(key, item.value().grad());
    else {
      INFO("parameter " << item.key());
      CHECK((!item.value().grad().defined() ||
             item.value().grad().abs().max().item<double>() == 0.0));
    }
  }
  CHECK(golden.uncompared("grads").empty());
}

// After the last step, where the gradient of the first is more than noise.
void compare_weights(Golden& golden, const io::NamedTensors& state,
                     const std::function<std::string(const std::string&)>& reference) {
  for (const auto& [name, tensor] : state) {
    const auto key = reference(name);
    if (golden.has("grads/" + key))
      golden.compare_where("after_step/" + key, tensor, golden.at("grads/" + key).abs().gt(kNoise));
    else
      golden.compare("after_step/" + key, tensor);
  }
}

struct Pretraining {
  Pretraining(const Golden& golden, at::ScalarType type)
      : model(golden_vjepa2_options(golden.config())), target(model.options().encoder) {
    const auto params = golden_section(golden, "params");
    models::load_vjepa2(model, params, models::EncoderWeights::online, golden.name());
    nn::load_state_dict(
        target,
        models::vjepa2_part(params, "target_encoder", target.options().positions, golden.name()),
        golden.name());
    model.to(test_device(), type);
    target.to(test_device(), type);
  }

  int64_t roundings_of_encoder() const {
    return roundings_of_network(model.options().encoder.depth);
  }
  int64_t roundings_of_prediction() const {
    return roundings_of_encoder() + roundings_of_network(model.options().predictor.depth);
  }

  models::VJepa2 model;
  nn::VideoVit target;
};

std::vector<models::MaskedClips> batch_of(const Golden& golden, int64_t step, at::ScalarType type) {
  std::vector<models::MaskedClips> groups;
  const int64_t count = golden.config().at("groups"), masks = golden.config().at("masks_per_group");
  const auto step_name = "step" + std::to_string(step) + ".";
  for (int64_t g = 0; g < count; ++g) {
    models::MaskedClips group{golden.input(step_name + "clip" + std::to_string(g)).to(type), {}};
    const auto group_name = step_name + "group" + std::to_string(g) + ".";
    for (int64_t m = 0; m < masks; ++m)
      group.masks.push_back({golden.input(group_name + "ctx" + std::to_string(m)),
                             golden.input(group_name + "tgt" + std::to_string(m))});
    groups.push_back(std::move(group));
  }
  return groups;
}

// Targets and predictions of the first step.
void compare_forward(Golden& golden, at::ScalarType type) {
  at::NoGradGuard no_grad;
  const Pretraining run(golden, type);
  const auto groups = batch_of(golden, 0, type);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto group = "group" + std::to_string(g);
    golden.compare_run("target_layernormed." + group,
                       models::masked_targets(run.target, groups[g].clips),
                       run.roundings_of_encoder());
    for (std::size_t m = 0; m < groups[g].masks.size(); ++m) {
      const auto& mask = groups[g].masks[m];
      const auto context = run.model.encode_context(groups[g].clips, mask.context);
      golden.compare_run(
          "prediction." + group + ".mask" + std::to_string(m),
          run.model.predict_targets(context, mask.context, mask.targets, static_cast<int64_t>(g)),
          run.roundings_of_prediction());
    }
  }
}

// The loss of the first step in bfloat16. Prediction and target are rounded.
void check_bfloat16_loss(Golden& golden) {
  const Pretraining run(golden, at::kFloat);
  const auto loss = [&] {
    return models::masked_prediction_loss(run.model, run.target, batch_of(golden, 0, at::kFloat),
                                          golden.config().at("loss_exp"))
        .total();
  };
  compare_autocast_loss(golden, "loss_step0", loss,
                        run.roundings_of_prediction() + run.roundings_of_encoder());
}

// V-JEPA 2-AC's latents and both kinds of prediction, computed in bfloat16. Every step that is fed
// back adds the predictor's roundings.
void check_bfloat16_predictions(Golden& golden, const models::VJepa2AcOptions& options,
                                const std::string& prefix) {
  INFO("bfloat16");
  const at::NoGradGuard no_grad;
  models::VJepa2Ac model(options);
  models::load_vjepa2_ac(model, golden_section(golden, "params"), models::EncoderWeights::online,
                         golden.name());
  model.to(test_device(), at::kBFloat16);
  const auto input = [&](const char* key) { return golden.input(key).to(at::kBFloat16); };
  const auto clips = input("clips");
  const auto latents = model.encode_images(clips.transpose(1, 2).flatten(0, 1))
                           .unflatten(0, {clips.size(0), clips.size(2)});
  REQUIRE(latents.scalar_type() == at::kBFloat16);
  const auto of_encoder = roundings_of_network(options.encoder.depth);
  const auto of_step = roundings_of_network(options.predictor.depth);
  golden.compare_bfloat16(prefix + "h", latents.flatten(1, 2), of_encoder);
  const auto predictions =
      model.training_predictions({latents, input("actions"), input("states"), input("extrinsics")});
  golden.compare_bfloat16(prefix + "z_tf", predictions.teacher_forced.flatten(1, 2),
                          of_encoder + of_step);
  golden.compare_bfloat16(prefix + "z_ar", predictions.rollout.flatten(1, 2),
                          of_encoder + options.auto_steps * of_step);
}

// The loss in bfloat16. Predictions and targets are rounded.
void check_bfloat16_action_loss(Golden& golden, const models::VJepa2AcOptions& options,
                                const std::string& prefix) {
  models::VJepa2Ac model(options);
  models::load_vjepa2_ac(model, golden_section(golden, "params"), models::EncoderWeights::online,
                         golden.name());
  model.to(test_device());
  const auto loss = [&] {
    const auto clips = golden.input("clips");
    const auto latents = model.encode_images(clips.transpose(1, 2).flatten(0, 1))
                             .unflatten(0, {clips.size(0), clips.size(2)});
    return model
        .loss_of_latents(latents, golden.input("actions"), golden.input("states"),
                         golden.input("extrinsics"))
        .total();
  };
  compare_autocast_loss(golden, prefix + "loss", loss,
                        2 * roundings_of_network(options.encoder.depth) +
                            options.auto_steps * roundings_of_network(options.predictor.depth));
}

}  // namespace

TEST_CASE("V-JEPA 2 training steps are the reference's from schedule to moving average",
          "[parity][device]") {
  for_each_golden("vjepa2/train_step", [](Golden& golden) {
    const auto& config = golden.config();
    const auto& optim = config.at("optim");
    const double exponent = config.at("loss_exp");
    for (const auto type : kNetworkTypes) compare_forward(golden, type);
    check_bfloat16_loss(golden);
    for (const auto type : {at::kFloat, at::kDouble}) {
      Pretraining run(golden, type);
      train::AdamW optimizer(run.model, adamw_options(optim));
      for (int64_t step = 0; step < config.at("steps"); ++step) {
        const auto suffix = "_step" + std::to_string(step);
        const auto factors = pretraining_factors(optim, step + 1);
        check_factors(golden, suffix, "", optim, factors);
        const auto loss = models::masked_prediction_loss(run.model, run.target,
                                                         batch_of(golden, step, type), exponent);
        const std::string section = type == at::kDouble ? "outputs64/" : "outputs/";
        golden.compare(section + "loss" + suffix, loss.total());
        loss.total().backward();
        if (step == 0 && type == at::kFloat) compare_gradients(golden, run.model, wrapped);
        optimizer.step(factors.rate, factors.decay);
        nn::ema_update(run.target, run.model.encoder(), config.at("ema"));
      }
      if (type != at::kFloat) continue;
      compare_weights(golden, nn::state_dict(run.model), wrapped);
      compare_weights(golden, nn::state_dict(run.target),
                      [](const std::string& name) { return "target_encoder.backbone." + name; });
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
    CHECK(golden.uncompared("after_step").empty());
  });
}

TEST_CASE("V-JEPA 2-AC training steps are the reference's, with either start of the rollout",
          "[parity][device]") {
  for_each_golden("vjepa2/ac_train_step", [](Golden& golden) {
    const auto& config = golden.config();
    const auto& optim = config.at("optim");
    for (const std::string variant : config.at("variants")) {
      INFO("variant " << variant);
      auto options = golden_vjepa2_ac_options(config);
      options.auto_steps = config.at("auto_steps");
      options.loss_exponent = config.at("loss_exp");
      options.normalise_latents = config.at("normalize_reps");
      options.rollout_start = variant == "fixed" ? models::RolloutStart::first_prediction
                                                 : models::RolloutStart::second_prediction;
      check_bfloat16_predictions(golden, options, variant + ".");
      check_bfloat16_action_loss(golden, options, variant + ".");
      for (const auto type : {at::kFloat, at::kDouble}) {
        const std::string section =
            (type == at::kDouble ? "outputs64/" : "outputs/") + variant + ".";
        models::VJepa2Ac model(options);
        models::load_vjepa2_ac(model, golden_section(golden, "params"),
                               models::EncoderWeights::online, golden.name());
        model.to(test_device(), type);
        const auto input = [&](const char* key) { return golden.input(key).to(type); };
        const auto clips = input("clips");  // [B,3,T,h,w]
        const auto latents = model.encode_images(clips.transpose(1, 2).flatten(0, 1))
                                 .unflatten(0, {clips.size(0), clips.size(2)});
        golden.compare(section + "h", latents.flatten(1, 2));
        const auto predictions = model.training_predictions(
            {latents, input("actions"), input("states"), input("extrinsics")});
        golden.compare(section + "z_tf", predictions.teacher_forced.flatten(1, 2));
        golden.compare(section + "z_ar", predictions.rollout.flatten(1, 2));
        const auto loss =
            model.loss_of_latents(latents, input("actions"), input("states"), input("extrinsics"));
        golden.compare(section + "jloss", loss.at("teacher_forced").value);
        golden.compare(section + "sloss", loss.at("rollout").value);
        golden.compare(section + "loss", loss.total());
        if (type == at::kDouble) continue;
        loss.total().backward();
        const auto reference = [&](const std::string& name) { return variant + "." + name; };
        for (const auto& item : model.named_parameters())
          if (const auto key = "grads/" + reference(item.key()); golden.has(key))
            golden.compare(key, item.value().grad());
        const auto factors = action_factors(optim, 1);
        check_factors(golden, "", variant + ".", optim, factors);
        train::AdamW optimizer(model, adamw_options(optim));
        optimizer.step(factors.rate, factors.decay);
        for (const auto& [name, tensor] : nn::state_dict(model)) {
          if (name.starts_with("encoder.")) CHECK(at::equal(tensor, golden.param(name)));
          // Weights after the step are in the file for one variant only.
          if (golden.has("after_step/" + reference(name)))
            compare_weights(golden, {{name, tensor}}, reference);
        }
      }
    }
    CHECK(golden.uncompared("grads").empty());
    CHECK(golden.uncompared("after_step").empty());
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

}  // namespace foresight::train::vjepa2_step_test
