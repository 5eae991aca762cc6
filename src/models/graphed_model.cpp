// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/graphed_model.hpp"

#include <ATen/autocast_mode.h>
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

// A rollout's shapes, types and places, and what else decides which kernels it takes.
std::vector<int64_t> signature(const State& state, const Tensor& actions, bool is_training) {
  const auto type = actions.device().type();
  const bool autocast = at::autocast::is_autocast_enabled(type);
  std::vector<int64_t> key{
      current_stream(actions.device()), state.filled(), state.batch_dims(), is_training,
      autocast ? static_cast<int64_t>(at::autocast::get_autocast_dtype(type)) : int64_t{-1}};
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

std::vector<Tensor> results_of(const Trajectory& future) {
  std::vector<Tensor> results;
  for (const auto& [name, tensor] : future.states.fields()) results.push_back(tensor);
  for (const Tensor* tensor : {&future.rewards, &future.discounts})
    if (tensor->defined()) results.push_back(*tensor);
  return results;
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
  explicit Recordings(const WorldModel& model, GraphOptions chosen)
      : options(chosen), module(dynamic_cast<const torch::nn::Module*>(&model)) {
    if (module) {
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
    forget();
  }

  void forget() {
    rollouts.clear();
    bytes = 0;
  }

  // After a shape's first call: the next is recorded if there is room for its future.
  void expect(const std::vector<int64_t>& key, const Trajectory& future) {
    int64_t more = 0;
    for (const auto& tensor : results_of(future)) {
      if (tensor.requires_grad()) return;
      more += static_cast<int64_t>(tensor.nbytes());
    }
    if (static_cast<int64_t>(rollouts.size()) >= options.shapes || bytes + more > options.bytes)
      return;
    rollouts.emplace(key, std::nullopt);
    bytes += more;
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
  const torch::nn::Module* module;  // the model, where it is one
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

  const auto key = signature(state, actions, kept.module && kept.module->is_training());
  const auto found = kept.rollouts.find(key);
  if (found == kept.rollouts.end()) {
    // The first call prepares what libraries prepare at first use, and shows whether it draws.
    WatchedNoise watched(&noise);
    auto future = model_->rollout(state, actions, watched);
    kept.refused = watched.drew();
    if (!kept.refused) kept.expect(key, future);
    return future;
  }
  auto& recording = found->second;
  if (!recording) {
    // Tensors made in inference mode could be written in no other.
    const c10::InferenceMode plain(false);
    const at::NoGradGuard no_grad;
    try {
      recording.emplace(*model_, state, actions);
    } catch (const c10::OutOfMemoryError&) {
      kept.rollouts.erase(found);
      kept.options.shapes =
          static_cast<int64_t>(kept.rollouts.size());  // there is room for no more
      return model_->rollout(state, actions, noise);
    } catch (const std::exception& problem) {
      kept.refused = true;
      kept.forget();
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
