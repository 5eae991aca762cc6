// SPDX-License-Identifier: Apache-2.0
// A small task for tests of the trainer: a table to fit, in float64, and the runs and curves that
// tests ask for.
#pragma once

#include <torch/nn.h>

#include <csignal>

#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/train/trainer.hpp"

namespace foresight::train {

/// Fits y = x w on rows of a fixed table, `batch` of them after each other, in float64; with
/// dropout if asked for. A running mean of its parameters stands for a target network.
class TableFit final : public Task {
 public:
  explicit TableFit(int64_t batch, double dropout = 0.0) : batch_(batch) {
    torch::manual_seed(1);
    net_->push_back(torch::nn::Linear(3, 8));
    net_->push_back(torch::nn::Dropout(dropout));
    net_->push_back(torch::nn::Linear(8, 1));
    net_->to(at::kDouble);
    PhiloxNoise noise(5);
    x_ = noise.normal({960, 3}, at::kDouble);
    y_ = (x_ * at::tensor({1.0, -2.0, 0.5}, at::kDouble)).sum(1, true);
    target_ = net_->parameters()[0].detach().clone();
  }
  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *net_; }
  int64_t samples() const override { return batch_; }
  losses::Terms loss() override {
    if (++calls == interrupt_at) std::raise(SIGINT);
    const auto from = (row_ * batch_) % (x_.size(0) - batch_ + 1);
    ++row_;
    return fit(x_.narrow(0, from, batch_), y_.narrow(0, from, batch_));
  }
  losses::Terms validate() override { return fit(x_.narrow(0, 900, 60), y_.narrow(0, 900, 60)); }
  void updated() override {
    at::NoGradGuard no_grad;
    target_.lerp_(net_->parameters()[0], 0.1);
    history.push_back(net_->parameters()[0].detach().clone());
  }
  std::string position() const override { return std::to_string(row_); }
  void seek(const std::string& position) override { row_ = std::stoll(position); }
  io::NamedTensors extra_tensors() override { return {{"target", target_}}; }

  int calls = 0, interrupt_at = -1;
  std::vector<Tensor> history;  // of the first weight after every update

 private:
  losses::Terms fit(const Tensor& x, const Tensor& y) {
    losses::Terms terms;
    terms.add("fit", 2.0, (net_->forward(x) - y).square().mean());
    return terms;
  }
  std::string name_ = "table";
  torch::nn::Sequential net_;
  Tensor x_, y_, target_;
  int64_t batch_, row_ = 0;
};

inline TrainOptions every_step_logged(int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.log_every = 1;
  options.validate_every = 0;
  options.checkpoint_every = 0;
  options.optimizer.lr = 0.02;
  options.schedule.warmup = 3;
  return options;
}

inline TrainResult train_table(Task& task, const TrainOptions& options,
                               const std::filesystem::path& path, const TrainHooks& hooks = {},
                               bool resume = false) {
  const auto from = resume ? std::optional(resume_step({path, true}, task.name())) : std::nullopt;
  EventWriter metrics(path, from);
  return train(task, options, {path, resume}, metrics, ProgressStyle::silent, hooks);
}

inline std::vector<double> curve(const std::filesystem::path& path, const std::string& wanted) {
  std::vector<double> values;
  for (const auto& row : read_metrics(path / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name == wanted) values.push_back(value);
  return values;
}

}  // namespace foresight::train
