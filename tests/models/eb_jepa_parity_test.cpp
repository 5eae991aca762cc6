// SPDX-License-Identifier: Apache-2.0
// EbJepa, its training recipe, its probe and the video model against facebookresearch/eb_jepa.
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>

#include "eb_jepa_golden.hpp"
#include "foresight/models/eb_jepa_video.hpp"
#include "foresight/models/position_probe.hpp"
#include "golden_autocast.hpp"

namespace foresight::eb_jepa_parity_test {
namespace {

constexpr std::array kBothTypes{at::kFloat, at::kDouble};
std::string section_of_type(at::ScalarType type) {
  return type == at::kDouble ? "outputs64/" : "outputs/";
}

void check_whole(const Golden& golden) {
  CHECK(golden.uncompared("outputs").empty());
  CHECK(golden.uncompared("outputs64").empty());
  CHECK(golden.uncompared("grads").empty());
  CHECK(golden.uncompared("after_step").empty());
}

// How many steps the unroll imagines whose states the fixture counts with the observed one.
int64_t counted_steps(const Golden& golden) {
  return golden.output("three_steps_window_ignored").size(2) - 1;
}

}  // namespace

namespace {

// Encoding and planning's unroll with weights of bfloat16; a recurrent step is a stack's roundings.
void check_bfloat16_unroll(Golden& golden) {
  const auto model = golden_eb_jepa(golden, at::kBFloat16);
  const auto latents = model->encode_images(frames_first(golden.input("obs", at::kBFloat16)));
  const auto actions = golden.input("actions", at::kBFloat16).transpose(1, 2);
  const auto of_frame = roundings_of_impala(model->options().encoder);
  golden.compare_bfloat16("encoded", as_feature_maps(latents), of_frame);
  const auto first = latents.narrow(1, 0, 1);
  golden.compare_bfloat16("one_step",
                          as_feature_maps(model->predict(first, actions.narrow(1, 0, 1))),
                          of_frame + kRoundingsOfStack);
  const auto compare = [&](const char* key, int64_t steps) {
    const auto imagined = model->unroll(first.select(1, 0), actions.narrow(1, 0, steps));
    golden.compare_bfloat16(key, as_feature_maps(at::cat({first, imagined}, 1)),
                            of_frame + steps * kRoundingsOfStack);
  };
  compare("plan_states", actions.size(1));
  compare("three_steps_window_ignored", counted_steps(golden));
}

}  // namespace

TEST_CASE("encoding, one step and planning's unroll equal EB-JEPA's", "[parity][device]") {
  for_each_golden("eb_jepa/ac_unroll", [](Golden& golden) {
    at::NoGradGuard no_grad;
    for (const auto type : kBothTypes) {
      const auto model = golden_eb_jepa(golden, type);
      const auto obs = frames_first(golden.input("obs").to(type));
      const auto actions = golden.input("actions").to(type).transpose(1, 2);
      const auto latents = model->encode_images(obs);
      golden.compare("encoded", as_feature_maps(latents));
      const auto first = latents.narrow(1, 0, 1);
      golden.compare("one_step", as_feature_maps(model->predict(first, actions.narrow(1, 0, 1))));
      const auto imagined = [&](int64_t steps) {
        return model->unroll(first.select(1, 0), actions.narrow(1, 0, steps));
      };
      const auto states = [&](const Tensor& future) {
        return as_feature_maps(at::cat({first, future}, 1));
      };
      golden.compare("plan_states", states(imagined(actions.size(1))));
      const auto counted = imagined(counted_steps(golden));
      golden.compare("three_steps_window_ignored", states(counted));
      if (golden.has("outputs/number_of_steps_returned"))
        golden.compare("outputs/number_of_steps_returned", at::tensor({counted.size(1)}));
    }
    check_bfloat16_unroll(golden);
    check_whole(golden);
  });
}

namespace {

void compare_terms(Golden& golden, const std::string& step, const losses::Terms& terms) {
  const auto value = [&](const char* name) { return terms.at(name).value; };
  golden.compare(step + "cov_loss", value("cov"));
  golden.compare(step + "std_loss", value("std"));
  golden.compare(step + "sim_loss_t", value("temporal"));
  golden.compare(step + "idm_loss", value("inverse_dynamics"));
  golden.compare(step + "pred_loss", value("prediction"));
  golden.compare(step + "loss", terms.total());
  golden.compare(step + "reg_loss", terms.total() - value("prediction"));
  golden.compare(step + "reg_loss_unweighted",
                 value("cov") + value("std") + value("temporal") + value("inverse_dynamics"));
}

// The shared norm stands once among the parameters, here as upstream.
void compare_gradients(Golden& golden, const models::EbJepa& model, const std::string& prefix) {
  for (const auto& item : model.named_parameters())
    golden.compare(prefix + item.key(), item.value().grad());
}

// EB-JEPA's recipe: warm-up over a tenth from a factor of 1e-8, then a cosine to 1e-5.
double recipe_rate(const nlohmann::json& optim, int64_t step) {
  const double lr = optim.at("lr"), last = 1e-5;
  const int64_t total = optim.at("total_steps"), warmup = total / 10;
  if (step < warmup)
    return lr * (1e-8 + (1 - 1e-8) * static_cast<double>(step) / static_cast<double>(warmup));
  const double progress = static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
  return last + (lr - last) * (1 + std::cos(M_PI * progress)) / 2;
}

// What the first frame and the blocks after it lead to, in the fixture's layout.
Tensor predicted_states(const models::EbJepa& model, const Tensor& images, const Tensor& blocks) {
  const auto first = model.encode_images(images.narrow(1, 0, 1));
  const auto steps = model.options().predicted_steps;
  return as_feature_maps(
      at::cat({first, model.unroll(first.select(1, 0), blocks.narrow(1, 0, steps))}, 1));
}

// The first step in bfloat16: its states with weights of that type, its loss under autocast. Losses
// look at all through heads, which count as a stack.
void check_bfloat16_step(Golden& golden) {
  const auto images = frames_first(golden.input("step0.obs"));
  const auto blocks = blocks_between(golden.input("step0.actions"));
  const auto narrow = golden_eb_jepa(golden, at::kBFloat16);
  const auto& options = narrow->options();
  const auto forward =
      roundings_of_impala(options.encoder) + options.predicted_steps * kRoundingsOfStack;
  {
    at::NoGradGuard no_grad;
    golden.compare_bfloat16(
        "predicted_states",
        predicted_states(*narrow, images.to(at::kBFloat16), blocks.to(at::kBFloat16)), forward);
  }
  const auto model = golden_eb_jepa(golden, at::kFloat);
  model->train();
  compare_autocast_loss(
      golden, "step0.loss", [&] { return model->loss_of_images(images, blocks).total(); },
      roundings_of_squares(forward + kRoundingsOfStack));
}

void train_as_upstream(Golden& golden, at::ScalarType type) {
  const auto& optim = golden.config().at("optim");
  const bool is_float = type == at::kFloat;
  const auto model = golden_eb_jepa(golden, type);
  model->train();
  torch::optim::AdamW adamw(model->parameters(),
                            torch::optim::AdamWOptions(optim.at("lr").get<double>())
                                .weight_decay(optim.at("weight_decay").get<double>()));
  const std::vector<double> limits{optim.at("grad_clip_enc"), optim.at("grad_clip_pred")};
  std::vector<double> rates;
  for (int64_t s = 0; s < golden.config().at("steps").get<int64_t>(); ++s) {
    const auto step = "step" + std::to_string(s) + ".";
    const auto images = frames_first(golden.input(step + "obs").to(type));
    const auto blocks = blocks_between(golden.input(step + "actions").to(type));
    if (s == 0) {
      at::NoGradGuard no_grad;
      golden.compare("predicted_states", predicted_states(*model, images, blocks));
    }
    const auto terms = model->loss_of_images(images, blocks);
    compare_terms(golden, step, terms);
    adamw.zero_grad();
    terms.total().backward();
    if (s == 0 && is_float) compare_gradients(golden, *model, "grads/");
    const auto groups = model->clipping_groups();
    REQUIRE(groups.size() == limits.size());
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const double norm = torch::nn::utils::clip_grad_norm_(groups[g], limits[g]);
      golden.compare(step + (g == 0 ? "grad_norm_encoder" : "grad_norm_predictor"),
                     at::scalar_tensor(norm, type));
    }
    if (s == 0 && is_float) compare_gradients(golden, *model, "outputs/clipped_grad.");
    rates.push_back(recipe_rate(optim, s));
    static_cast<torch::optim::AdamWOptions&>(adamw.param_groups()[0].options()).lr(rates.back());
    adamw.step();
  }
  for (const auto* section : {"outputs/", "outputs64/"})
    golden.compare(section + std::string("lr_used"), at::tensor(rates, at::kDouble));
  if (is_float) compare_golden_weights(golden, *model);
}

}  // namespace

TEST_CASE(
    "three steps of EB-JEPA's recipe have the reference's losses, gradients, norms and "
    "weights",
    "[parity][device]") {
  for_each_golden("eb_jepa/ac_train", [](Golden& golden) {
    check_bfloat16_step(golden);
    for (const auto type : kBothTypes) train_as_upstream(golden, type);
    std::vector<double> rates;
    const auto& optim = golden.config().at("optim");
    for (int64_t s = 0; s < optim.at("total_steps").get<int64_t>(); ++s)
      rates.push_back(recipe_rate(optim, s));
    for (const auto* section : {"outputs/", "outputs64/"})
      golden.compare(section + std::string("lr_schedule"), at::tensor(rates, at::kDouble));
    check_whole(golden);
  });
}

namespace {

models::PositionProbe golden_probe(const Golden& golden, const models::EbJepa& model,
                                   at::ScalarType type) {
  models::PositionProbe probe({.latent = model.options().latent()});
  probe.to(test_device(), type);
  nn::load_state_dict(probe, eb_jepa_params(golden, "head."), golden.name());
  return probe;
}

void check_bfloat16_probe(Golden& golden) {
  const auto model = golden_eb_jepa(golden, at::kFloat, "jepa.");
  const auto probe = golden_probe(golden, *model, at::kFloat);
  const auto forward = roundings_of_impala(model->options().encoder) + kRoundingsOfStack;
  const auto loss = [&] {
    const auto latents = model->encode_images(frames_first(golden.input("obs")));
    golden.compare_bfloat16("prediction", probe.normalised(latents).transpose(1, 2), forward);
    return probe.squared_units(probe.loss(latents, golden.input("location").transpose(1, 2)));
  };
  compare_autocast_loss(golden, "unnormalized_mse", loss, roundings_of_squares(forward));
}

}  // namespace

TEST_CASE("the position probe and its gradients equal EB-JEPA's", "[parity][device]") {
  for_each_golden("eb_jepa/probe", [](Golden& golden) {
    check_bfloat16_probe(golden);
    for (const auto type : kBothTypes) {
      const auto model = golden_eb_jepa(golden, type, "jepa.");
      const auto probe = golden_probe(golden, *model, type);
      const auto latents = model->encode_images(frames_first(golden.input("obs").to(type)));
      const auto locations = golden.input("location").to(type).transpose(1, 2);
      golden.compare("prediction", probe.normalised(latents).transpose(1, 2));
      golden.compare_within(section_of_type(type) + "pixel_location", probe.positions(latents),
                            {1e-5, 1e-6, 0},
                            "pixels, of statistics that are float32 in the original's float64 run "
                            "too");
      const auto loss = probe.loss(latents, locations);
      golden.compare("loss", loss);
      const auto training_loss = probe.squared_units(loss);
      golden.compare("unnormalized_mse", training_loss);
      training_loss.backward();
      CHECK_FALSE(model->parameters().front().grad().defined());
      if (type == at::kDouble) continue;
      for (const auto& item : probe.named_parameters())
        golden.compare("grads/head." + item.key(), item.value().grad());
    }
    check_whole(golden);
  });
}

namespace {

std::shared_ptr<models::EbJepaVideo> golden_video_model(const Golden& golden, at::ScalarType type) {
  const auto& config = golden.config();
  models::EbJepaVideoOptions options;
  options.channels = config.at("dobs");
  options.latent = config.at("dstc");
  options.encoder_hidden = config.at("henc");
  options.predictor_hidden = config.at("hpre");
  options.predicted_steps = config.at("nsteps");
  options.projector = golden_projector(config.at("projector"));
  options.regulariser.std = config.at("std_coeff");
  options.regulariser.cov = config.at("cov_coeff");
  auto model = std::make_shared<models::EbJepaVideo>(options);
  model->to(test_device(), type);
  io::NamedTensors own;  // without the aliases of encoder and projector
  for (const auto& item : eb_jepa_params(golden))
    if (!item.first.starts_with("action_encoder.") && !item.first.starts_with("predcost."))
      own.push_back(item);
  nn::load_state_dict(*model, own, golden.name());
  return model;
}

// Roundings in sequence of two convolutions, their norms and nonlinearities, and the sum. What
// comes before and after a network's blocks counts as one more.
constexpr int64_t kRoundingsOfResidual = 8;
constexpr int64_t kOfVideoEncoder = (3 + 1) * kRoundingsOfResidual;
constexpr int64_t kOfVideoPredictor = (3 + 1 + 3 + 1) * kRoundingsOfResidual;

void check_video_inference(Golden& golden, const models::EbJepaVideo& model, const Tensor& clips) {
  at::NoGradGuard no_grad;
  const auto mode = nn::Mode::infer;
  const auto compare = [&](const std::string& key, const Tensor& x, int64_t predictions) {
    golden.compare_run("eval." + key, frames_first(x),
                       kOfVideoEncoder + predictions * kOfVideoPredictor);
  };
  const auto encoded = model.encode(clips, mode);
  compare("encoded", encoded, 0);
  compare("predictor_one_pass", model.predict(encoded, mode), 1);
  const auto imagined = [](const Tensor& pass) { return pass.slice(1, 2); };
  compare("infer", imagined(model.parallel_pass(encoded, encoded, mode)), 1);
  auto states = encoded;
  for (int64_t k = 0; k < model.options().predicted_steps; ++k) {
    states = model.parallel_pass(encoded, states, mode);
    compare("unroll_step" + std::to_string(k), imagined(states), k + 1);
  }
  const std::string run = "autoregressive_window";  // its name goes on with how many frames
  for (const auto& name : golden.file().names()) {
    if (!name.starts_with("outputs/eval." + run)) continue;
    const auto key = name.substr(name.find(run));
    const int64_t seen = std::stoll(key.substr(run.size()));
    const auto steps = golden.at(name).size(2) - seen;
    compare(key, model.unroll(encoded.narrow(1, 0, seen), steps, mode), steps);
  }
}

void check_video_training(Golden& golden, const models::EbJepaVideo& model, const Tensor& clips) {
  const auto terms = model.loss(clips);
  const auto value = [&](const char* name) { return terms.at(name).value; };
  golden.compare("train.cov_loss", value("cov"));
  golden.compare("train.std_loss", value("std"));
  golden.compare("train.pred_loss", value("prediction"));
  golden.compare("train.reg_loss", terms.total() - value("prediction"));
  golden.compare("train.reg_loss_unweighted", value("cov") + value("std"));
  golden.compare("train.loss", terms.total());
  for (const auto& item : model.named_buffers())
    golden.compare("train.buffer_after." + item.key(), item.value());
  terms.total().backward();
  if (clips.scalar_type() == at::kDouble) return;
  for (const auto& item : model.named_parameters())
    golden.compare("grads/" + item.key(), item.value().grad());
}

}  // namespace

namespace {

// Passes with weights of bfloat16, and a training step's loss under autocast. The projector counts
// as a block.
void check_bfloat16_video(Golden& golden) {
  const auto clips = frames_first(golden.input("video"));
  check_video_inference(golden, *golden_video_model(golden, at::kBFloat16),
                        clips.to(at::kBFloat16));
  const auto model = golden_video_model(golden, at::kFloat);
  model->train();
  const auto forward = kOfVideoEncoder + model->options().predicted_steps * kOfVideoPredictor;
  compare_autocast_loss(
      golden, "train.loss", [&] { return model->loss(clips).total(); },
      roundings_of_squares(forward + kRoundingsOfResidual));
}

}  // namespace

TEST_CASE("the video model's passes, losses, gradients and statistics equal EB-JEPA's",
          "[parity][device]") {
  for_each_golden("eb_jepa/video", [](Golden& golden) {
    check_bfloat16_video(golden);
    for (const auto type : kBothTypes) {
      const auto clips = frames_first(golden.input("video").to(type));
      const auto model = golden_video_model(golden, type);
      check_video_inference(golden, *model, clips);
      // What the last pass of the training loss imagines, by the batch's statistics.
      const auto shown = golden_video_model(golden, type);
      const auto encoded = shown->encode(clips, nn::Mode::train);
      auto states = encoded;
      for (int64_t k = 0; k < shown->options().predicted_steps; ++k)
        states = shown->parallel_pass(encoded, states, nn::Mode::train);
      golden.compare("train.predicted", frames_first(states));
      model->train();
      check_video_training(golden, *model, clips);
    }
    check_whole(golden);
  });
}

}  // namespace foresight::eb_jepa_parity_test
