// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2-AC as a world model: the conformance suite, exactness of the cached rollout, memory of
// the past, gimbal lock, bundles and errors.
#include "foresight/models/vjepa2_ac.hpp"

#include <numbers>

#include "conformance.hpp"
#include "error_message.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/state_dict.hpp"
#include "temporary_folder.hpp"
#include "test_device.hpp"
#include "vjepa2_ac_under_test.hpp"

namespace foresight::vjepa2_ac_test {

namespace {

namespace conformance = testing::conformance;

/// A model in which nothing is zero, in float64.
std::shared_ptr<models::VJepa2Ac> under_test(const models::VJepa2AcOptions& options) {
  auto model = std::make_shared<models::VJepa2Ac>(options, 1);
  PhiloxNoise noise(2);
  for (const auto& parameter : model->named_parameters())
    nn::init_normal(parameter.value(), 0.3, noise);
  model->to(test_device(), at::kDouble);
  return model;
}

std::function<Observation(int64_t, std::uint64_t)> observations(bool camera) {
  return [camera](int64_t batch, std::uint64_t seed) {
    PhiloxNoise noise(seed);
    Observation seen(kPixels, noise.integers(256, {batch, 16, 16, 3}).to(at::kByte));
    auto pose = noise.normal({batch, models::kPoseWidth}) * 0.5;
    pose.select(1, 6).uniform_(0.2, 0.8, at::make_generator<at::CPUGeneratorImpl>(seed));
    seen.set(kProprio, pose);
    if (camera) seen.set("camera", noise.normal({batch, 6}));
    return seen;
  };
}

Conformance suite_for(const models::VJepa2Ac& model) {
  return {model, observations(model.options().predictor.extrinsics), 1e-10, [&model] {
            std::vector<Tensor> tensors;
            for (const auto& [name, tensor] : nn::state_dict(model)) tensors.push_back(tensor);
            return tensors;
          }};
}

}  // namespace

TEST_CASE("V-JEPA 2-AC conforms while its window grows, and when it has to slide", "[device]") {
  for (const auto& [history, window] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 8}, {2, 3}, {3, 8}, {1, 1}}) {
    INFO("history " << history << ", window " << window);
    const auto model = under_test(tiny_arm_options(history, window));
    check_conformance(suite_for(*model));
  }
}

TEST_CASE("V-JEPA 2-AC conforms with camera poses, without positions, and unnormalised",
          "[device]") {
  auto options = tiny_arm_options(2, 4);
  options.predictor.extrinsics = true;
  options.predictor.positions = nn::PositionKind::none;
  options.normalise_latents = false;
  const auto model = under_test(options);
  check_conformance(suite_for(*model));
}

TEST_CASE("candidates imagined in slices are those imagined at once") {
  auto options = tiny_arm_options(2, 6);
  const auto whole = under_test(options);
  options.rollout_bytes = 1;  // one candidate at a time
  const auto sliced = under_test(options);
  const auto suite = suite_for(*whole);
  const auto state = conformance::observed(suite, 2, 2);
  const auto actions = conformance::random_blocks(suite, {2, 3, 4}, 7);
  PhiloxNoise noise(1);
  const auto a = whole->rollout(state, actions, noise), b = sliced->rollout(state, actions, noise);
  conformance::check_close(suite, b.states.at("latent"), a.states.at("latent"));
  conformance::check_close(suite, b.states.at("pose"), a.states.at("pose"));
}

TEST_CASE("keys of a shared prefix and of a growing sequence give what a full pass gives") {
  for (const auto rope : {nn::RopeConvention::tiled, nn::RopeConvention::interleaved}) {
    nn::FrameCausalPredictorOptions options;
    options.width = 32;
    options.depth = 3;
    options.heads = 2;
    options.mlp_width = 48;
    options.rope = rope;
    const nn::TokenGrid grid{4, 2, 3};
    nn::FrameCausalPredictor predictor(options, 10, grid);
    PhiloxNoise noise(5);
    for (const auto& parameter : predictor.named_parameters())
      nn::init_normal(parameter.value(), 0.4, noise);
    predictor.to(at::kDouble);
    const auto draw = [&](std::vector<int64_t> shape) {
      return noise.normal(shape, at::TensorOptions().dtype(at::kDouble));
    };
    // Two problems with three candidates each share frames 0 and 1.
    const int64_t batch = 2, samples = 3, shared = 2, frames = 5;
    const nn::FrameSequence prefix{
        draw({batch, shared, 6, 10}), draw({batch, shared, 7}), draw({batch, shared, 7}), {}};
    const nn::FrameSequence own{draw({batch * samples, frames - shared, 6, 10}),
                                draw({batch * samples, frames - shared, 7}),
                                draw({batch * samples, frames - shared, 7}),
                                {}};
    const auto joined = [&](const Tensor& a, const Tensor& b) {
      return at::cat({a.repeat_interleave(samples, 0), b}, 1);
    };
    const auto full = predictor.forward({joined(prefix.tokens, own.tokens),
                                         joined(prefix.actions, own.actions),
                                         joined(prefix.states, own.states),
                                         {}});
    const auto remembered = predictor.remember(prefix);
    nn::FrameMemory memory;
    for (int64_t f = 0; f < frames - shared; ++f) {
      INFO("frame " << shared + f);
      const auto part = [&](const Tensor& x) { return x.narrow(1, f, 1); };
      const auto next = predictor.next({part(own.tokens), part(own.actions), part(own.states), {}},
                                       shared + f, &remembered, &memory);
      CHECK(at::allclose(next, full.select(1, shared + f), 1e-10, 1e-10));
    }
    // All own frames in one call, without memory of their own.
    const auto last = predictor.next(own, shared, &remembered, nullptr);
    CHECK(at::allclose(last, full.select(1, -1), 1e-10, 1e-10));
  }
}

TEST_CASE("the interleaved rotary convention is a rotation and the tiled one is not") {
  PhiloxNoise noise(3);
  const auto x = noise.normal({1, 2, 4, 24}, at::TensorOptions().dtype(at::kDouble));
  const auto ids = at::tensor({0, 7, 19, 30}, at::kLong);
  const nn::TokenGrid grid{4, 3, 3};
  const auto dot = [&](nn::RopeConvention convention, int64_t shift) {
    const auto table = [&](const Tensor& which) {
      const auto in_frame = which.remainder(grid.per_frame());
      return nn::rope_table(
          {which.floor_divide(grid.per_frame()) + shift,
           in_frame.floor_divide(grid.columns) + shift, in_frame.remainder(grid.columns) + shift},
          nn::rope_axis_width(24), convention, x.options());
    };
    const auto turned = nn::rotate(x, table(ids));
    return at::matmul(turned, turned.transpose(-2, -1));
  };
  using Convention = nn::RopeConvention;
  CHECK(
      at::allclose(dot(Convention::interleaved, 0), dot(Convention::interleaved, 5), 1e-10, 1e-10));
  CHECK_FALSE(at::allclose(dot(Convention::tiled, 0), dot(Convention::tiled, 5), 1e-3, 1e-3));
  CHECK(at::allclose(dot(Convention::interleaved, 0).diagonal(0, -2, -1), x.square().sum(-1), 1e-10,
                     1e-10));
}

TEST_CASE("a pose in gimbal lock keeps its rotation, and its gradient is finite") {
  const double quarter = std::numbers::pi / 2;
  for (const double middle : {quarter, -quarter}) {
    const auto angles = at::tensor({0.4, middle, 0.3}, at::kDouble);
    const auto matrix = models::euler_to_matrix(angles);
    const auto back = models::matrix_to_euler(matrix);
    CHECK(back[2].item<double>() == 0.0);
    CHECK(at::allclose(models::euler_to_matrix(back), matrix, 0, 1e-7));
    auto pose = at::zeros({1, 7}, at::kDouble);
    pose.narrow(1, 3, 3).copy_(angles);
    const auto action = at::zeros({1, 7}, at::kDouble).requires_grad_();
    models::integrate_pose(pose, action).sum().backward();
    CHECK(action.grad().isfinite().all().item<bool>());
  }
}

TEST_CASE("a network in bfloat16 keeps poses in float32: small moves add up") {
  const auto model = under_test(tiny_arm_options(2, 3));
  model->to(at::kBFloat16);
  const auto observed = [](double x) {
    auto seen = observations(false)(1, 5);
    seen.set(kProprio, at::tensor({x, 0.1, 0.2, 3.1, 0.0, 0.0, 0.5}, at::kFloat).unsqueeze(0));
    return seen;
  };
  PhiloxNoise noise(1);
  auto state = model->observe(model->initial(1), {}, observed(0.5485), noise);
  const auto move = at::tensor({0.0015, 0.0, 0.0, 0.003, 0.0, 0.0, 0.001}, at::kFloat);
  state = model->observe(state, move.unsqueeze(0), observed(0.55), noise);
  const int64_t steps = 10;
  const auto end = at::tensor({0.55 + 0.015, 0.1, 0.2, 3.1 + 0.03, 0.0, 0.0, 0.51}, at::kFloat);
  const auto path = model->rollout(state, move.expand({1, 1, steps, 7}), noise);
  CHECK(path.states.at("latent").scalar_type() == at::kBFloat16);
  CHECK(at::allclose(path.states.at("pose").select(2, -1).flatten(), end, 0, 1e-5));
  for (int64_t t = 0; t < steps; ++t) state = model->step(state, move.unsqueeze(0), noise).next;
  CHECK(at::allclose(state.at("pose").flatten(), end, 0, 1e-5));
  CHECK(state.at("past_poses").scalar_type() == at::kFloat);
}

TEST_CASE("an action read from two poses leads from one to the other") {
  PhiloxNoise noise(9);
  auto from = noise.normal({20, 7}, at::TensorOptions().dtype(at::kDouble));
  auto to = noise.normal({20, 7}, at::TensorOptions().dtype(at::kDouble));
  from.select(1, 6).fill_(0.5);
  to.select(1, 6).uniform_(0, 1, at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{4}));
  const auto reached = models::integrate_pose(from, models::pose_difference(from, to));
  CHECK(at::allclose(reached.narrow(1, 0, 3), to.narrow(1, 0, 3), 0, 1e-10));
  CHECK(at::allclose(reached.select(1, 6), to.select(1, 6), 0, 1e-10));
  CHECK(at::allclose(models::euler_to_matrix(reached.narrow(1, 3, 3)),
                     models::euler_to_matrix(to.narrow(1, 3, 3)), 0, 1e-10));
}

TEST_CASE("both families survive a bundle") {
  TemporaryFolder folder;
  auto ac = under_test(tiny_arm_options(2, 4));
  models::write_vjepa2_ac(folder / "ac", *ac, models::vjepa2_ac_bundle_config(*ac));
  const auto read = models::read_vjepa2_ac(io::read_bundle(folder / "ac"));
  CHECK(read->options().window == 4);
  CHECK(read->spec().history == 2);
  const auto suite = suite_for(*ac);
  const auto state = conformance::observed(suite, 1, 2);
  const auto actions = conformance::random_blocks(suite, {1, 2, 3}, 7);
  PhiloxNoise noise(1);
  CHECK(at::equal(read->rollout(state, actions, noise).states.at("latent"),
                  ac->rollout(state, actions, noise).states.at("latent")));

  const models::VJepa2 video(models::VJepa2Options::tiny(), 3);
  models::write_vjepa2(folder / "video", video, models::vjepa2_bundle_config(video));
  const auto bundle = io::read_bundle(folder / "video");
  const auto same = models::read_vjepa2(bundle);
  for (const auto& [name, tensor] : nn::state_dict(video)) {
    INFO(name);
    for (const auto& [key, value] : nn::state_dict(*same))
      if (key == name) CHECK(at::equal(value, tensor));
  }
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::read_vjepa2_ac(bundle); }, "vjepa2_ac", "family"));
}

TEST_CASE("options and inputs that make no sense are named") {
  const auto refused = [](auto change, auto... words) {
    auto options = tiny_arm_options(1, 2);
    change(options);
    return fails_with(
        ErrorCategory::invalid_option, [&] { models::VJepa2Ac model(options); }, words...);
  };
  CHECK(refused([](auto& o) { o.window = 0; }, "window", "history"));
  CHECK(refused([](auto& o) { o.action.dim = 6; }, "action"));
  CHECK(refused([](auto& o) { o.encoder.heads = 5; }, "heads"));
  CHECK(refused([](auto& o) { o.predictor.positions = nn::PositionKind::sincos; }, "positions"));
  CHECK(refused([](auto& o) { o.auto_steps = 0; }, "auto_steps"));
  const models::VJepa2Ac model(tiny_arm_options(1, 2));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        model.encode_images(at::zeros({1, 3, 24, 24}));
      },
      "9 tokens", "expected 4"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        model.loss_of_latents(at::zeros({1, 2, 4, 12}), at::zeros({1, 1, 7}), at::zeros({1, 2, 7}));
      },
      "T = 2", "at least 3"));
}

}  // namespace foresight::vjepa2_ac_test
