// SPDX-License-Identifier: Apache-2.0
// EbJepa as a world model, its loss, its bundles and checkpoints.
#include "conformance.hpp"
#include "error_message.hpp"
#include "foresight/losses/latent_regulariser.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"
#include "foresight/models/eb_jepa_video.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/state_dict.hpp"
#include "temporary_folder.hpp"
#include "test_device.hpp"

namespace foresight::eb_jepa_test {
namespace {

models::EbJepaOptions tiny_eb_jepa() {
  models::EbJepaOptions options;
  options.image_size = 13;
  options.encoder.channels = {3, 4};
  options.encoder.blocks = 1;
  options.encoder.width = 6;
  options.inverse_dynamics_hidden = 5;
  options.projector = {8, 7};
  options.predicted_steps = 3;
  return options;
}

// Planes of bytes [batch...,2,S,S] as a room has them: mostly empty.
Tensor planes(std::vector<int64_t> batch, int64_t side, std::uint64_t seed) {
  batch.insert(batch.end(), {2, side, side});
  return PhiloxNoise(seed).uniform(batch).pow(4).mul(256).floor().to(at::kByte);
}

Observation room(int64_t batch, std::uint64_t seed) {
  return Observation(kPixels, planes({batch}, 13, seed));
}

std::vector<Tensor> all_tensors(const torch::nn::Module& module) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : nn::state_dict(module)) tensors.push_back(tensor);
  return tensors;
}

}  // namespace

TEST_CASE("EbJepa conforms with and without norms, in float64 to rounding", "[device]") {
  for (const auto norm : {nn::NormKind::layer, nn::NormKind::none}) {
    INFO("final norm " << enum_name(norm));
    auto options = tiny_eb_jepa();
    options.encoder.final_norm = norm;
    models::EbJepa model(options, 3);
    model.train();  // inference must not care
    if (norm == nn::NormKind::layer) {
      // With equal weights every latent has one length, and the suite's square no gradient.
      at::NoGradGuard no_grad;
      const auto weight = model.encoder().final_norm()->weight;
      weight.copy_(PhiloxNoise(8).uniform(weight.sizes()) + 0.5);
    }
    model.to(test_device());
    const Conformance suite{model, room, 2e-5, [&] { return all_tensors(model); }};
    check_conformance(suite);
    model.to(at::kDouble);
    auto exact = suite;
    exact.tolerance = 1e-12;
    check_conformance(exact);
  }
}

TEST_CASE("the published model has the published numbers of parameters") {
  const models::EbJepa model(models::EbJepaOptions::two_rooms());
  CHECK(nn::parameter_count(model.encoder()) == 1426096);
  CHECK(nn::parameter_count(model.predictor()) == 792576);
  CHECK(nn::parameter_count(model) == 1426096 + 792576 + 328706);
  CHECK(nn::parameter_count(models::PositionProbe({})) == 263682);
  CHECK(nn::parameter_count(models::EbJepa(models::EbJepaOptions::small())) < 500000);
}

TEST_CASE("every plane of a picture is scaled by its own range, then normalised") {
  auto options = tiny_eb_jepa();
  options.image_size = 2;
  options.encoder.channels = {1};
  options.image_mean = {0.5, 0.25};
  options.image_std = {0.5, 2.0};
  models::EbJepa model(options);
  model.to(at::kDouble);
  const auto bytes = at::tensor({10, 20, 30, 110, 0, 0, 0, 0}, at::kByte).view({2, 2, 2});
  const auto images = model.preprocess(bytes);
  const auto expected = (at::tensor({0.0, 0.1, 0.2, 1.0}, at::kDouble) - 0.5) / 0.5;
  CHECK(at::allclose(images[0].flatten(), expected, 0, 1e-5));
  INFO("a plane without contrast is 0 before normalising");
  CHECK(at::allclose(images[1].flatten(), at::full({4}, -0.125, at::kDouble), 0, 1e-6));
}

TEST_CASE("the latents of a rollout are those that the loss compares") {
  models::EbJepa model(tiny_eb_jepa(), 3);
  model.to(at::kDouble);
  const auto clips = planes({4, 5}, 13, 1);
  const auto blocks = PhiloxNoise(2).normal({4, 4, 2}, at::kDouble);
  const auto latents = model.encode_images(model.preprocess(clips));
  PhiloxNoise noise(1);
  const auto imagined = model
                            .rollout(model.observe_latent(latents.narrow(1, 0, 1)),
                                     blocks.narrow(1, 0, 3).unsqueeze(1), noise)
                            .states.at("latent")
                            .squeeze(3)
                            .squeeze(1);
  const auto expected = (imagined - latents.narrow(1, 1, 3)).square().mean();
  const auto terms = model.loss(clips, blocks);
  CHECK(terms.at("prediction").value.item<double>() == Approx(expected.item<double>()));
  double total = 0;
  for (const auto& term : terms.terms()) total += term.weight * term.value.item<double>();
  CHECK(terms.total().item<double>() == Approx(total));
  CHECK(model.infer_actions(latents).sizes() == at::IntArrayRef({4, 4, 2}));
}

TEST_CASE(
    "under bfloat16 autocast latents may be float32, and actions to be inferred are not rounded") {
  auto options = tiny_eb_jepa();
  options.regulariser.inverse_dynamics_view = losses::LatentView::direct;
  const models::EbJepa model(options, 3);
  const auto blocks = PhiloxNoise(2).normal({4, 4, 2});
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    INFO("latents of " << c10::toString(type));
    const auto latents = PhiloxNoise(3).normal({4, 5, 6}).to(type).requires_grad_();
    losses::Terms terms;
    Tensor inferred;
    {
      const nn::Autocast autocast(at::kCPU, true);
      terms = model.loss_of_latents(latents, blocks);
      inferred = model.infer_actions(latents);
    }
    const auto expected = (inferred.to(at::kDouble) - blocks).square().mean().item<double>();
    CHECK(terms.at("inverse_dynamics").value.item<double>() == Approx(expected).epsilon(1e-5));
    terms.total().backward();
    CHECK(latents.grad().isfinite().all().item<bool>());
  }
}

TEST_CASE("gradients of the loss reach everything, through the targets too") {
  models::EbJepa model(tiny_eb_jepa(), 3);
  model.train();
  const auto blocks = PhiloxNoise(2).normal({4, 4, 2});
  model.loss(planes({4, 5}, 13, 1), blocks).total().backward();
  for (const auto& item : model.named_parameters()) {
    INFO(item.key());
    REQUIRE(item.value().grad().defined());
    CHECK(item.value().grad().abs().sum().item<double>() > 0);
  }
  auto latents = PhiloxNoise(3).normal({4, 5, 6}).requires_grad_();
  model.loss_of_latents(latents, blocks).at("prediction").value.backward();
  CHECK(latents.grad().narrow(1, 1, 3).abs().sum().item<double>() > 0);
}

TEST_CASE("the shared norm is one parameter, in both clipping groups, and moves as one") {
  models::EbJepa model(tiny_eb_jepa(), 3);
  const auto groups = model.clipping_groups();
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].size() == model.encoder().parameters().size());
  CHECK(groups[1].size() == 6);
  const auto bias = model.named_parameters()["encoder.final_ln.bias"];
  CHECK(groups[1].back().is_same(bias));
  const auto latents = at::randn({2, 1, 6}), blocks = at::randn({2, 1, 2});
  const auto before = model.predict(latents, blocks);
  {
    at::NoGradGuard no_grad;
    bias.add_(1.0);
  }
  CHECK(at::allclose(model.predict(latents, blocks), before + 1.0, 1e-5, 1e-5));
  model.to(at::kDouble);  // and stays shared
  const auto twin = model.copy();
  {
    at::NoGradGuard no_grad;
    twin->named_parameters()["encoder.final_ln.bias"].add_(1.0);
  }
  const auto moved = twin->predict(latents.to(at::kDouble), blocks.to(at::kDouble));
  CHECK(at::allclose(moved, before.to(at::kDouble) + 2.0, 1e-5, 1e-5));
}

TEST_CASE("a bundle gives back the same model and probe, also without its family's name") {
  const TemporaryFolder folder;
  models::EbJepa model(tiny_eb_jepa(), 3);
  const models::PositionProbe probe({.latent = 6, .hidden = 4}, 5);
  auto config = models::eb_jepa_bundle_config(model);
  config.provenance["steps"] = 7;
  models::write_eb_jepa(folder / "bundle", model, config, &probe);

  const auto loaded = models::read_world_model(folder / "bundle");
  CHECK(loaded.model->spec().family == models::kEbJepaFamily);
  CHECK_FALSE(loaded.module->is_training());
  PhiloxNoise noise(1);
  const auto observation = room(2, 1);
  CHECK(at::equal(loaded.model->encode(observation, noise), model.encode(observation, noise)));
  const auto bundle = io::read_bundle(folder / "bundle");
  const auto read = models::read_eb_jepa(bundle);
  CHECK(read->options().projector == model.options().projector);
  CHECK(bundle.config.provenance.at("steps") == 7);
  const auto read_probe = models::read_position_probe(bundle);
  REQUIRE(read_probe != nullptr);
  const auto z = at::randn({3, 6});
  CHECK(at::equal(read_probe->positions(z), probe.positions(z)));

  models::write_eb_jepa(folder / "bare", model, models::eb_jepa_bundle_config(model));
  CHECK(models::read_position_probe(io::read_bundle(folder / "bare")) == nullptr);
  config.family = "jepa";
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { models::write_eb_jepa(folder / "other", model, config); }, "'jepa'", "'eb_jepa'"));
}

TEST_CASE("a bundle of several frames of history is refused") {
  const TemporaryFolder folder;
  const models::EbJepa model(tiny_eb_jepa(), 3);
  auto config = models::eb_jepa_bundle_config(model);
  config.history = 2;
  models::write_eb_jepa(folder / "bundle", model, config);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { models::read_eb_jepa(io::read_bundle(folder / "bundle")); }, "history = 2"));
}

TEST_CASE("a checkpoint of a compiled model loads; its sizes are read from shapes") {
  auto options = tiny_eb_jepa();
  options.regulariser.inverse_dynamics_view = losses::LatentView::projected;
  options.encoder.blocks = 2;
  const models::EbJepa model(options, 3);
  io::NamedTensors compiled;
  for (const auto& [key, tensor] : models::eb_jepa_tensors(model)) {
    const bool nested = key.starts_with("encoder.");
    compiled.emplace_back(
        nested ? "_orig_mod.encoder._orig_mod." + key.substr(8) : "_orig_mod." + key, tensor);
  }
  models::EbJepaOptions base;
  base.image_size = 13;
  const auto read = models::eb_jepa_options(compiled, base, "file.pt");
  CHECK(read.encoder.channels == options.encoder.channels);
  CHECK(read.encoder.blocks == 2);
  CHECK(read.encoder.width == 6);
  CHECK(read.inverse_dynamics_hidden == 5);
  CHECK(read.projector == options.projector);
  CHECK(read.regulariser.inverse_dynamics_view == losses::LatentView::projected);
  models::EbJepa twin(read, 4);
  models::load_eb_jepa(twin, compiled, "file.pt");
  const auto expected = all_tensors(model), tensors = all_tensors(twin);
  REQUIRE(tensors.size() == expected.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) CHECK(at::equal(tensors[i], expected[i]));
}

TEST_CASE("a file that claims a larger EB-JEPA than it holds is refused before that is made") {
  const auto whole = models::eb_jepa_tensors(models::EbJepa(tiny_eb_jepa(), 3));
  models::EbJepaOptions base;
  base.image_size = 13;
  const auto refused = [&](const std::string& name, at::IntArrayRef shape, const char* words) {
    auto tensors = whole;
    bool found = false;
    for (auto& [key, tensor] : tensors)
      if (key == name) tensor = at::zeros(shape), found = true;
    INFO(name);
    REQUIRE(found);
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { models::eb_jepa_options(tensors, base, "file.pt"); },
        "file.pt", name, words));
  };
  REQUIRE_NOTHROW(models::eb_jepa_options(whole, base, "file.pt"));
  refused("encoder.mlp.weight", {32768, 0}, "has shape [32768, 0]");
  refused("encoder.mlp.weight", {0, 16}, "is empty");
  refused("encoder.mlp.weight", {32768, 1}, "as the other tensors and the options have it");
  refused("encoder.stack_blocks.0.initial_conv.weight", {32768, 2, 1, 1}, "has shape");
  refused("encoder.stack_blocks.0.blocks.0.conv2.weight", {32768, 1, 3, 3}, "has shape");
  refused("predictor.rnn.weight_hh_l0", {18, 1}, "has shape");
  refused("regularizer.projector.net.0.weight", {32768, 1}, "has shape");
  refused("regularizer.idm_loss_fn.idm.model.0.weight", {32768, 1}, "has shape");
  base.image_size = 29;  // not the size of its pictures
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { models::eb_jepa_options(whole, base, "file.pt"); },
      "encoder.mlp.weight", "expected [6, "));
}

TEST_CASE("all that does not fit an EB-JEPA is told at once, with the nearest names") {
  auto tensors = models::eb_jepa_tensors(models::EbJepa(tiny_eb_jepa(), 3));
  std::erase_if(tensors, [](const auto& item) { return item.first == "encoder.mlp.bias"; });
  for (auto& [key, tensor] : tensors) {
    if (key == "predictor.rnn.bias_hh_l0") key = "predictor.rnn.bias_hh_10";
    if (key == "predictor.rnn.weight_hh_l0") tensor = at::zeros({18, 1});
  }
  tensors.emplace_back("extra.weight", at::zeros(2));
  models::EbJepaOptions base;
  base.image_size = 13;
  const auto read = [&] { models::eb_jepa_options(tensors, base, "file.pt"); };
  INFO(error_message(ErrorCategory::bad_file, read));
  CHECK(fails_with(ErrorCategory::bad_file, read, "file.pt",
                   "'predictor.rnn.weight_hh_l0' has shape [18, 1], expected",
                   "'encoder.mlp.bias' is missing", "is it 'predictor.rnn.bias_hh_10'?",
                   "'extra.weight' is unexpected"));
}

TEST_CASE("what the inverse-dynamics head reads is asked for where no shape tells it") {
  using losses::LatentView;
  auto options = tiny_eb_jepa();
  options.projector = {8, options.encoder.width};
  const auto tensors = models::eb_jepa_tensors(models::EbJepa(options, 3));
  models::EbJepaOptions base;
  base.image_size = 13;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { models::eb_jepa_options(tensors, base, "file.pt"); },
      "file.pt", "both 6 wide", "--regulariser.inverse_dynamics_view"));
  for (const auto view : {LatentView::direct, LatentView::projected})
    CHECK(
        models::eb_jepa_options(tensors, base, "file.pt", view).regulariser.inverse_dynamics_view ==
        view);
  options.inverse_dynamics_hidden = 0;  // nothing reads them
  options.regulariser.inverse_dynamics = 0;
  const auto headless = models::eb_jepa_tensors(models::EbJepa(options, 3));
  CHECK(models::eb_jepa_options(headless, base, "file.pt").projector == options.projector);
}

TEST_CASE("checkpoints that contradict themselves or lack a part are refused, nothing is changed") {
  using enum ErrorCategory;
  const models::EbJepa source(tiny_eb_jepa(), 3);
  models::EbJepa model(tiny_eb_jepa(), 4);
  const auto before = model.named_parameters()["encoder.mlp.weight"].clone();
  auto tensors = models::eb_jepa_tensors(source);
  for (auto& [key, tensor] : tensors)
    if (key == "predictor.final_ln.bias") tensor = tensor + 1;
  CHECK(fails_with(
      bad_file, [&] { models::load_eb_jepa(model, tensors, "file.pt"); }, "file.pt",
      "predictor.final_ln.bias", "differ"));
  auto narrowed = models::eb_jepa_tensors(source);
  for (auto& [key, tensor] : narrowed)
    if (key == "predictor.final_ln.bias") tensor = tensor.to(at::kBFloat16);
  CHECK(fails_with(
      bad_file, [&] { models::load_eb_jepa(model, narrowed, "file.pt"); },
      "predictor.final_ln.bias", "differ"));
  auto missing = models::eb_jepa_tensors(source);
  std::erase_if(missing, [](const auto& item) { return item.first == "encoder.mlp.weight"; });
  CHECK(fails_with(
      bad_file, [&] { models::load_eb_jepa(model, missing, "file.pt"); }, "encoder.mlp.weight"));
  CHECK(fails_with(
      bad_file, [&] { models::eb_jepa_options(missing, {}, "file.pt"); }, "encoder.mlp.weight"));
  CHECK(fails_with(
      bad_file, [&] { models::eb_jepa_options({}, {}, "file.pt"); }, "stack_blocks.0"));
  CHECK(at::equal(model.named_parameters()["encoder.mlp.weight"], before));
}

TEST_CASE("wrong options, pictures and clips are named") {
  using enum ErrorCategory;
  const auto refused = [](auto&& change, const char* word) {
    auto options = tiny_eb_jepa();
    change(options);
    return fails_with(
        invalid_option, [&] { models::EbJepa{options}; }, word);
  };
  CHECK(refused([](auto& o) { o.image_std = {1.0}; }, "image_std"));
  CHECK(refused([](auto& o) { o.image_std = {1.0, 0.0}; }, "image_std"));
  CHECK(refused([](auto& o) { o.prediction = 0; }, "prediction"));
  CHECK(refused([](auto& o) { o.inverse_dynamics_hidden = 0; }, "inverse_dynamics_hidden"));
  CHECK(refused([](auto& o) { o.regulariser.cov = -1; }, "cov"));
  const models::EbJepa model(tiny_eb_jepa());
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model.preprocess(at::zeros({1, 3, 13, 13}, at::kByte));
      },
      "[1, 3, 13, 13]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model.loss(planes({2, 3}, 13, 1), at::zeros({2, 2, 2}));
      },
      "T = 3", "predicted_steps = 3"));
  PhiloxNoise noise(1);
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model.step(model.initial(2), at::zeros({2, 2}), noise);
      },
      "observe()"));
  auto video = models::EbJepaVideoOptions();
  video.regulariser.inverse_dynamics = 1;
  CHECK(fails_with(
      invalid_option, [&] { models::EbJepaVideo{video}; }, "inverse_dynamics"));
  CHECK(fails_with(
      invalid_argument,
      [] {
        const models::EbJepaVideo model({.latent = 2, .encoder_hidden = 2, .predictor_hidden = 2});
        model.predict(at::zeros({1, 1, 2, 8, 8}), nn::Mode::infer);
      },
      "T = 1"));
}

TEST_CASE("a probe changes nothing but itself") {
  models::PositionProbe probe({.latent = 3, .hidden = 4, .mean = {10, 20}, .std = {2, 4}}, 1);
  auto latents = at::randn({5, 3}).requires_grad_();
  const auto loss = probe.loss(latents, at::zeros({5, 2}));
  loss.backward();
  CHECK_FALSE(latents.grad().defined());
  const auto normalised = probe.normalised(latents);
  CHECK(at::allclose(probe.positions(latents).select(1, 1), normalised.select(1, 1) * 4 + 20));
  CHECK(probe.squared_units(loss).item<double>() == Approx(9 * loss.item<double>()));
}

}  // namespace foresight::eb_jepa_test
