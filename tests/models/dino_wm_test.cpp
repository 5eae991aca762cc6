// SPDX-License-Identifier: Apache-2.0
// DinoWm as a world model, its checkpoints and bundles, its rollout loss, and what it refuses.
#include "foresight/models/dino_wm.hpp"

#include <nlohmann/json.hpp>

#include "conformance.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"
#include "temporary_folder.hpp"

namespace foresight::dino_wm_test {

using nn::ActionConditioning;

namespace {

constexpr std::array kConditionings{ActionConditioning::feature, ActionConditioning::token,
                                    ActionConditioning::adaln};

std::vector<Tensor> tensors_of(const torch::nn::Module& module) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : nn::state_dict(module)) tensors.push_back(tensor);
  return tensors;
}

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) { return PhiloxNoise(seed).normal(shape); }

// A token of frame i / 4 sees those of its own and the earlier frame.
Tensor mask_of_two_frames_of_four() {
  auto mask = at::ones({1, 1, 8, 8});
  mask.narrow(2, 0, 4).narrow(3, 4, 4).zero_();
  return mask;
}

}  // namespace

TEST_CASE("DinoWm conforms with every conditioning and history, with and without proprioception",
          "[device]") {
  for (const auto conditioning : kConditionings) {
    for (const int64_t history : {1, 2, 3}) {
      for (const int64_t proprio : {0, 3}) {
        INFO(enum_name(conditioning) << ", history " << history << ", proprio " << proprio);
        const auto model = dino_wm_under_test(tiny_dino_wm_options(conditioning, history, proprio));
        Conformance suite{*model,
                          [proprio](int64_t batch, std::uint64_t seed) {
                            return dino_wm_observation(batch, seed, proprio);
                          },
                          1e-4, [&] { return tensors_of(*model); }};
        check_conformance(suite);
        model->to(at::kDouble);
        model->train();  // inference must not care
        suite.tolerance = 1e-11;
        check_conformance(suite);
      }
    }
  }
}

TEST_CASE("a goal needs pixels alone, and proprioception is compared by its own embedding") {
  const auto model = dino_wm_under_test(tiny_dino_wm_options(ActionConditioning::feature, 2, 3));
  PhiloxNoise noise(1);
  const auto seen = dino_wm_observation(2, 5, 3);
  const auto state = model->observe(model->initial(2), {}, seen, noise);
  CHECK(
      at::equal(model->encode(Observation(kPixels, seen.at(kPixels)), noise), state.at("latent")));
  const auto embedding = model->encode_proprio(seen.at(kProprio));
  CHECK(at::equal(state.at("proprio").squeeze(1), embedding));
  // (x - 0.5) / 2 through the linear layer.
  const auto tensors = nn::state_dict(*model);
  const auto of = [&](const std::string& name) {
    for (const auto& [key, tensor] : tensors)
      if (key == name) return tensor;
    return Tensor();
  };
  const auto expected = at::matmul((seen.at(kProprio) - 0.5) / 2.0,
                                   of("proprio_encoder.patch_embed.weight").squeeze(-1).t()) +
                        of("proprio_encoder.patch_embed.bias");
  CHECK(at::allclose(embedding, expected, 1e-5, 1e-6));
}

TEST_CASE("proprioception is normalised before it is rounded to the network's type") {
  auto options = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 3);
  options.proprio.mean.assign(3, 1000.0);  // bfloat16 has steps of 8 there, no 1003
  options.proprio.std.assign(3, 1.0);
  const auto model = dino_wm_under_test(options);
  const auto proprio = at::tensor({1001.0F, 999.5F, 1003.0F}).expand({2, 3});
  const auto exact = model->encode_proprio(proprio);
  model->to(at::kBFloat16);
  const auto narrow = model->encode_proprio(proprio);
  CHECK(narrow.scalar_type() == at::kBFloat16);
  CHECK(at::allclose(narrow.to(at::kFloat), exact, 0.02, 0.02));
}

TEST_CASE("the backbone is frozen: it gets no gradient, everything else does") {
  for (const auto conditioning : kConditionings) {
    INFO(enum_name(conditioning));
    const auto model = dino_wm_under_test(tiny_dino_wm_options(conditioning, 2, 3));
    const auto pixels = PhiloxNoise(4).integers(256, {2, 4, 16, 16, 3}).to(at::kByte);
    const auto terms = model->loss(pixels, normal({2, 4, 3}, 1), normal({2, 3, 4}, 2));
    terms.total().backward();
    for (const auto& parameter : model->named_parameters()) {
      INFO(parameter.key());
      const bool backbone = parameter.key().starts_with("encoder.");
      CHECK(parameter.value().requires_grad() != backbone);
      CHECK(parameter.value().grad().defined() != backbone);
    }
  }
}

TEST_CASE("clips longer than the window are learnt from in all windows they contain") {
  const auto model = dino_wm_under_test(tiny_dino_wm_options(ActionConditioning::feature, 2, 3));
  const auto features = normal({2, 5, 4, 6}, 1), proprio = normal({2, 5, 3}, 2);
  const auto blocks = normal({2, 4, 4}, 3);
  at::NoGradGuard no_grad;
  const auto whole = model->loss_of_features(features, proprio, blocks).total();
  auto sum = at::zeros({});
  for (int64_t start = 0; start < 3; ++start)
    sum = sum + model
                    ->loss_of_features(features.narrow(1, start, 3), proprio.narrow(1, start, 3),
                                       blocks.narrow(1, start, 2))
                    .total();
  CHECK(at::allclose(whole, sum / 3, 1e-5, 1e-6));
}

TEST_CASE("the rollout loss is that of imagined steps, without gradient through what is fed back") {
  auto options = tiny_dino_wm_options(ActionConditioning::feature, 2, 0);
  options.loss = {.prediction = 0.0, .rollout = 1.0, .rollout_steps = 3};
  const auto model = dino_wm_under_test(options);
  model->to(at::kDouble);
  const auto features = normal({2, 5, 4, 6}, 1).to(at::kDouble);
  const auto blocks = normal({2, 4, 4}, 2).to(at::kDouble);
  const auto terms = model->loss_of_features(features, {}, blocks);
  // One start with a full context of two frames; steps 2 and 3 count equally.
  PhiloxNoise noise(1);
  auto state = model->observe_features(model->initial(2), {}, features.select(1, 0), {});
  state = model->observe_features(state, blocks.select(1, 0), features.select(1, 1), {});
  const auto imagined =
      model->rollout(state, blocks.slice(1, 1).unsqueeze(1), noise).states.at("latent").squeeze(1);
  const auto error = (imagined.slice(1, 1) - features.slice(1, 3)).square();
  CHECK(at::allclose(terms.total(), error.mean(), 1e-9, 1e-12));
  // Each counted step's gradient is that of its own pass, with its inputs as constants.
  terms.total().backward();
  const auto bias = [&] {
    for (const auto& parameter : model->named_parameters())
      if (parameter.key() == "predictor.transformer.norm.bias") return parameter.value();
    return Tensor();
  }();
  const auto expected =
      2.0 * (imagined.slice(1, 1) - features.slice(1, 3)).sum(at::IntArrayRef{0, 1, 2}) /
      error.numel();
  CHECK(at::allclose(bias.grad().narrow(0, 0, 6), expected.detach(), 1e-9, 1e-12));
}

TEST_CASE("published names load: wrapped, PreJEPA's, with other parts and masks beside them") {
  const auto model = dino_wm_under_test(tiny_dino_wm_options(ActionConditioning::feature, 2, 3));
  const auto own = models::dino_wm_tensors(*model);
  for (const std::string wrapper : {"", "model.", "module."}) {
    io::NamedTensors published;
    for (auto [key, tensor] : own) {
      for (const std::string part : {"action", "proprio"})
        if (!wrapper.empty() && key.starts_with(part + "_encoder."))
          key = "extra_encoders." + part + key.substr(part.size() + 8);
      published.emplace_back(wrapper + key, tensor);
    }
    for (const auto* other : {"encoder.base_model.cls_token", "decoder.dec.0.weight"})
      published.emplace_back(wrapper + other, at::zeros({2}));
    const std::string mask = "predictor.transformer.layers.1.0.bias";
    published.emplace_back(wrapper + mask, mask_of_two_frames_of_four());
    models::DinoWm other(model->options(), 7);
    models::load_dino_wm(other, published, "checkpoint");
    const auto loaded = models::dino_wm_tensors(other);
    REQUIRE(loaded.size() == own.size());
    for (std::size_t i = 0; i < own.size(); ++i) CHECK(at::equal(loaded[i].second, own[i].second));
  }
  auto broken = own;
  broken.pop_back();
  broken.emplace_back("predictor.transformer.layers.1.0.bias.x", at::zeros({1}));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { models::load_dino_wm(*model, broken, "checkpoint"); },
      "checkpoint", own.back().first, "is unexpected"));
  auto other_mask = own;
  other_mask.emplace_back("predictor.transformer.layers.0.0.bias",
                          mask_of_two_frames_of_four().flip(3));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { models::load_dino_wm(*model, other_mask, "checkpoint"); },
      "checkpoint", "predictor.transformer.layers.0.0.bias", "their own and earlier frames"));
}

TEST_CASE("what PreJEPA cannot be is not written under its names") {
  const auto refused = [](ActionConditioning conditioning, auto... words) {
    const auto model = dino_wm_under_test(tiny_dino_wm_options(conditioning, 2, 3));
    return fails_with(
        ErrorCategory::unsupported,
        [&] { models::dino_wm_tensors(*model, models::DinoWmLayout::prejepa); }, words...);
  };
  CHECK(refused(ActionConditioning::feature, "repeated embeddings"));
  CHECK(refused(ActionConditioning::token, "as channels", "token"));
  CHECK(refused(ActionConditioning::adaln, "as channels", "adaln"));
}

TEST_CASE("a backbone loads alone, below the prefixes under which it is published") {
  const auto options = tiny_dino_wm_options(ActionConditioning::feature, 1, 0);
  const auto model = dino_wm_under_test(options);
  const auto own = nn::state_dict(model->encoder());
  for (const std::string prefix :
       {"", "encoder.base_model.", "encoder.", "backbone.", "model.backbone."}) {
    INFO("prefix '" << prefix << "'");
    io::NamedTensors published;
    for (const auto& [key, tensor] : own) published.emplace_back(prefix + key, tensor);
    if (!prefix.empty()) published.emplace_back("predictor.pos_embedding", at::zeros({1}));
    models::DinoWm other(options, 7);
    models::load_dino_wm_backbone(other, published, "backbone");
    const auto loaded = nn::state_dict(other.encoder());
    for (std::size_t i = 0; i < own.size(); ++i) CHECK(at::equal(loaded[i].second, own[i].second));
  }
}

TEST_CASE("a bundle gives back the same model, also through the registry of families") {
  const TemporaryFolder folder;
  for (const auto conditioning : kConditionings) {
    auto options = tiny_dino_wm_options(conditioning, 2, 3);
    options.action.std = {0.5, 2.0};
    const auto model = dino_wm_under_test(options);
    models::write_dino_wm(folder / "b", *model, models::dino_wm_bundle_config(*model));
    const auto bundle = io::read_bundle(folder / "b");
    const auto read = models::read_dino_wm(bundle);
    CHECK_FALSE(read->is_training());
    CHECK(read->options().action.std == options.action.std);
    CHECK(read->options().proprio.std == options.proprio.std);
    CHECK(read->options().predictor.conditioning == conditioning);
    const auto expected = nn::state_dict(*model), tensors = nn::state_dict(*read);
    REQUIRE(tensors.size() == expected.size());
    for (std::size_t i = 0; i < tensors.size(); ++i)
      CHECK(at::equal(tensors[i].second, expected[i].second));
    for (const auto& parameter : read->encoder().parameters())
      CHECK_FALSE(parameter.requires_grad());

    const auto any = models::read_world_model(folder / "b");
    CHECK(any.model->spec().family == "dino_wm");
    CHECK(any.module->named_parameters().size() == model->named_parameters().size());
    PhiloxNoise noise(1);
    const auto observation = dino_wm_observation(1, 3, 3);
    CHECK(at::equal(any.model->encode(observation, noise), model->encode(observation, noise)));
    CHECK(fails_with(
        ErrorCategory::unsupported, [&] { models::read_jepa(bundle); }, "'dino_wm'", "'jepa'"));
  }
}

TEST_CASE("a model for a loader to fill draws no weights") {
  // What a seed draws depends on it alone; what torch's own layers begin with, on its generator.
  const auto options = tiny_dino_wm_options(ActionConditioning::feature, 2, 0);
  const auto drawn = [&](std::optional<std::uint64_t> seed, std::uint64_t state) {
    at::manual_seed(state);
    return models::DinoWm(options, seed).named_parameters()["action_encoder.patch_embed.weight"];
  };
  CHECK(at::equal(drawn(1, 5), drawn(1, 6)));
  CHECK_FALSE(at::equal(drawn(std::nullopt, 5), drawn(std::nullopt, 6)));
  const models::DinoWm empty(options, std::nullopt);
  for (const auto& parameter : empty.encoder().parameters()) CHECK_FALSE(parameter.requires_grad());
}

TEST_CASE("the registry reads a Jepa, and names the families it knows to one it does not") {
  const TemporaryFolder folder;
  const auto model =
      jepa_under_test(tiny_jepa_options(models::EncoderKind::cnn, models::PredictorKind::mlp, 1));
  models::write_jepa(folder / "a", *model, models::jepa_bundle_config(*model));
  CHECK(models::read_world_model(folder / "a").model->spec().family == "jepa");
  auto config = models::jepa_bundle_config(*model);
  config.family = "crystal_ball";
  io::write_bundle(folder / "b", config, nn::state_dict(*model));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::read_world_model(folder / "b"); }, "'crystal_ball'",
      "jepa", "dino_wm"));
}

TEST_CASE("options that contradict each other are named") {
  const auto problems = [](auto&& change) {
    auto options = models::DinoWmOptions::dino_wm();
    change(options);
    std::string all;
    for (const auto& line : options.validate()) all += line + "\n";
    return all;
  };
  using models::DinoWmOptions;
  const auto has = [](const std::string& text, const char* word) {
    return text.find(word) != std::string::npos;
  };
  CHECK(problems([](DinoWmOptions&) {}).empty());
  CHECK(DinoWmOptions::prejepa().validate().empty());
  CHECK(DinoWmOptions::prejepa().patches() == 256);
  CHECK(DinoWmOptions::dino_wm().patches() == 196);
  CHECK(DinoWmOptions::adaln().validate().empty());
  CHECK(
      has(problems([](DinoWmOptions& o) { o.predictor.conditioning = ActionConditioning::token; }),
          "action_width = 10 must equal the backbone's width = 384"));
  CHECK(has(problems([](DinoWmOptions& o) { o.image.resize = models::ResizeRule::shorter_edge; }),
            "image.resize = 'shorter_edge'"));
  CHECK(has(problems([](DinoWmOptions& o) { o.proprio.std = {1.0}; }), "ProprioOptions.std"));
  CHECK(has(problems([](DinoWmOptions& o) { o.image.size = 8; }), "image.size = 8"));
  CHECK(has(problems([](DinoWmOptions& o) { o.loss.prediction = 0; }), "prediction"));
  CHECK(has(problems([](DinoWmOptions& o) {
              o.predictor.conditioning = ActionConditioning::adaln;
              o.action_repeat = 2;
            }),
            "action_repeat = 2"));
}

TEST_CASE("clips and pictures that do not fit are named") {
  const auto model = dino_wm_under_test(tiny_dino_wm_options(ActionConditioning::feature, 2, 3));
  using enum ErrorCategory;
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->loss_of_features(normal({1, 1, 4, 6}, 1), normal({1, 1, 3}, 1), {});
      },
      "T = 1", "more than 1"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->loss_of_features(normal({1, 3, 4, 6}, 1), normal({1, 3, 2}, 1),
                                normal({1, 2, 4}, 1));
      },
      "proprio", "[1, 3, 2]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->encode_images(at::zeros({1, 3, 24, 16}));
      },
      "6 patches", "expected 4"));
  const auto blind = dino_wm_under_test(tiny_dino_wm_options(ActionConditioning::feature, 2, 0));
  CHECK(fails_with(
      unsupported,
      [&] {
        blind->encode_proprio(normal({1, 3}, 1));
      },
      "no proprioception"));
}

TEST_CASE("cropping takes the centre of a picture scaled to cover the frame") {
  // Columns of one colour each: the middle ones are kept.
  auto pixels = at::zeros({1, 4, 8, 3}, at::kByte);
  for (int64_t x = 0; x < 8; ++x) pixels.select(2, x).fill_(x);
  const models::ImageOptions options{.size = 4,
                                     .scale = 1.0,
                                     .mean = {0, 0, 0},
                                     .std = {1, 1, 1},
                                     .resize = models::ResizeRule::crop};
  const auto square = models::preprocess_images(pixels, options, at::kFloat);
  CHECK(square.sizes() == at::IntArrayRef({1, 3, 4, 4}));
  CHECK(at::equal(square[0][0][0], at::arange(2, 6, at::kFloat)));
  auto wide = options;
  wide.width = 6;
  CHECK(at::equal(models::preprocess_images(pixels, wide, at::kFloat)[0][0][0],
                  at::arange(1, 7, at::kFloat)));
  wide.resize = models::ResizeRule::stretch;
  CHECK(models::preprocess_images(pixels, wide, at::kFloat).sizes() ==
        at::IntArrayRef({1, 3, 4, 6}));
  wide.resize = models::ResizeRule::shorter_edge;
  CHECK_FALSE(wide.validate().empty());
}

}  // namespace foresight::dino_wm_test
