// SPDX-License-Identifier: Apache-2.0
// The recipes of DINO-WM and EB-JEPA, as training runs them, against the reference: our AdamW with
// their groups, and schedules. (Losses, gradients and steps of torch's: tests/models.)
#include "dino_wm_golden.hpp"
#include "eb_jepa_golden.hpp"
#include "foresight/train/adamw.hpp"
#include "foresight/train/eb_jepa_task.hpp"
#include "foresight/train/recipes.hpp"

namespace foresight::train::recipe_parity_test {

TEST_CASE("a step of DINO-WM's recipe with our AdamW leaves the reference's weights") {
  for_each_golden("dino_wm/train", [](Golden& golden) {
    const auto& config = golden.config();
    const auto recipe = dino_wm_training(1);
    // Upstream has an optimiser for the predictor and one for the embeddings, of equal settings:
    // without clipping one for both does the same.
    const auto& adamw = config.at("adamw");
    CHECK(recipe.optimizer.lr == config.at("predictor_lr"));
    CHECK(recipe.optimizer.lr == config.at("action_encoder_lr"));
    CHECK(recipe.optimizer.weight_decay == adamw.at("weight_decay"));
    CHECK(recipe.optimizer.beta1 == adamw.at("betas")[0]);
    CHECK(recipe.optimizer.beta2 == adamw.at("betas")[1]);
    CHECK(recipe.optimizer.epsilon == adamw.at("eps"));

    const auto model = golden_dino_wm(golden, golden_dino_wm_options(config.at("model")));
    AdamW optimizer(*model, recipe.optimizer);
    const auto actions = golden.input("actions");
    model
        ->loss_of_features(golden_features(golden, golden.input("visual")), golden.input("proprio"),
                           actions.narrow(1, 0, actions.size(1) - 1))
        .total()
        .backward();
    optimizer.step(learning_rate_factor(recipe.schedule, 0, 1));
    // Adam turns a gradient of rounding size into a full step: such elements are not compared.
    for (const auto& [key, tensor] : models::dino_wm_tensors(*model))
      golden.compare_where("after_step/" + key, tensor, golden.at("grads/" + key).abs().gt(1e-6));
    for (const auto& key : golden.uncompared("after_step"))
      CHECK(key.starts_with("after_step/encoder.proj."));  // the stand-in backbone, frozen
  });
}

TEST_CASE("steps of EB-JEPA's recipe with our AdamW leave the reference's weights") {
  for_each_golden("eb_jepa/ac_train", [](Golden& golden) {
    const auto& config = golden.config();
    const auto& optim = config.at("optim");
    const int64_t total = optim.at("total_steps");
    const auto recipe = eb_jepa_training(total);
    CHECK(recipe.optimizer.lr == optim.at("lr"));
    CHECK(recipe.optimizer.weight_decay == optim.at("weight_decay"));

    const auto model = golden_eb_jepa(golden, at::kFloat);
    model->train();
    // Encoder, then predictor, one after the other; the norm that both have is clipped twice.
    std::vector<ClippingGroup> groups;
    for (auto& parameters : model->clipping_groups())
      groups.push_back(
          {std::move(parameters),
           optim.at(groups.empty() ? "grad_clip_enc" : "grad_clip_pred").get<double>()});
    REQUIRE(groups.size() == 2);
    AdamW optimizer(*model, recipe.optimizer, groups);
    std::vector<double> rates;
    for (int64_t s = 0; s < config.at("steps").get<int64_t>(); ++s) {
      const auto step = "step" + std::to_string(s) + ".";
      const auto factor = learning_rate_factor(recipe.schedule, s, total);
      rates.push_back(recipe.optimizer.lr * factor);
      const auto terms = model->loss_of_images(frames_first(golden.input(step + "obs")),
                                               blocks_between(golden.input(step + "actions")));
      golden.compare("outputs/" + step + "loss", terms.total());
      terms.total().backward();
      optimizer.step(factor);
    }
    golden.compare("outputs/lr_used", at::tensor(rates, at::kDouble));
    at::NoGradGuard no_grad;
    compare_golden_weights(golden, *model);
    CHECK(golden.uncompared("after_step").empty());
  });
}

}  // namespace foresight::train::recipe_parity_test
