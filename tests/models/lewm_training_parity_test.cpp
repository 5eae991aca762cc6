// SPDX-License-Identifier: Apache-2.0
// One training step of Jepa against the reference implementation of LeWM and PLDM: losses,
// gradients, updated weights.
#include <torch/optim/adamw.h>

#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/straightening.hpp"
#include "foresight/losses/temporal.hpp"
#include "foresight/losses/vicreg.hpp"
#include "golden_autocast.hpp"
#include "lewm_golden.hpp"

namespace foresight::lewm_training_parity_test {

namespace {

enum class Precision { fp32, bf16 };

// A training fixture's model, batch and optimisers.
struct TrainingRun {
  explicit TrainingRun(Golden& golden, at::ScalarType type = at::kFloat)
      : golden(golden), type(type), model(golden_jepa(golden, golden_training_options(golden))) {
    model->to(type);
    model->train();
    images = golden.input("pixels", type);
    blocks = golden.input("action", type).nan_to_num(0.0);
    blocks = blocks.narrow(1, 0, images.size(1) - 1);
    const auto& o = golden.config().at("optimizer");
    const auto settings = torch::optim::AdamWOptions(o.at("lr").get<double>())
                              .weight_decay(o.at("weight_decay").get<double>());
    std::vector<Tensor> of_model, of_idm;
    for (const auto& parameter : model->named_parameters())
      (parameter.key().starts_with("idm.") ? of_idm : of_model).push_back(parameter.value());
    groups.push_back(of_model);
    if (!of_idm.empty()) groups.push_back(of_idm);
    for (const auto& group : groups)
      optimizers.push_back(std::make_unique<torch::optim::AdamW>(group, settings));
  }

  // With bf16 as TrainOptions.precision = bf16 makes it: weights, sums and the loss in float32.
  losses::Terms backward(int64_t step, Precision precision = Precision::fp32) {
    RecordedNoise noise;
    if (const auto key = "sigreg_A_raw_" + std::to_string(step); golden.has("inputs/" + key))
      noise.push(golden.input(key, type));
    for (const auto& optimizer : optimizers) optimizer->zero_grad();
    losses::Terms terms;
    {
      const nn::Autocast autocast(test_device().type(), precision == Precision::bf16);
      terms = model->loss_of_images(images, blocks, noise);
    }
    terms.total().backward();
    for (const auto& group : groups)
      for (const auto& parameter : group)
        if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
    return terms;
  }

  // Clips every group by its global norm and takes one step. Returns the norms before clipping.
  std::vector<Tensor> apply(double lr) {
    std::vector<Tensor> norms;
    at::NoGradGuard no_grad;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      std::vector<Tensor> squares;
      for (const auto& parameter : groups[g]) squares.push_back(parameter.grad().norm());
      norms.push_back(at::stack(squares).norm());
      const double limit = golden.config().at("gradient_clip_val");
      const double factor = std::min(1.0, limit / (norms.back().item<double>() + 1e-6));
      for (const auto& parameter : groups[g]) parameter.grad().mul_(factor);
      for (auto& group : optimizers[g]->param_groups())
        static_cast<torch::optim::AdamWOptions&>(group.options()).lr(lr);
      optimizers[g]->step();
    }
    return norms;
  }

  std::map<std::string, Tensor> gradients() const {
    std::map<std::string, Tensor> result;
    for (const auto& parameter : model->named_parameters())
      result[parameter.key()] = parameter.value().grad().clone();
    return result;
  }

  Golden& golden;
  at::ScalarType type;
  std::shared_ptr<models::Jepa> model;
  Tensor images, blocks;
  std::vector<std::vector<Tensor>> groups;
  std::vector<std::unique_ptr<torch::optim::AdamW>> optimizers;
};

void compare_gradients(Golden& golden, const TrainingRun& run) {
  for (const auto& [key, gradient] : run.gradients())
    golden.compare("grads/" + golden_reference_name(golden, key), gradient);
  CHECK(golden.uncompared("grads").empty());
}

// One training step under bfloat16 autocast: latents, losses, gradients, the step's direction. The
// loss is behind encoder and predictor, a projection after each counting as a block. `names`: the
// reference's of our terms.
void check_bfloat16_step(Golden& golden, const std::map<std::string, std::string>& names) {
  if (!has_autocast()) return;
  INFO("bfloat16 autocast");
  TrainingRun run(golden);
  const auto& options = run.model->options();
  const auto encoder = roundings_of_network(options.vit.depth);
  const auto n =
      roundings_of_joint_step(encoder + roundings_of_network(options.adaln.depth), encoder);
  {
    at::NoGradGuard no_grad;
    const auto copy = run.model->copy();
    const nn::Autocast autocast(test_device().type(), /*enabled=*/true);
    const auto latents = copy->encode_images(run.images, nn::Mode::train);
    CHECK(latents.scalar_type() == at::kBFloat16);
    golden.compare_bfloat16("emb", latents, encoder);
  }
  const auto terms = run.backward(0, Precision::bf16);
  golden.compare_bfloat16("loss", terms.total().to(at::kBFloat16), n.loss);
  for (const auto& [ours, theirs] : names)
    golden.compare_bfloat16(theirs, terms.at(ours).value.to(at::kBFloat16), n.loss);
  std::map<std::string, Tensor> sure;
  for (const auto& [key, gradient] : run.gradients()) {
    const auto full = "grads/" + golden_reference_name(golden, key);
    golden.compare_bfloat16(full, gradient.to(at::kBFloat16), n.gradient);
    sure[key] = golden.sign_is_sure(full, n.gradient);
  }
  // Where the gradient's sign is sure, AdamW's first step is the reference's.
  const double rate = golden.config().at("optimizer").at("lr");
  run.apply(rate);
  for (const auto& parameter : run.model->named_parameters()) {
    const auto full = "after_step/" + golden_reference_name(golden, parameter.key());
    if (golden.excluded(full)) continue;
    INFO(full);
    const auto off = (parameter.value().detach() - golden.at(full)).abs();
    const auto wrong = off.gt(0.02 * rate).logical_and(sure.at(parameter.key()));
    CHECK_FALSE(wrong.any().item<bool>());
  }
}

}  // namespace

TEST_CASE("a LeWM training step has the reference's losses, gradients and updated weights",
          "[parity][device]") {
  for_each_golden("lewm/lewm_train_step", [](Golden& golden) {
    check_bfloat16_step(golden, {{"prediction", "pred_loss"}, {"sigreg", "sigreg_loss"}});
    const double lr = golden.config().at("optimizer").at("lr");
    const auto lrs = golden.output("steps3_lr");
    for (const auto type : {at::kFloat, at::kDouble}) {
      INFO("in " << c10::toString(type));
      const bool is_float = type == at::kFloat;  // in which weights are recorded
      const auto compare = [&](const std::string& key, const Tensor& actual) {
        if (is_float)
          golden.compare("outputs/" + key, actual);
        else
          golden.compare_within("outputs64/" + key, actual, {1e-6, 1e-6, 0},
                                "SIGReg's knots and their weights are float32 in the original's "
                                "float64 run too");
      };
      TrainingRun one(golden, type);
      if (is_float) {
        at::NoGradGuard no_grad;  // on a copy: a pass in training mode moves the batch statistics
        const auto copy = one.model->copy();
        golden.compare("outputs/emb", copy->encode_images(one.images, nn::Mode::train));
        golden.compare("outputs/act_emb",
                       copy->embed_actions(golden.input("action").nan_to_num(0.0)));
      }
      const auto terms = one.backward(0);
      compare("loss", terms.total());
      compare("pred_loss", terms.at("prediction").value);
      compare("sigreg_loss", terms.at("sigreg").value);
      if (is_float) compare_gradients(golden, one);
      compare("grad_norm", one.apply(lr)[0]);
      if (is_float) compare_golden_state(golden, "after_step", *one.model, one.gradients());

      TrainingRun run(golden, type);
      std::map<std::string, Tensor> first;
      std::vector<Tensor> losses, predictions, norms;
      for (int64_t step = 0; step < lrs.size(0); ++step) {
        const auto terms = run.backward(step);
        losses.push_back(terms.total().detach());
        predictions.push_back(terms.at("prediction").value.detach());
        norms.push_back(run.apply(lrs[step].item<double>())[0]);
        if (step == 0) first = run.gradients();
      }
      compare("steps3_loss", at::stack(losses));
      compare("steps3_pred_loss", at::stack(predictions));
      compare("steps3_grad_norm", at::stack(norms));
      if (is_float) compare_golden_state(golden, "after_steps3", *run.model, first);
    }
    CHECK(golden.uncompared("after_step").empty());
    CHECK(golden.uncompared("after_steps3").empty());
    CHECK(golden.uncompared("outputs") == std::vector<std::string>{"outputs/steps3_lr"});
    CHECK(golden.uncompared("outputs64") == std::vector<std::string>{"outputs64/steps3_lr"});
  });
}

TEST_CASE("a PLDM training step has the reference's losses, gradients and updated weights",
          "[parity][device]") {
  for_each_golden("lewm/pldm_train_step", [](Golden& golden) {
    check_bfloat16_step(golden, {{"prediction", "pred_loss"}, {"std", "std_loss"}});
    for (const auto type : {at::kFloat, at::kDouble}) {
      INFO("in " << c10::toString(type));
      const bool is_float = type == at::kFloat;  // in which weights are recorded
      TrainingRun run(golden, type);
      {
        at::NoGradGuard no_grad;
        const auto copy = run.model->copy();
        const auto z = copy->encode_images(run.images, nn::Mode::train);
        golden.compare_run("emb", z);
        golden.compare_run("act_emb",
                           copy->embed_actions(golden.input("action", type).nan_to_num(0.0)));
        golden.compare_run("act_pred", copy->infer_actions(z));
        golden.compare_run("act_label", run.blocks);
        // Terms that the recipe weighs with zero are reported there all the same.
        golden.compare_run("std_loss", losses::vicreg_std(z));
        golden.compare_run("std_t_loss", losses::vicreg_std_t(z));
        golden.compare_run("cov_loss", losses::vicreg_cov(z));
        golden.compare_run("cov_t_loss", losses::vicreg_cov_t(z));
        golden.compare_run("temp_align_loss", losses::temporal_similarity(z));
        golden.compare_run("idm_loss",
                           losses::inverse_dynamics(copy->infer_actions(z), run.blocks));
        golden.compare_run("temp_straight_loss", losses::straightening(z));
      }
      const auto terms = run.backward(0);
      golden.compare_run("loss", terms.total());
      golden.compare_run("pred_loss", terms.at("prediction").value);
      if (is_float) compare_gradients(golden, run);
      const auto norms = run.apply(golden.config().at("optimizer").at("lr"));
      golden.compare_run("grad_norm_model", norms[0]);
      golden.compare_run("grad_norm_idm", norms[1]);
      if (is_float) compare_golden_state(golden, "after_step", *run.model, run.gradients());
    }
    CHECK(golden.uncompared("after_step").empty());
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

}  // namespace foresight::lewm_training_parity_test
