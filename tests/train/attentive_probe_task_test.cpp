// SPDX-License-Identifier: Apache-2.0
// Training an attentive probe: one step is the one written by hand, it learns what a mean of tokens
// does not tell, and targets that nobody could learn are refused.
#include "foresight/train/attentive_probe_task.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"
#include "first_step.hpp"
#include "foresight/eval/probe.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::attentive_probe_task_test {
namespace {

constexpr int64_t kSide = 4, kTokenWidth = 12;

// Pictures of 16 pixels, each a token: red marks one of them, green is a number at each. What is to
// be read is the green of the marked one: [E,R,2], the number in [0,1] and whether it is large.
TensorRecordings marked_pixels() {
  constexpr int64_t kEpisodes = 12, kRows = 60, kPixels = kSide * kSide;
  PhiloxNoise noise(5);
  const auto green = noise.uniform({kEpisodes, kRows, kPixels}, at::kDouble);
  const auto place =
      (noise.uniform({kEpisodes, kRows, 1}, at::kDouble) * kPixels).to(at::kLong).clamp_max(15);
  const auto marked = at::zeros_like(green).scatter(2, place, 1.0);
  const auto pictures = at::stack({marked, green, at::full_like(green, 0.5)}, 3) * 255;
  const auto value = (green * marked).sum(2);
  return {"marked pixels", pictures.to(at::kByte).view({kEpisodes, kRows, kSide, kSide, 3}),
          at::zeros({kEpisodes, kRows, 1}, at::kDouble),
          at::stack({value, (value > 0.5).to(at::kDouble)}, 2)};
}

TensorRecordings with_states(const Tensor& states) {
  auto recordings = marked_pixels();
  recordings.states = states;
  return recordings;
}

// Clips [B,T,H,W,3] -> tokens [B,T*H*W,12]: colours by a fixed matrix.
Tensor pixel_tokens(const Tensor& clips) {
  PhiloxNoise noise(6);
  const auto colours = clips.to(at::kFloat).flatten(1, 3) / 127.5 - 1;
  return at::matmul(colours, noise.normal({3, kTokenWidth}));
}

models::AttentiveProbeOptions probe_options(int64_t classes, int64_t self_attention = 0) {
  models::AttentiveProbeOptions options;
  options.reading = classes > 0 ? models::ProbeReading::classes : models::ProbeReading::values;
  options.outputs = std::max<int64_t>(classes, 1);
  options.pooler = {.self_attention = self_attention, .heads = 2};
  return options;
}

std::shared_ptr<models::AttentiveProbe> new_probe(const models::AttentiveProbeOptions& options) {
  return std::make_shared<models::AttentiveProbe>(kTokenWidth, options, 1);
}

ProbeTargetOptions green_of_marked() {
  return {.columns = 1, .mean = {0.5}, .std = {std::sqrt(1.0 / 12)}};
}

TaskData pixel_windows(const TensorRecordings& recordings, int64_t frames = 1) {
  return {.training = windows_of(recordings, frames, 32, {}, {0, 1, 2, 3, 4, 5, 6, 7, 8}),
          .validation = windows_of(recordings, frames, 60, {}, {9, 10, 11}),
          .validation_batches = 3};
}

// All held-out tokens and their states.
std::pair<Tensor, Tensor> held_out(const TensorRecordings& recordings) {
  const auto rows = [](const Tensor& of) { return of.slice(0, 9).flatten(0, 1); };
  return {pixel_tokens(rows(recordings.frames).unsqueeze(1)), rows(recordings.states)};
}

// The pooler and the last layer, from their definition: heads one by one, softmax spelled out.
Tensor read_by_hand(const models::AttentiveProbe& probe, const Tensor& tokens, int64_t heads,
                    double epsilon) {
  const auto p = probe.named_parameters();
  const std::string block = "pooler.cross_attention_block.";
  const auto linear = [&](const std::string& name, const Tensor& x) {
    return at::matmul(x, p[name + ".weight"].t()) + p[name + ".bias"];
  };
  const auto norm = [&](const std::string& name, const Tensor& x) {
    const auto centred = x - x.mean(-1, true);
    return centred / (centred.square().mean(-1, true) + epsilon).sqrt() * p[name + ".weight"] +
           p[name + ".bias"];
  };
  const auto width = tokens.size(2), of_head = width / heads;
  const auto query = p["pooler.query_tokens"].expand({tokens.size(0), 1, width});
  const auto q = linear(block + "xattn.q", query);
  const auto kv = linear(block + "xattn.kv", norm(block + "norm1", tokens));
  std::vector<Tensor> read;
  for (int64_t h = 0; h < heads; ++h) {
    const auto keys = kv.narrow(2, h * of_head, of_head);
    const auto values = kv.narrow(2, width + h * of_head, of_head);
    const auto scores = at::matmul(q.narrow(2, h * of_head, of_head), keys.transpose(1, 2)) /
                        std::sqrt(static_cast<double>(of_head));
    const auto weights = (scores - scores.amax(2, true)).exp();
    read.push_back(at::matmul(weights / weights.sum(2, true), values));
  }
  const auto pooled = query + at::cat(read, 2);
  const auto inner = linear(block + "mlp.fc1", norm(block + "norm2", pooled));
  const auto gelu = inner * (1 + at::erf(inner / std::sqrt(2.0))) / 2;
  return linear("linear", (pooled + linear(block + "mlp.fc2", gelu)).select(1, 0));
}

}  // namespace

TEST_CASE("one step of a probe is the one written by hand, in double precision") {
  const auto recordings = marked_pixels();
  for (const int64_t classes : {0, 2}) {
    INFO(classes << " classes");
    auto options = probe_options(classes);
    options.pooler.norm_epsilon = 1e-3;
    const auto probe = new_probe(options);
    probe->to(at::kDouble);
    auto labelled = recordings;
    if (classes > 0) labelled.states = recordings.states.narrow(2, 1, 1);
    const auto target = classes > 0 ? ProbeTargetOptions{.classes = classes} : green_of_marked();
    AttentiveProbeTask task(probe, pixel_tokens, pixel_windows(labelled), target);
    const auto batch = pixel_windows(labelled).training->next();
    check_first_step(
        task,
        [&] {
          const auto tokens = pixel_tokens(batch->pixels).to(at::kDouble);
          const auto read = read_by_hand(*probe, tokens, 2, 1e-3);
          const auto told = batch->states.select(1, -1).to(at::kDouble);
          if (classes == 0)
            return ((read - (told.narrow(1, 0, 1) - 0.5) * std::sqrt(12.0)).square()).mean();
          const auto chosen = read.gather(1, told.narrow(1, 0, 1).to(at::kLong)).squeeze(1);
          return (read.exp().sum(1).log() - chosen).mean();
        },
        1e-9);
  }
}

TEST_CASE("a probe reads the value of a marked token, which the mean of tokens hardly tells") {
  const auto recordings = marked_pixels();
  const auto probe = new_probe(probe_options(0));
  AttentiveProbeTask task(probe, pixel_tokens, pixel_windows(recordings), green_of_marked());
  const auto before = task.validate().at("squared_error").value.item<double>();
  CHECK(before == Approx(1.0).epsilon(0.3));  // of a probe that knows nothing
  REQUIRE(brief_training(task, 500, 3e-3).outcome == Outcome::finished);
  const auto after = task.validate().at("squared_error").value.item<double>();
  CHECK(after < 0.1);

  // The best linear probe of the mean token.
  const auto rows = recordings.frames.narrow(0, 0, 9).flatten(0, 1).unsqueeze(1);
  const auto linear = eval::fit_linear_probe(
      pixel_tokens(rows).mean(1), recordings.states.narrow(0, 0, 9).flatten(0, 1).narrow(1, 0, 1),
      {}, 1e-3);
  const auto [tokens, states] = held_out(recordings);
  const auto report = eval::evaluate_probe(linear, tokens.mean(1), states.narrow(1, 0, 1));
  CHECK(report.columns[0].r2 < 0.3);
  c10::NoGradGuard no_grad;
  const auto own = eval::evaluate_predictions(probe->forward(tokens) * std::sqrt(1.0 / 12) + 0.5,
                                              states.narrow(1, 0, 1));
  CHECK(own.columns[0].r2 > 0.9);
}

TEST_CASE("a probe of classes beats chance by far on held-out clips, with blocks before it too") {
  auto recordings = marked_pixels();
  recordings.states = recordings.states.narrow(2, 1, 1);
  for (const int64_t self_attention : {0, 1}) {
    INFO(self_attention << " blocks before the reading");
    AttentiveProbeTask task(new_probe(probe_options(2, self_attention)), pixel_tokens,
                            pixel_windows(recordings), {.classes = 2});
    CHECK(task.validate().at("cross_entropy").value.item<double>() ==
          Approx(std::log(2.0)).epsilon(0.2));
    REQUIRE(brief_training(task, 400, 3e-3).outcome == Outcome::finished);
    const auto terms = task.validate();
    CHECK(terms.at("accuracy").value.item<double>() > 0.9);
    CHECK(terms.total().item<double>() == terms.at("cross_entropy").value.item<double>());
  }
}

TEST_CASE("tokens of a clip are computed once, and training is the same without the cache") {
  const auto recordings = marked_pixels();
  const auto trained = [&](int64_t budget_mb, int64_t& encoded) {
    const auto encode = [&encoded](const Tensor& clips) {
      encoded += clips.size(0);
      return pixel_tokens(clips);
    };
    const auto cache = std::make_shared<FeatureCache>(encode, at::kCPU, 1,
                                                      FeatureCacheOptions{.budget_mb = budget_mb});
    const auto probe = new_probe(probe_options(0));
    AttentiveProbeTask task(probe, encode, pixel_windows(recordings, /*frames=*/2),
                            green_of_marked(), cache);
    CHECK(brief_training(task, 60, 1e-3).outcome == Outcome::finished);
    return probe->named_parameters()["linear.weight"];
  };
  int64_t with = 0, without = 0;
  const auto cached = trained(100, with), plain = trained(0, without);
  CHECK(at::equal(cached, plain));
  CHECK(with <= 12 * 59);     // windows that there are
  CHECK(without >= 60 * 32);  // and the validation at the end
  CHECK_THROWS_WITH(
      AttentiveProbeTask(
          new_probe(probe_options(0)), pixel_tokens,
          {.training = windows_of(recordings, 1, 32), .augmentation = {.brightness = 0.5}},
          green_of_marked(), std::make_shared<FeatureCache>(pixel_tokens, at::kCPU, 1)),
      Catch::Contains("FeatureCache"));
}

TEST_CASE("the target of a clip is its last frame's") {
  auto recordings = marked_pixels();
  recordings.states = at::arange(60, at::kDouble).view({1, 60, 1}).expand({12, 60, 1}).clone();
  const auto probe = new_probe(probe_options(0));
  probe->transform_outputs({0}, {3});  // always 3
  AttentiveProbeTask task(probe, pixel_tokens,
                          {.training = windows_of(recordings, 4, 32),
                           .validation = windows_of(recordings, 4, 57, {}, {0})},
                          {.columns = 1});
  double expected = 0;
  for (int last = 3; last < 60; ++last) expected += (3.0 - last) * (3.0 - last) / 57;
  CHECK(task.validate().at("squared_error").value.item<double>() == Approx(expected).epsilon(1e-5));
}

TEST_CASE("targets that cannot be learned are named, before anything is computed") {
  const auto states = marked_pixels().states;
  int64_t encoded = 0;
  const auto loss_of = [&](const Tensor& told, const ProbeTargetOptions& target) {
    const auto recordings = with_states(told);
    encoded = 0;
    const auto encode = [&](const Tensor& clips) {
      ++encoded;
      return pixel_tokens(clips);
    };
    AttentiveProbeTask task(new_probe(probe_options(target.classes)), encode,
                            {.training = windows_of(recordings, 1, 720)}, target);
    return task.loss().total().item<double>();
  };
  const auto spoiled = [&](int64_t column, double value) {
    auto told = states.clone();
    told[2][7][column] = value;
    return column == 1 ? told.narrow(2, 1, 1) : told;
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto refused = [&](const Tensor& told, const ProbeTargetOptions& target, auto... words) {
    const TensorDataset dataset(with_states(told));
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { check_probe_target(dataset, target, 0); }, "e2, row 7",
        words...));
    CHECK_FALSE(
        fails_with(ErrorCategory::bad_file, [&] { check_probe_target(dataset, target, 8); }));
    const bool threw = fails_with(
        ErrorCategory::bad_file, [&] { loss_of(told, target); }, "AttentiveProbeTask", words...);
    CHECK(encoded == 0);
    return threw;
  };
  CHECK(refused(spoiled(1, 2), {.classes = 2}, "class number 2 is outside 0..1"));
  CHECK(refused(spoiled(1, -1), {.classes = 2}, "class number -1"));
  CHECK(refused(spoiled(1, 0.5), {.classes = 2}, "class number 0.5"));
  CHECK(refused(spoiled(1, kNan), {.classes = 2}, "class number nan"));
  CHECK(refused(spoiled(0, kNan), {.columns = 1}, "not finite"));
  CHECK(refused(spoiled(0, HUGE_VAL), {.columns = 1}, "not finite"));
  CHECK(std::isfinite(loss_of(states, {.columns = 1})));
  CHECK(encoded == 1);

  const TensorDataset dataset(marked_pixels());
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { check_probe_target(dataset, {.columns = 3}, 0); },
      "marked pixels", "state_0, state_1", "--states"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { loss_of(Tensor(), {.columns = 1}); },
      "0 state columns"));
}

TEST_CASE("a probe that does not give what is asked for, or reads other tokens, is refused") {
  const auto make = [](const models::AttentiveProbeOptions& options,
                       const ProbeTargetOptions& target) {
    return AttentiveProbeTask(new_probe(options), pixel_tokens, pixel_windows(marked_pixels()),
                              target);
  };
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { make(probe_options(2), {.classes = 3}); }, "2 classes",
      "3 classes"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { make(probe_options(0), {.classes = 1}); },
      "1 values"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make(probe_options(2), {.classes = 2, .columns = 1}); },
      "classes"));
  AttentiveProbeTask wide(new_probe(probe_options(0)),
                          [](const Tensor& clips) {
                            return at::zeros({clips.size(0), 4, kTokenWidth + 1});
                          },
                          pixel_windows(marked_pixels()), {.columns = 1});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { wide.loss(); }, "tokens", "12"));
}

}  // namespace foresight::train::attentive_probe_task_test
