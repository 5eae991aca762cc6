// SPDX-License-Identifier: Apache-2.0
// What several processes share of one training: parts of batches, with the random draws that one
// process would make for them, and parts of a validation. Processes are threads here; what they
// exchange is exact, so that results can be compared with those of one.
#include <atomic>
#include <csignal>

#include "../../src/train/mean_terms.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/replica_part.hpp"
#include "foresight/train/attentive_probe_task.hpp"
#include "foresight/train/critic_task.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "foresight/train/dynamics_task.hpp"
#include "foresight/train/eb_jepa_task.hpp"
#include "foresight/train/ijepa_task.hpp"
#include "foresight/train/learn.hpp"
#include "foresight/train/lejepa_task.hpp"
#include "foresight/train/masked_video_task.hpp"
#include "foresight/train/vjepa2_ac_task.hpp"
#include "replica_threads.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::shared_work_test {
namespace {

constexpr int64_t kSide = 16;

// The replicas of this thread's scope, as an object.
class ScopedReplicas final : public Replicas {
 public:
  int64_t rank() const override { return replica_rank(); }
  int64_t count() const override { return replica_count(); }
  Tensor sum(const Tensor& x) const override { return sum_over_replicas(x); }
};

// The part of every batch that this thread's replica learns from.
std::unique_ptr<data::Loader> own_part(const TensorRecordings& recordings, int64_t frames,
                                       int64_t batch) {
  const auto dataset = std::make_shared<TensorDataset>(recordings);
  return std::make_unique<data::Loader>(
      std::make_shared<const data::FrameCache>(dataset),
      data::WindowIndex(*dataset, {.frames = frames, .stride = 1}), ActionSpace(),
      data::LoaderOptions{.batch = batch, .threads = 0, .seed = 3},
      data::Shard{replica_rank(), replica_count()});
}

TaskData shared_pictures(int64_t batch) {
  return {.training = own_part(tinted_pictures(kSide), 1, batch), .seed = 5};
}

models::VJepa2Options little_transformer(models::VJepa2Options options) {
  options.image.size = options.encoder.image_height = options.encoder.image_width = kSide;
  options.encoder.patch = 4;
  options.encoder.width = options.predictor.width = 24;
  options.encoder.depth = options.predictor.depth = 1;
  options.encoder.heads = options.predictor.heads = 2;
  options.encoder.mlp_width = options.predictor.mlp_width = 32;
  return options;
}

std::unique_ptr<Task> ijepa_of_part() {
  return std::make_unique<IJepaTask>(
      std::make_shared<models::VJepa2>(little_transformer(ijepa_tiny()), 1), shared_pictures(12));
}

std::unique_ptr<Task> masked_video_of_part() {
  auto options = little_transformer(models::VJepa2Options::tiny());
  options.encoder.frames = 4;
  return std::make_unique<MaskedVideoTask>(
      std::make_shared<models::VJepa2>(options, 1),
      TaskData{.training = own_part(moving_bar(), 4, 12), .seed = 5});
}

std::unique_ptr<Task> lejepa_of_part() {
  auto options = models::LeJepaOptions::tiny();
  options.image.size = kSide;
  options.encoder.patch = 4;
  options.encoder.depth = 1;
  LeJepaTaskOptions task;
  task.views.global_size = kSide;
  task.views.local_views = 1;
  task.views.local_size = kSide / 2;
  return std::make_unique<LeJepaTask>(std::make_shared<models::LeJepa>(options, 1),
                                      shared_pictures(12), task);
}

std::unique_ptr<Task> dino_wm_of_part() {
  models::DinoWmOptions options;
  options.image.size = options.encoder_image_size = 32;
  options.encoder = {
      .patch = 16, .width = 24, .depth = 1, .heads = 2, .mlp_width = 32, .norm_epsilon = 1e-6};
  options.proprio = {.dim = 1, .width = 4, .mean = {12.0}, .std = {5.0}};
  options.predictor = {.depth = 1, .heads = 2, .head_width = 8, .mlp_width = 32};
  options.predictor.dropout = 0.0;
  options.history = 2;
  options.action = ActionSpace();
  return std::make_unique<DinoWmTask>(
      std::make_shared<models::DinoWm>(options, 1),
      TaskData{.training = own_part(pushed_square(), 3, 12), .seed = 5});
}

std::unique_ptr<Task> vjepa2_ac_of_part() {
  models::VJepa2AcOptions options;
  options.image.size = kSide;
  options.encoder = nn::VideoVitOptions::tiny();
  options.encoder.image_height = options.encoder.image_width = kSide;
  for (auto* width : {&options.encoder.width, &options.predictor.width}) *width = 24;
  for (auto* depth : {&options.encoder.depth, &options.predictor.depth}) *depth = 1;
  for (auto* heads : {&options.encoder.heads, &options.predictor.heads}) *heads = 2;
  for (auto* width : {&options.encoder.mlp_width, &options.predictor.mlp_width}) *width = 32;
  return std::make_unique<VJepa2AcTask>(
      std::make_shared<models::VJepa2Ac>(options, 1),
      TaskData{.training = own_part(moving_gripper(kSide), 4, 12), .seed = 5});
}

// On tokens of single pixels.
std::unique_ptr<Task> probe_of_part() {
  models::AttentiveProbeOptions options;
  options.reading = models::ProbeReading::values;
  options.outputs = 1;
  options.pooler = {.self_attention = 0, .heads = 2};
  const auto encode = [](const Tensor& clips) {
    const auto colours = clips.to(at::kFloat).flatten(1, 3) / 127.5 - 1;
    return at::matmul(colours, PhiloxNoise(6).normal({3, 8}));
  };
  return std::make_unique<AttentiveProbeTask>(
      std::make_shared<models::AttentiveProbe>(8, options, 1), encode, shared_pictures(12),
      ProbeTargetOptions{.columns = 1});
}

std::unique_ptr<Task> eb_jepa_of_part() {
  auto options = models::EbJepaOptions::small();
  options.encoder.channels = {4, 4, 4};
  options.encoder.width = 16;
  options.inverse_dynamics_hidden = 16;
  options.predicted_steps = 3;
  envs::EbTrajectoryOptions walks;
  walks.geometry.wall = envs::WallPlacement::fixed;
  walks.positions = 12;
  walks.window = 4;
  return std::make_unique<EbJepaTask>(std::make_shared<models::EbJepa>(options, 1), walks,
                                      EbJepaTaskOptions{.batch = 12, .seed = 3});
}

std::unique_ptr<Task> critic_of_part() {
  EpisodeLatents episodes;
  episodes.latents = PhiloxNoise(3).normal({40, 2});
  episodes.first = {0, 25, 40};
  models::ValueCriticOptions options;
  options.latent = 2;
  options.mlp.hidden = {16};
  CriticTaskOptions task;
  task.batch = 13;  // parts of different size
  return std::make_unique<CriticTask>(std::make_shared<models::ValueCritic>(options, 1), episodes,
                                      EpisodeLatents(), 1, task, 4);
}

std::unique_ptr<Task> dynamics_of_part() {
  PhiloxNoise noise(1);
  models::Transitions data{noise.normal({60, 2}), noise.normal({60, 1}), {}};
  data.next = 0.7 * data.states + data.actions;
  models::MlpDynamicsOptions options;
  options.state = 2;
  options.members = 3;
  options.mlp.hidden = {16};
  return std::make_unique<DynamicsTask>(std::make_shared<models::MlpDynamics>(options, 1), data,
                                        models::Transitions(), 12, 4);
}

// Held-out pictures' mean brightness, which is what it is, plus a draw for every window.
class Brightness final : public LoaderTask {
 public:
  Brightness(TaskData data, std::atomic<int>& batches)
      : LoaderTask("brightness", std::move(data)), batches_(batches) {}
  torch::nn::Module& module() override { throw std::logic_error("nothing is trained"); }

 protected:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override {
    ++batches_;
    losses::Terms terms;
    terms.add("brightness", 1.0, batch.pixels.to(at::kDouble).mean());
    terms.add("noise", 10.0, noise.normal({batch.pixels.size(0)}, at::kDouble).mean());
    return terms;
  }

 private:
  std::atomic<int>& batches_;
};

// Fifty windows to validate on, in batches of twelve: the last of two.
TaskData brightness_data(int64_t batches) {
  auto recordings = tinted_pictures(kSide);
  recordings.frames = recordings.frames.slice(1, 0, 10).slice(0, 0, 5);
  recordings.actions = recordings.actions.slice(1, 0, 10).slice(0, 0, 5);
  recordings.states = recordings.states.slice(1, 0, 10).slice(0, 0, 5);
  const auto dataset = std::make_shared<TensorDataset>(recordings);
  auto held_out = std::make_unique<data::Loader>(
      std::make_shared<const data::FrameCache>(dataset),
      data::WindowIndex(*dataset, {.frames = 1, .stride = 1}), ActionSpace(),
      data::LoaderOptions{.batch = 12, .threads = 0, .last_batch = data::LastBatch::keep});
  return {.training = windows_of(recordings, 1, 4),
          .validation = std::move(held_out),
          .validation_batches = batches,
          .seed = 5};
}

}  // namespace

TEST_CASE("the mean loss of parts is the loss of the batch, for every task and what it draws") {
  struct Family {
    const char* name;
    std::unique_ptr<Task> (*of_part)();
  };
  for (const auto& family : {Family{"ijepa", ijepa_of_part}, Family{"vjepa2", masked_video_of_part},
                             Family{"lejepa", lejepa_of_part}, Family{"dino_wm", dino_wm_of_part},
                             Family{"vjepa2_ac", vjepa2_ac_of_part}, Family{"probe", probe_of_part},
                             Family{"eb_jepa", eb_jepa_of_part}, Family{"critic", critic_of_part},
                             Family{"dynamics", dynamics_of_part}}) {
    const auto losses = [&](int64_t) {
      c10::NoGradGuard no_grad;
      const auto task = family.of_part();
      task->module().train();
      // The second batch only fits if the first one left all in the same place.
      const auto first = task->loss().total().clone(), second = task->loss().total().clone();
      return at::stack({first.to(at::kDouble), second.to(at::kDouble),
                        at::full({}, task->samples(), at::kDouble)});
    };
    const auto whole = losses(0);
    for (const int64_t count : {2, 3}) {
      INFO(family.name << " in " << count << " parts");
      const auto parts = at::stack(on_replicas(count, losses));
      const auto mean = parts.mean(0);
      CHECK(mean[0].item<double>() == Approx(whole[0].item<double>()).epsilon(1e-4));
      CHECK(mean[1].item<double>() == Approx(whole[1].item<double>()).epsilon(1e-4));
      CHECK(parts.select(1, 2).sum().item<double>() == whole[2].item<double>());
      // Not because all parts are alike.
      CHECK(std::abs((parts[0][0] - parts[1][0]).item<double>()) >
            1e-4 * std::abs(whole[0].item<double>()));
    }
  }
}

TEST_CASE("processes share the validation batches and all get the mean of one process") {
  for (const int64_t batches : {5, 2, 100}) {  // 100: as many as there are, five
    std::atomic<int> computed = 0;
    const auto whole = Brightness(brightness_data(batches), computed).validate().values();
    const int all = computed;
    CHECK(all == std::min<int64_t>(batches, 5));
    for (const int64_t count : {1, 2, 4, 8}) {
      INFO(batches << " batches, " << count << " processes");
      computed = 0;
      const auto means = on_replicas(count, [&](int64_t) {
        Brightness task(brightness_data(batches), computed);
        // Twice: validation starts over every time.
        task.validate_together(ScopedReplicas());
        return task.validate_together(ScopedReplicas()).values();
      });
      for (const auto& mean : means) {
        CHECK(at::allclose(mean, whole, 1e-12, 1e-12));
        CHECK(at::equal(mean, means[0]));  // all keep the same weights
      }
      // Each batch once; a process without any computes one that does not count.
      CHECK(computed == 2 * std::max<int64_t>(all, count));
    }
  }
}

TEST_CASE("where one process is asked to stop, all end their validation and have no loss") {
  const InterruptGuard guard;
  const auto computed = on_replicas(2, [](int64_t rank) {
    const StoppableValidation stoppable(true);
    const ScopedReplicas processes;
    const auto data = brightness_data(5);
    int batches = 0;
    const auto terms = mean_loss(
        *data.validation, 5,
        [&](const data::Batch& batch) {
          if (++batches == 1 && rank == 0) std::raise(SIGINT);
          return losses::Terms().add("brightness", 1.0, batch.pixels.to(at::kDouble).mean());
        },
        &processes);
    return at::tensor({batches, terms.empty() && stoppable.was_cut() ? 1 : 0});
  });
  CHECK(computed[0][0].item<int64_t>() == 1);
  for (const auto& one : computed) CHECK(one[1].item<int64_t>() == 1);
}

TEST_CASE("a validation that every process computes by itself is cut in none of them") {
  const InterruptGuard guard;
  std::raise(SIGINT);
  const auto batches_of = [](bool shared) {
    const StoppableValidation stoppable(shared);
    const auto data = brightness_data(3);
    int batches = 0;
    const auto terms = mean_loss(*data.validation, 3, [&](const data::Batch& batch) {
      ++batches;
      return losses::Terms().add("brightness", 1.0, batch.pixels.to(at::kDouble).mean());
    });
    CHECK(terms.empty() != shared);
    CHECK(stoppable.was_cut() != shared);
    return batches;
  };
  CHECK(batches_of(true) == 3);
  CHECK(batches_of(false) == 0);
}

TEST_CASE("a held-out batch's loss does not depend on the batches before it") {
  std::atomic<int> computed = 0;
  const auto one = Brightness(brightness_data(1), computed).validate();
  const auto two = Brightness(brightness_data(2), computed).validate();
  // Noise of the second batch alone, from the means over both, against its own place in the stream.
  PhiloxNoise noise(5, 2);
  noise.seek(std::uint64_t{1} << 32);
  const auto second = noise.normal({12}, at::kDouble).mean().item<double>();
  CHECK(2 * two.at("noise").value.item<double>() - one.at("noise").value.item<double>() ==
        Approx(second).epsilon(1e-9));
}

TEST_CASE("processes encode a part of the episodes each and all get all latents") {
  auto options = models::JepaOptions::small();
  options.action.dim = 1;
  const auto dataset = std::make_shared<TensorDataset>(pushed_square());
  const data::FrameCache frames(dataset);
  const auto encoded = [&](const std::vector<int64_t>& episodes, const Replicas* processes) {
    models::Jepa model(options, 2);
    model.eval();
    return encode_episodes(model, frames, episodes, processes);
  };
  for (const auto& episodes : {std::vector<int64_t>{7, 2, 5}, std::vector<int64_t>{4}, {}}) {
    const auto whole = encoded(episodes, nullptr);
    REQUIRE(whole.latents.size(0) == 24 * static_cast<int64_t>(episodes.size()));
    const auto shared = on_replicas(2, [&](int64_t) {
      const ScopedReplicas processes;
      return encoded(episodes, &processes).latents;
    });
    for (const auto& latents : shared) CHECK(at::equal(latents, whole.latents));
  }
}

TEST_CASE("a batch that cannot be shared is refused") {
  const auto refusals = on_replicas(5, [](int64_t) {
    const bool by_dynamics = fails_with(
        ErrorCategory::invalid_option, [] { dynamics_of_part()->loss(); }, "batch = 12",
        "multiple of 5");
    const bool by_eb_jepa = fails_with(
        ErrorCategory::invalid_option, [] { eb_jepa_of_part()->loss(); },
        "EbJepaTaskOptions.batch = 12", "multiple of 5");
    return at::full({1}, by_dynamics && by_eb_jepa, at::kBool);
  });
  for (const auto& refused : refusals) CHECK(refused.all().item<bool>());
}

}  // namespace foresight::train::shared_work_test
