// SPDX-License-Identifier: Apache-2.0
// Training in 2 and 4 processes against one: the same batches must give the same model, batch
// statistics included. Dead and hanging processes end a run with an error and a valid checkpoint.
#include "foresight/train/data_parallel.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/nn.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/jepa_task.hpp"
#include "foresight/train/trainer.hpp"
#include "processes.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::data_parallel_test {
namespace {

namespace fs = std::filesystem;

// What the hidden test cases are told beside their rank.
constexpr const char* kVariant = "FORESIGHT_VARIANT";

class Variant {
 public:
  explicit Variant(const std::string& value) { ::setenv(kVariant, value.c_str(), 1); }
  ~Variant() { ::unsetenv(kVariant); }
};

std::string variant() {
  const char* value = std::getenv(kVariant);
  return value == nullptr ? "" : value;
}

// Batch norm in encoder and projector, SIGReg and VICReg in the loss: everything that looks at a
// batch as a whole.
models::JepaOptions batch_statistics_model() {
  auto options = models::JepaOptions::small();
  options.cnn.channels = {4, 8};
  options.cnn.width = 16;
  options.cnn.norm = nn::NormKind::batch;
  options.projector.hidden = 16;
  options.projector.norm = nn::NormKind::batch;
  options.latent = 6;
  options.mlp.hidden = {16};
  options.predicted_steps = 2;
  options.loss.sigreg = 0.1;
  options.loss.sigreg_options.projections = 32;
  options.action.dim = 1;
  options.action.block = 2;
  return options;
}

// A large epsilon: a gradient that is zero up to rounding (of a bias before a batch norm) must not
// become a whole step of AdamW.
TrainOptions compared_training(int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.log_every = 1;
  options.validate_every = 0;
  options.checkpoint_every = 3;
  options.optimizer.lr = 3e-3;
  options.optimizer.epsilon = 1e-3;
  options.schedule = {.kind = ScheduleKind::constant, .warmup = 0};
  return options;
}

// DataParallel with statistics of each part alone: what the upstream SIGReg does.
class LocalStatistics final : public GradientReducer {
 public:
  explicit LocalStatistics(DataParallel& all) : all_(all) {}
  int64_t rank() const override { return all_.rank(); }
  int64_t world_size() const override { return all_.world_size(); }
  void reduce(const std::vector<Tensor>& parameters) override { all_.reduce(parameters); }
  void average(std::vector<double>& values) override { all_.average(values); }

 private:
  DataParallel& all_;
};

// Sums in another order, through six or nine updates. Measured: 1.6e-5 and 4.4e-5.
constexpr double kRounding = 1e-4;

struct Trained {
  std::shared_ptr<models::Jepa> model;
  TrainResult result;
};

Trained train_jepa(const fs::path& folder, int64_t steps, const data::Shard& shard,
                   GradientReducer* reducer, std::uint64_t weight_seed = 4) {
  const auto dataset = std::make_shared<TensorDataset>(pushed_square());
  const auto model = std::make_shared<models::Jepa>(batch_statistics_model(), weight_seed);
  const auto space = batch_statistics_model().action;
  JepaTask task(model, {.training = std::make_unique<data::Loader>(
                            std::make_shared<const data::FrameCache>(dataset),
                            data::WindowIndex(*dataset, {.frames = 4, .stride = 2}), space,
                            data::LoaderOptions{.batch = 16, .threads = 0, .seed = 2}, shard),
                        .seed = 4});
  auto metrics = shard.index == 0 ? EventWriter(folder) : EventWriter::nowhere();
  const auto result = train(task, compared_training(steps), {folder, /*resume=*/true}, metrics,
                            ProgressStyle::silent, {.reducer = reducer});
  return {model, result};
}

// A bias before a batch norm has no effect, and a gradient of rounding errors alone: AdamW follows
// those wherever they go.
bool has_no_effect(const std::string& name) {
  return name == "encoder.conv.0.bias" || name == "encoder.conv.1.bias" ||
         name == "projector.net.0.bias";
}

// The largest difference of any other weight or running statistic. Weights are about 0.1, and six
// steps move them by up to 0.02.
double largest_difference(const io::NamedTensors& a, const io::NamedTensors& b) {
  const std::map<std::string, Tensor> others(b.begin(), b.end());
  REQUIRE(a.size() == others.size());
  double largest = 0;
  for (const auto& [name, value] : a) {
    const auto other = others.find(name);
    REQUIRE(other != others.end());
    const auto difference = value.to(at::kDouble) - other->second.to(at::kDouble);
    if (!has_no_effect(name)) largest = std::max(largest, difference.abs().max().item<double>());
  }
  return largest;
}

io::NamedTensors final_weights(const fs::path& folder, int64_t step) {
  return read_checkpoint(checkpoint_path(folder / "checkpoints" / "jepa", step)).section("model/");
}

std::vector<double> losses_logged(const fs::path& folder) {
  std::vector<double> losses;
  for (const auto& row : read_metrics(folder / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name.ends_with("/train/loss")) losses.push_back(value);
  return losses;
}

// The rank to which something happens, of so many.
constexpr const char* kVictim = "FORESIGHT_VICTIM";

int victim_rank() {
  const char* value = std::getenv(kVictim);
  return value == nullptr ? 1 : std::atoi(value);
}

// Fits a line; process `victim` does what `deed` says in its fifth batch.
class Line final : public Task {
 public:
  Line(bool victim, std::string deed) : victim_(victim), deed_(std::move(deed)) {
    torch::manual_seed(1);
    net_->push_back(torch::nn::Linear(3, 1));
  }
  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *net_; }
  int64_t samples() const override { return 8; }
  losses::Terms loss() override {
    if (++calls_ == 5 && victim_) {
      if (deed_ == "die") ::raise(SIGKILL);
      if (deed_ == "hang") ::raise(SIGSTOP);
      if (deed_ == "throw") throw Error(ErrorCategory::bad_file, "episode_7.mp4 is damaged");
    }
    losses::Terms terms;
    const double spoiled = victim_ && deed_ == "nan" && calls_ == 5 ? NAN : 1.0;
    terms.add("fit", 1.0, (net_->forward(at::ones({8, 3})) - 2.0).square().mean() * spoiled);
    return terms;
  }
  std::string position() const override { return "0"; }
  void seek(const std::string&) override {}

 private:
  std::string name_ = "line";
  torch::nn::Sequential net_;
  bool victim_;
  std::string deed_;
  int calls_ = 0;
};

}  // namespace

TEST_CASE("part: train", "[.]") {
  at::set_num_threads(1);
  const auto group = ProcessGroup::connect(Launch::from_environment(), {.timeout = 60});
  // Many small buckets, so that several are on their way during a backward pass.
  DataParallelOptions options{.bucket_mb = 0.002, .first_bucket_mb = 0.0005};
  if (variant() == "no overlap") options.overlap = Overlap::none;
  DataParallel parallel(group, options);
  LocalStatistics local(parallel);
  const data::Shard shard{group->rank(), group->world_size()};
  GradientReducer* reducer = &parallel;
  if (variant() == "local") reducer = &local;
  // Every process starts from weights of its own, which rank 0's replace; without that exchange
  // (local) they start alike.
  const std::uint64_t seed = variant() == "local" ? 4 : 4 + static_cast<std::uint64_t>(shard.index);
  const auto steps = std::atoll(std::getenv("FORESIGHT_STEPS"));
  const auto trained = train_jepa(processes_folder(), steps, shard, reducer, seed);
  REQUIRE(trained.result.outcome == Outcome::finished);
  CHECK(trained.result.step == steps);
  // All processes hold the same model, to the bit.
  for (const auto& [name, tensor] : nn::state_dict(*trained.model)) {
    auto first = tensor.detach().clone();
    group->broadcast({first});
    INFO(name);
    if (variant() != "local") CHECK(at::equal(first, tensor));
  }
}

TEST_CASE("2 and 4 processes train the model of one: batch norm, SIGReg, VICReg and AdamW") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  ::setenv("FORESIGHT_STEPS", "6", 1);
  const TemporaryFolder one;
  train_jepa(one.path(), 6, {}, nullptr);
  const auto expected = final_weights(one.path(), 6);
  const auto curve = losses_logged(one.path());
  REQUIRE(curve.size() == 6);
  const auto start = nn::state_dict(models::Jepa(batch_statistics_model(), 4));
  REQUIRE(largest_difference(expected, start) > 100 * kRounding);  // it has learned something

  struct Case {
    int world;
    const char* variant;
  };
  for (const auto& [world, name] :
       {Case{2, "overlap"}, Case{2, "no overlap"}, Case{4, "overlap"}}) {
    INFO(world << " processes, " << name);
    const TemporaryFolder folder;
    const Variant chosen(name);
    Processes processes(world, "part: train", folder.path());
    REQUIRE(processes.failures() == "");
    CHECK(largest_difference(final_weights(folder.path(), 6), expected) < kRounding);
    const auto losses = losses_logged(folder.path());
    REQUIRE(losses.size() == 6);
    for (std::size_t i = 0; i < 6; ++i) CHECK(losses[i] == Approx(curve[i]).epsilon(1e-4));
  }

  // The comparison can fail: with each part's own statistics the model is another one.
  const TemporaryFolder folder;
  const Variant chosen("local");
  Processes processes(2, "part: train", folder.path());
  REQUIRE(processes.failures() == "");
  CHECK(largest_difference(final_weights(folder.path(), 6), expected) > 100 * kRounding);
}

TEST_CASE("a run of two processes goes on with four, and alone") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder one, several;
  train_jepa(one.path(), 9, {}, nullptr);
  ::setenv("FORESIGHT_STEPS", "3", 1);
  {
    Processes processes(2, "part: train", several.path());
    REQUIRE(processes.failures() == "");
  }
  ::setenv("FORESIGHT_STEPS", "6", 1);
  {
    Processes processes(4, "part: train", several.path());
    REQUIRE(processes.failures() == "");
  }
  train_jepa(several.path(), 9, {}, nullptr);
  CHECK(largest_difference(final_weights(several.path(), 9), final_weights(one.path(), 9)) <
        kRounding);
}

TEST_CASE("part: suffer", "[.]") {
  at::set_num_threads(1);
  const auto group = ProcessGroup::connect(Launch::from_environment(), {.timeout = 3});
  DataParallel parallel(group);
  const bool victim = group->rank() == victim_rank();
  Line task(victim, variant());
  TrainOptions options;
  options.steps = 8;
  options.checkpoint_every = 2;
  const auto folder = processes_folder();
  auto metrics = group->rank() == 0 ? EventWriter(folder) : EventWriter::nowhere();
  const auto training = [&] {
    return train(task, options, {folder, false}, metrics, ProgressStyle::silent,
                 {.reducer = &parallel});
  };
  if (variant() == "nan") {
    // One spoiled loss stops all, before any weight is touched.
    const auto result = training();
    CHECK(result.outcome == Outcome::diverged);
    CHECK(result.step == 4);
    return;
  }
  if (variant() == "throw" && victim) {
    CHECK(fails_with(ErrorCategory::bad_file, training, "episode_7.mp4"));
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto told = fmt::format("rank {} of {}", group->rank(), group->world_size());
  // Who has died has not been slow to answer.
  CHECK(fails_with(ErrorCategory::io_failure, training, told,
                   variant() == "die" ? "another process is gone (" : "another process is gone"));
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  CHECK(waited.count() < 30);
}

TEST_CASE("a process that dies, throws or hangs ends the others with an error and a checkpoint") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  struct Case {
    std::string deed;
    int victim, world;
  };
  // Rank 0 is where the others met, and who writes: what it wrote before must do.
  for (const auto& [deed, victim, world] :
       {Case{"die", 1, 2}, Case{"throw", 1, 2}, Case{"hang", 1, 2}, Case{"nan", 1, 2},
        Case{"die", 0, 2}, Case{"throw", 0, 2}, Case{"hang", 0, 2}, Case{"die", 0, 4},
        Case{"die", 2, 4}, Case{"hang", 3, 4}}) {
    INFO(deed << ": rank " << victim << " of " << world);
    const TemporaryFolder folder;
    const Variant chosen(deed);
    ::setenv(kVictim, std::to_string(victim).c_str(), 1);
    {
      Processes processes(world, "part: suffer", folder.path());
      for (int rank = 0; rank < world; ++rank) {
        if (rank == victim) continue;
        const auto code = processes.wait(rank);
        INFO(processes.output(rank));
        CHECK(code == 0);
      }
      if (deed == "hang") processes.kill(victim, SIGKILL);
      CHECK(processes.wait(victim) == (deed == "die" || deed == "hang" ? -SIGKILL : 0));
    }
    const auto checkpoint = read_newest_checkpoint(folder / "checkpoints" / "line");
    REQUIRE(checkpoint);
    CHECK(checkpoint->step == 4);  // the last whole step
    // It is good to go on with.
    Line task(false, "");
    TrainOptions options;
    options.steps = 8;
    EventWriter metrics(folder.path(), resume_step({folder.path(), true}, "line"));
    const auto result = train(task, options, {folder.path(), true}, metrics, ProgressStyle::silent);
    CHECK(result.outcome == Outcome::finished);
    CHECK(result.step == 8);
  }
}

TEST_CASE("part: unequal", "[.]") {
  const auto group = ProcessGroup::connect(Launch::from_environment(), {.timeout = 30});
  DataParallel parallel(group);
  // A parameter that only rank 1's loss reaches, and one that none does.
  const auto shared = at::ones({2}).requires_grad_(true), rare = at::ones({3}).requires_grad_(true),
             unused = at::ones({1}).requires_grad_(true);
  for (int update = 0; update < 3; ++update) {
    parallel.before_last_backward({shared, rare, unused});
    auto loss = (shared * static_cast<double>(group->rank() + 1)).sum();
    if (group->rank() == 1) loss = loss + (rare * 4.0).sum();
    loss.backward();
    parallel.reduce({shared, rare, unused});
    CHECK(at::allclose(shared.grad(), at::full({2}, 1.5)));
    CHECK(at::allclose(rare.grad(), at::full({3}, 2.0)));
    CHECK_FALSE(unused.grad().defined());
    for (auto parameter : {shared, rare}) parameter.mutable_grad() = Tensor();
  }
  // Two micro-batches add up, and only the second one's pass sends.
  (shared * 1.0).sum().backward();
  parallel.before_last_backward({shared, rare, unused});
  (shared * static_cast<double>(group->rank())).sum().backward();
  parallel.reduce({shared, rare, unused});
  CHECK(at::allclose(shared.grad(), at::full({2}, 1.5)));
  CHECK_FALSE(rare.grad().defined());

  // Different steps or sizes are noticed by all, not sent.
  const auto state = at::ones({2 + group->rank()});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { parallel.synchronise(3, {state}); }, "step 3"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { parallel.synchronise(group->rank(), {at::ones({2})}); }, "same run folder"));
}

TEST_CASE("gradients that only some processes have count as zero elsewhere") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: unequal", folder.path());
  CHECK(processes.failures() == "");
}

}  // namespace foresight::train::data_parallel_test
