// SPDX-License-Identifier: Apache-2.0
// What LeWM's training takes from recordings and does to weights, against the reference: action
// statistics as data sets compute them, and steps of our AdamW. (Losses, gradients and steps of
// torch's: tests/models/lewm_training_parity_test.cpp.)
#include "catch.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/train/adamw.hpp"
#include "lewm_golden.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::lewm_parity_test {

TEST_CASE("statistics of recorded actions are LeWM's, for training and for evaluation",
          "[parity]") {
  for_each_golden("lewm/lewm_preprocess_action", [](Golden& golden) {
    const auto raw = golden.input("raw_actions").to(at::kDouble);
    const auto missing = raw.isnan();  // of a row that lacks a part the rest does not count either
    CHECK(missing.any(-1).logical_and(missing.all(-1).logical_not()).any().item<bool>());
    const auto last = at::full({1, raw.size(1)}, 1e6, at::kDouble);  // no statistic may see it
    const auto actions = at::cat({raw, last}).unsqueeze(0);
    const TensorDataset dataset(
        {"actions", at::zeros({1, actions.size(1), 1, 1, 3}, at::kByte), actions, {}});
    const auto found = data::column_statistics(dataset, dataset.action_columns(),
                                               data::LastRow::exclude, {}, data::Missing::row);
    const auto space = data::action_space(dataset, golden.config().at("action_block"));
    for (const std::string section : {"outputs/", "outputs64/"}) {
      golden.compare(section + "train_mean", at::tensor(found.mean, at::kDouble).unsqueeze(0));
      golden.compare(section + "train_std", at::tensor(found.std, at::kDouble).unsqueeze(0));
      golden.compare(section + "eval_mean", at::tensor(space.mean, at::kDouble));
      golden.compare(section + "eval_scale", at::tensor(space.std, at::kDouble));
    }
  });
}

namespace {

// The fixture's weights after a step of our optimiser with each of `rates`, and the gradients of
// the first step after clipping: weights are compared where those are no rounding noise.
void check_steps(Golden& golden, const std::string& section, const std::vector<double>& rates) {
  INFO(section);
  const auto model = golden_jepa(golden, golden_training_options(golden));
  model->train();
  const auto images = golden.input("pixels");
  const auto blocks = golden.input("action").nan_to_num(0.0).narrow(1, 0, images.size(1) - 1);
  const double limit = golden.config().at("gradient_clip_val");
  std::vector<ClippingGroup> groups(1);
  for (const auto& item : model->named_parameters()) {
    if (item.key().starts_with("idm.") && groups.size() == 1) groups.emplace_back();
    groups[item.key().starts_with("idm.") ? 1 : 0].parameters.push_back(item.value());
  }
  const auto& settings = golden.config().at("optimizer");
  AdamW optimizer(
      *model, {.lr = settings.at("lr"), .weight_decay = settings.at("weight_decay"), .clip = limit},
      groups);
  std::map<std::string, Tensor> clipped;
  for (std::size_t step = 0; step < rates.size(); ++step) {
    RecordedNoise noise;
    if (const auto key = "sigreg_A_raw_" + std::to_string(step); golden.has("inputs/" + key))
      noise.push(golden.input(key));
    model->loss_of_images(images, blocks, noise).total().backward();
    for (const auto& item : model->named_parameters())  // as torch's optimiser sees it upstream
      if (!item.value().grad().defined())
        item.value().mutable_grad() = at::zeros_like(item.value());
    if (step == 0)
      for (const auto& group : groups) {
        std::vector<Tensor> norms;
        for (const auto& parameter : group.parameters) norms.push_back(parameter.grad().norm());
        const double factor =
            std::min(1.0, limit / (at::stack(norms).norm().item<double>() + 1e-6));
        for (const auto& item : model->named_parameters())
          for (const auto& parameter : group.parameters)
            if (item.value().is_same(parameter)) clipped[item.key()] = parameter.grad() * factor;
      }
    optimizer.step(rates[step] / settings.at("lr").get<double>());
  }
  at::NoGradGuard no_grad;
  compare_golden_state(golden, section, *model, clipped);
  CHECK(golden.uncompared(section).empty());
}

}  // namespace

TEST_CASE("steps of our AdamW leave the weights that LeWM's and PLDM's optimisers leave") {
  for (const auto* family : {"lewm/lewm_train_step", "lewm/pldm_train_step"}) {
    for_each_golden(family, [](Golden& golden) {
      check_steps(golden, "after_step", {golden.config().at("optimizer").at("lr")});
      if (!golden.has("outputs/steps3_lr")) return;
      const auto rates = golden.output("steps3_lr").to(at::kDouble);
      check_steps(golden, "after_steps3",
                  {rates.data_ptr<double>(), rates.data_ptr<double>() + rates.numel()});
    });
  }
}

}  // namespace foresight::train::lewm_parity_test
