// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/graphed_model.hpp"

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda_graph.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"

namespace foresight::models {
namespace {

// The caller's noise, which tells whether it was asked.
class WatchedNoise final : public Noise {
 public:
  explicit WatchedNoise(Noise* noise) : noise_(noise) {}
  Tensor normal(at::IntArrayRef shape, const at::TensorOptions& options) override {
    return asked().normal(shape, options);
  }
  Tensor uniform(at::IntArrayRef shape, const at::TensorOptions& options) override {
    return asked().uniform(shape, options);
  }
  bool drew() const { return drew_; }

 private:
  Noise& asked() {
    drew_ = true;
    require(noise_ != nullptr, ErrorCategory::unsupported, "its rollouts draw noise");
    return *noise_;
  }

  Noise* noise_;
  bool drew_ = false;
};

// A rollout's shapes, types and places.
std::vector<int64_t> signature(const State& state, const Tensor& actions) {
  std::vector<int64_t> key{current_stream(actions.device()), state.filled(), state.batch_dims()};
  const auto add = [&](const Tensor& tensor) {
    key.push_back(static_cast<int64_t>(tensor.scalar_type()));
    key.push_back(tensor.device().index());
    key.push_back(tensor.dim());
    key.insert(key.end(), tensor.sizes().begin(), tensor.sizes().end());
  };
  add(actions);
  for (const auto& [name, tensor] : state.fields()) add(tensor);
  return key;
}

State copies(const State& state) {
  State fixed(state.batch_dims());
  for (const auto& [name, tensor] : state.fields()) fixed.set(name, tensor.clone());
  return fixed.set_filled(state.filled());
}

int64_t bytes_of(const Trajectory& future) {
  int64_t bytes = 0;
  const auto add = [&](const Tensor& tensor) {
    if (tensor.defined()) bytes += static_cast<int64_t>(tensor.nbytes());
  };
  for (const auto& [name, tensor] : future.states.fields()) add(tensor);
  add(future.rewards);
  add(future.discounts);
  return bytes;
}

Tensor copy(const Tensor& tensor) { return tensor.defined() ? tensor.clone() : tensor; }

// One recorded rollout: what it reads and what it writes stays where it is.
struct Recording {
  State state;
  Tensor actions;
  Trajectory results;
  std::unique_ptr<CudaGraph> graph;

  Recording(const WorldModel& model, const State& from, const Tensor& blocks)
      : state(copies(from)), actions(blocks.contiguous().clone()) {
    WatchedNoise none(nullptr);
    graph = std::make_unique<CudaGraph>(actions.device(),
                                        [&] { results = model.rollout(state, actions, none); });
  }

  Trajectory replay(const State& from, const Tensor& blocks) {
    for (const auto& [name, tensor] : state.fields()) tensor.copy_(from.at(name));
    actions.copy_(blocks);
    graph->replay();
    return {blocks, copies(results.states), copy(results.rewards), copy(results.discounts)};
  }
};

}  // namespace

struct GraphedModel::Recordings {
  explicit Recordings(const WorldModel& model, GraphOptions chosen) : options(chosen) {
    if (const auto* module = dynamic_cast<const torch::nn::Module*>(&model)) {
      weights = module->parameters();
      for (const auto& buffer : module->buffers()) weights.push_back(buffer);
    }
    places = now();
  }

  std::vector<const void*> now() const {
    std::vector<const void*> addresses;
    addresses.reserve(weights.size());
    for (const auto& weight : weights) addresses.push_back(weight.const_data_ptr());
    return addresses;
  }

  // Graphs read weights where these were: none is left once they are elsewhere.
  void notice_moved_weights() {
    auto current = now();
    if (current == places) return;
    places = std::move(current);
    rollouts.clear();
    bytes = 0;
  }

  bool must_differentiate(const State& state, const Tensor& actions) const {
    if (!at::GradMode::is_enabled()) return false;
    const auto counts = [](const Tensor& tensor) { return tensor.requires_grad(); };
    for (const auto& [name, tensor] : state.fields())
      if (counts(tensor)) return true;
    return counts(actions) || std::any_of(weights.begin(), weights.end(), counts);
  }

  std::mutex mutex;
  GraphOptions options;
  std::vector<Tensor> weights;
  std::vector<const void*> places;
  std::map<std::vector<int64_t>, std::optional<Recording>> rollouts;  // empty: seen once
  int64_t bytes = 0;  // of the futures of all rollouts above
  bool refused = false;
  int64_t replays = 0;
};

GraphedModel::GraphedModel(std::shared_ptr<const WorldModel> model, GraphOptions options)
    : model_(std::move(model)) {
  require(model_ != nullptr, ErrorCategory::invalid_argument, "GraphedModel: no model");
  require(options.shapes >= 1, ErrorCategory::invalid_option,
          fmt::format("GraphOptions.shapes = {} must be at least 1", options.shapes));
  require(options.bytes >= 0, ErrorCategory::invalid_option,
          fmt::format("GraphOptions.bytes = {} must be at least 0", options.bytes));
  recordings_ = std::make_unique<Recordings>(*model_, options);
}

GraphedModel::~GraphedModel() = default;

bool GraphedModel::is_built_in() { return CudaGraph::is_built_in(); }

int64_t GraphedModel::replays() const {
  const std::lock_guard lock(recordings_->mutex);
  return recordings_->replays;
}

Trajectory GraphedModel::rollout(const State& state, const Tensor& actions, Noise& noise) const {
  auto& kept = *recordings_;
  if (!is_built_in() || !actions.defined() || !actions.is_cuda() ||
      kept.must_differentiate(state, actions))
    return model_->rollout(state, actions, noise);
  const std::lock_guard lock(kept.mutex);
  if (kept.refused) return model_->rollout(state, actions, noise);
  kept.notice_moved_weights();

  const auto key = signature(state, actions);
  const auto found = kept.rollouts.find(key);
  if (found == kept.rollouts.end()) {
    // The first call prepares what libraries prepare at first use, and shows whether it draws.
    WatchedNoise watched(&noise);
    auto future = model_->rollout(state, actions, watched);
    kept.refused = watched.drew();
    const auto bytes = bytes_of(future);
    if (!kept.refused && static_cast<int64_t>(kept.rollouts.size()) < kept.options.shapes &&
        kept.bytes + bytes <= kept.options.bytes) {
      kept.rollouts.emplace(key, std::nullopt);
      kept.bytes += bytes;
    }
    return future;
  }
  auto& recording = found->second;
  if (!recording) {
    // Tensors made in inference mode could be written in no other.
    const c10::InferenceMode plain(false);
    const at::NoGradGuard no_grad;
    try {
      recording.emplace(*model_, state, actions);
    } catch (const std::exception& problem) {
      kept.refused = true;
      log(LogLevel::warning,
          fmt::format("rollouts of this {} model are not recorded as a CUDA graph: {}",
                      model_->spec().family, problem.what()));
      return model_->rollout(state, actions, noise);
    }
  }
  ++kept.replays;
  return recording->replay(state, actions);
}

}  // namespace foresight::models
