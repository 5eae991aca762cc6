// SPDX-License-Identifier: Apache-2.0
#include <torch/nn.h>
#include <torch/optim.h>

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/adamw.hpp"
#include "foresight/train/recipes.hpp"
#include "foresight/train/schedule.hpp"
#include "golden.hpp"

namespace foresight::train::optimizer_test {

namespace {

struct Net : torch::nn::Module {
  Net() {
    a = register_module("a", torch::nn::Linear(5, 7));
    b = register_module("b", torch::nn::Linear(7, 3));
  }
  Tensor loss(const Tensor& x) { return b(at::tanh(a(x))).square().mean(); }
  torch::nn::Linear a{nullptr}, b{nullptr};
};

}  // namespace

TEST_CASE("AdamW with clipping follows torch's optimiser and clip_grad_norm_") {
  torch::manual_seed(3);
  Net ours, theirs;
  nn::copy_state(ours, theirs);
  AdamWOptions options{.lr = 0.05, .weight_decay = 0.1, .clip = 0.2};
  AdamW optimizer(ours, options);
  torch::optim::AdamW reference(theirs.parameters(),
                                torch::optim::AdamWOptions(0.05).weight_decay(0.1).eps(1e-8));
  PhiloxNoise noise(1);
  for (int step = 0; step < 20; ++step) {
    const auto x = noise.normal({4, 5});
    const double factor = 1.0 / (1 + step);
    ours.loss(x).backward();
    const auto norm = optimizer.step(factor);

    reference.zero_grad();
    theirs.loss(x).backward();
    const auto expected_norm = torch::nn::utils::clip_grad_norm_(theirs.parameters(), 0.2);
    static_cast<torch::optim::AdamWOptions&>(reference.param_groups()[0].options())
        .lr(0.05 * factor);
    reference.step();
    CHECK(norm.item<double>() == Approx(expected_norm).epsilon(1e-5));
    for (const auto& parameter : theirs.named_parameters())
      CHECK(at::allclose(ours.named_parameters()[parameter.key()], parameter.value(), 1e-5, 1e-6));
  }
  CHECK(optimizer.steps_done() == 20);
}

TEST_CASE("AdamW clips groups of parameters one by one, and says the norm of all") {
  torch::manual_seed(3);
  Net net;
  // With such an epsilon the first update is the clipped gradient.
  const AdamWOptions options{.lr = 1e6, .weight_decay = 0, .epsilon = 1e6, .clip = 0.01};
  const std::vector<ClippingGroup> groups{{net.a->parameters()}, {net.b->parameters(), 0.02}};
  AdamW optimizer(net, options, groups);
  net.loss(PhiloxNoise(1).normal({4, 5})).backward();
  const auto norm_of = [](const std::vector<Tensor>& values) {
    double squares = 0;
    for (const auto& value : values) squares += std::pow(value.norm().item<double>(), 2);
    return std::sqrt(squares);
  };
  std::vector<Tensor> gradients, before;
  for (const auto& parameter : net.parameters()) {
    gradients.push_back(parameter.grad().clone());
    before.push_back(parameter.detach().clone());
  }
  CHECK(optimizer.step(1.0).item<double>() == Approx(norm_of(gradients)));
  const auto after = net.parameters();
  std::vector<Tensor> moved;
  for (std::size_t i = 0; i < after.size(); ++i) moved.push_back(after[i].detach() - before[i]);
  const auto half = static_cast<std::ptrdiff_t>(groups[0].parameters.size());
  CHECK(norm_of({gradients.begin(), gradients.begin() + half}) > 0.01);
  CHECK(norm_of({gradients.begin() + half, gradients.end()}) > 0.02);
  CHECK(norm_of({moved.begin(), moved.begin() + half}) == Approx(0.01).epsilon(1e-3));
  CHECK(norm_of({moved.begin() + half, moved.end()}) == Approx(0.02).epsilon(1e-3));

  // A gradient that is not finite is not touched, whatever its group and the other one.
  net.loss(PhiloxNoise(2).normal({4, 5})).backward();
  const auto kept = net.a->weight.grad().clone();
  net.b->bias.mutable_grad().fill_(NAN);
  CHECK(std::isnan(optimizer.step(1.0).item<double>()));
  CHECK(at::equal(net.a->weight.grad(), kept));

  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { AdamW(net, options, {ClippingGroup{{}, -1.0}}); },
      "ClippingGroup.largest"));
}

TEST_CASE("a parameter in no clipping group is not clipped, one in two of them by both") {
  torch::manual_seed(3);
  Net net;
  net.to(at::kDouble);
  const AdamWOptions options{.lr = 1e6, .weight_decay = 0, .epsilon = 1e6, .clip = 0.01};
  const ClippingGroup first{{net.a->weight}, 1e-3}, second{{net.a->weight, net.a->bias}};
  AdamW optimizer(net, options, {first, second});
  net.loss(PhiloxNoise(1).normal({4, 5}, at::kDouble)).backward();
  const auto before = net.a->weight.detach().clone(), free = net.b->weight.detach().clone();
  const auto gradient = net.b->weight.grad().clone();
  net.a->bias.mutable_grad() = at::full_like(net.a->bias, 1.0);
  const double shared = std::hypot(1e-3, std::sqrt(static_cast<double>(net.a->bias.numel())));
  optimizer.step(1.0);
  const auto moved = (net.a->weight.detach() - before).norm().item<double>();
  CHECK(moved == Approx(1e-3 * 0.01 / shared).epsilon(1e-3));
  CHECK(at::allclose(free - net.b->weight.detach(), gradient, 1e-3, 1e-8));
}

TEST_CASE("an optimiser continues from its state, and refuses a foreign one") {
  torch::manual_seed(3);
  Net first, second;
  AdamW one(first, {.lr = 0.01}), two(second, {.lr = 0.01});
  PhiloxNoise noise(1);
  const auto x = noise.normal({4, 5}), y = noise.normal({4, 5});
  first.loss(x).backward();
  one.step(1.0);
  nn::copy_state(first, second);
  two.load(one.state(), "checkpoint");
  CHECK(two.steps_done() == 1);
  for (auto* net : {&first, &second}) net->loss(y).backward();
  one.step(1.0);
  two.step(1.0);
  CHECK(at::equal(first.a->weight, second.a->weight));
  auto state = one.state();
  state.pop_back();
  CHECK_THROWS_AS(two.load(state, "checkpoint"), Error);
}

TEST_CASE("biases and norms do not decay when only matrices should") {
  Net net;
  {
    c10::NoGradGuard no_grad;
    net.a->bias.fill_(1.0);
    net.a->weight.fill_(1.0);
  }
  AdamW optimizer(net, {.lr = 0.1, .weight_decay = 0.5, .decay = Decay::matrices, .clip = 0});
  (net.a->weight.sum() * 0.0 + net.a->bias.sum() * 0.0).backward();
  optimizer.step(1.0);
  CHECK(at::allclose(net.a->bias, at::ones({7})));
  CHECK(at::allclose(net.a->weight, at::full({7, 5}, 1.0 - 0.1 * 0.5)));
}

TEST_CASE("the cosine schedule gives LeWM's learning rates", "[parity]") {
  for_each_golden("lewm/lewm_lr_schedule", [](Golden& golden) {
    for (const auto& [name, settings] : golden.config()["cases"].items()) {
      const double lr = settings["lr"];
      const auto& args = settings["args"];
      const ScheduleOptions options{.warmup = args["warmup_steps"],
                                    .warmup_start = args.value("warmup_start_lr", 0.0) / lr,
                                    .final_factor = args.value("eta_min", 0.0) / lr};
      const int64_t count = settings["n"], end = args["max_steps"];
      std::vector<double> rates;
      for (int64_t step = 0; step < count; ++step)
        rates.push_back(lr * learning_rate_factor(options, step, end));
      // Past its end the reference climbs again; ours stays at the end.
      golden.compare_within("outputs/raw_" + name, at::tensor(rates, at::kDouble), {1e-15, 1e-9, 0},
                            "learning rates span many decades: relative", at::arange(count) < end);
      for (int64_t step = end; step < count; ++step)
        CHECK(rates[static_cast<std::size_t>(step)] ==
              Approx(lr * options.final_factor).margin(1e-15));
    }
    CHECK(golden.uncompared("outputs").empty());
  });
}

TEST_CASE("the families' recipes are valid and give the published rates at their corners") {
  struct Corner {
    TrainOptions options;
    int64_t step;
    double rate;
  };
  for (const auto& [options, step, rate] : {
           Corner{lewm_training(1000), 0, 0.0},
           Corner{lewm_training(1000), 10, 5e-5},
           Corner{lewm_training(1000), 1000, 0.0},
           Corner{dino_wm_training(500), 0, 5e-4},
           Corner{dino_wm_training(500), 499, 5e-4},
           Corner{vjepa2_training(240000), 0, 1e-4},
           Corner{vjepa2_training(240000), 12000, 5.25e-4},
           Corner{vjepa2_ac_training(94500), 0, 7.5e-5},
           Corner{vjepa2_ac_training(94500), 4500, 4.25e-4},
           Corner{vjepa2_ac_training(94500), 90000, 4.25e-4},
           Corner{vjepa2_ac_training(94500), 92250, 4.25e-4 / 2},
           Corner{ijepa_training(3000), 0, 1e-4},
           Corner{ijepa_training(3000), 150, 1e-3},
           Corner{ijepa_training(3000), 3000, 1e-6},
           Corner{lejepa_training(1000), 100, 5e-4},
           Corner{lejepa_training(1000), 1000, 5e-7},
       }) {
    INFO("step " << step << " of " << options.steps);
    CHECK(options.validate().empty());
    CHECK(options.optimizer.lr * learning_rate_factor(options.schedule, step, options.steps) ==
          Approx(rate).epsilon(1e-9).margin(1e-15));
  }
  CHECK(ijepa_training(10).optimizer.weight_decay * ijepa_training(10).final_decay == Approx(0.4));
}

TEST_CASE("schedules have their corner values") {
  ScheduleOptions cosine{.warmup = 10};
  CHECK(learning_rate_factor(cosine, 0, 110) == 0.0);
  CHECK(learning_rate_factor(cosine, 5, 110) == Approx(0.5));
  CHECK(learning_rate_factor(cosine, 10, 110) == Approx(1.0));
  CHECK(learning_rate_factor(cosine, 60, 110) == Approx(0.5));
  CHECK(learning_rate_factor(cosine, 110, 110) == Approx(0.0).margin(1e-12));
  ScheduleOptions wsd{.kind = ScheduleKind::wsd, .warmup = 0, .decay_fraction = 0.5};
  CHECK(learning_rate_factor(wsd, 49, 100) == 1.0);
  CHECK(learning_rate_factor(wsd, 75, 100) == Approx(0.5));
  ScheduleOptions constant{.kind = ScheduleKind::constant, .warmup = 0};
  CHECK(learning_rate_factor(constant, 99, 100) == 1.0);
  CHECK_THROWS_AS(require_valid(ScheduleOptions{.warmup = -1}), Error);
}

}  // namespace foresight::train::optimizer_test
