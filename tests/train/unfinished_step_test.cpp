// SPDX-License-Identifier: Apache-2.0
// A step that fails after its forward pass has moved the statistics of a batch norm. The checkpoint
// is of the step before, and so must they be.
#include <torch/nn.h>

#include <cmath>
#include <map>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::unfinished_step_test {
namespace {

// Fits a line behind a batch norm. Batch `spoiled` (from 1) holds a NaN.
class NormedFit final : public Task {
 public:
  explicit NormedFit(int64_t spoiled = -1) : spoiled_(spoiled) {
    torch::manual_seed(3);
    net_->push_back(torch::nn::BatchNorm1d(3));
    net_->push_back(torch::nn::Linear(3, 1));
    net_->to(at::kDouble);
  }
  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *net_; }
  int64_t samples() const override { return 16; }
  losses::Terms loss() override {
    PhiloxNoise noise(6, static_cast<std::uint64_t>(batch_));
    auto x = noise.normal({16, 3}, at::kDouble) + 2.0;
    if (++batch_ == spoiled_) x.select(0, 0).fill_(NAN);
    losses::Terms terms;
    terms.add("fit", 1.0, (net_->forward(x) - x.sum(1, true)).square().mean());
    return terms;
  }
  std::string position() const override { return std::to_string(batch_); }
  void seek(const std::string& position) override { batch_ = std::stoll(position); }

 private:
  std::string name_ = "normed";
  torch::nn::Sequential net_;
  int64_t batch_ = 0, spoiled_;
};

// One process whose partner is gone at update `last` (from 1), which is noticed after the forward
// pass.
class LostPartner final : public GradientReducer {
 public:
  explicit LostPartner(int last) : last_(last) {}
  int64_t rank() const override { return 0; }
  int64_t world_size() const override { return 1; }
  void reduce(const std::vector<Tensor>&) override {
    if (++updates_ == last_) throw Error(ErrorCategory::io_failure, "rank 1 is gone");
  }
  void average(std::vector<double>&) override {}

 private:
  int updates_ = 0, last_;
};

io::NamedTensors model_at(const std::filesystem::path& run, int64_t step) {
  return read_checkpoint(checkpoint_path(run / "checkpoints" / "normed", step)).section("model/");
}

io::NamedTensors statistics_of(const io::NamedTensors& model) {
  io::NamedTensors found;
  for (const auto& [name, tensor] : model)
    if (name.find("running") != std::string::npos || name.ends_with("num_batches_tracked"))
      found.emplace_back(name, tensor);
  return found;
}

// Names of the tensors that differ.
std::string differences_of(const io::NamedTensors& a, const io::NamedTensors& b) {
  const std::map<std::string, Tensor> others(b.begin(), b.end());
  REQUIRE(a.size() == others.size());
  std::string names;
  for (const auto& [name, tensor] : a)
    if (!at::equal(tensor, others.at(name))) names += name + " ";
  return names;
}

}  // namespace

TEST_CASE("a batch that is not finite leaves no trace in the statistics of a batch norm") {
  const TemporaryFolder whole, spoiled;
  NormedFit good, bad(13);
  train_table(good, every_step_logged(12), whole.path());
  const auto result = train_table(bad, every_step_logged(20), spoiled.path());
  CHECK(result.outcome == Outcome::diverged);
  // The two runs end with other weights, as their schedules do; statistics see the batches alone.
  const auto expected = statistics_of(model_at(whole.path(), 12));
  const auto kept = model_at(spoiled.path(), 12);
  REQUIRE(expected.size() == 3);
  CHECK(differences_of(statistics_of(kept), expected) == "");
  // The model in memory is the one of the checkpoint.
  CHECK(differences_of(nn::state_dict(bad.module()), kept) == "");
}

TEST_CASE("statistics of a step that was not finished are not counted twice after a resume") {
  const TemporaryFolder whole, parts;
  NormedFit uninterrupted, first, second;
  train_table(uninterrupted, every_step_logged(20), whole.path());
  LostPartner reducer(8);
  CHECK(fails_with(
      ErrorCategory::io_failure,
      [&] { train_table(first, every_step_logged(20), parts.path(), {.reducer = &reducer}); },
      "rank 1 is gone"));
  CHECK(resume_step({parts.path(), true}, "normed") == 7);
  for (const auto& parameter : first.module().parameters()) CHECK_FALSE(parameter.grad().defined());
  train_table(second, every_step_logged(20), parts.path(), {}, /*resume=*/true);
  CHECK(differences_of(model_at(parts.path(), 20), model_at(whole.path(), 20)) == "");
}

TEST_CASE("gradients that a caller left in a module are no part of its training") {
  const TemporaryFolder folder;
  TableFit clean(8), used(8);
  used.validate().total().backward();
  train_table(clean, every_step_logged(5), folder / "clean");
  train_table(used, every_step_logged(5), folder / "used");
  CHECK(curve(folder / "used", "table/grad_norm") == curve(folder / "clean", "table/grad_norm"));
  CHECK(differences_of(nn::state_dict(used.module()), nn::state_dict(clean.module())) == "");
}

}  // namespace foresight::train::unfinished_step_test
