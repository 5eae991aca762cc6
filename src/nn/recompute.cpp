// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/recompute.hpp"

#include <ATen/Context.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <mutex>

#include "foresight/nn/autocast.hpp"

namespace foresight::nn {
namespace {

thread_local RecomputeScope* innermost_scope = nullptr;

at::Generator default_generator(const at::Device& device) {
  return at::globalContext().defaultGenerator(device);
}

Tensor generator_state(const at::Device& device) {
  auto generator = default_generator(device);
  std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

void set_generator_state(const at::Device& device, const Tensor& state) {
  auto generator = default_generator(device);
  std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

// What the second computation needs besides the inputs.
struct FirstPass : torch::CustomClassHolder {
  explicit FirstPass(RecomputedBlock function) : block(std::move(function)) {}
  RecomputedBlock block;
  Tensor generator;
  bool autocast = false;
};

struct Recompute : torch::autograd::Function<Recompute> {
  // `anchor` requires a gradient, so that the parameters get theirs where no input needs one.
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& /*anchor*/,
                        const Tensor& x, const std::optional<Tensor>& given,
                        const c10::intrusive_ptr<FirstPass>& pass) {
    const auto condition = given.value_or(Tensor());
    pass->generator = generator_state(x.device());
    pass->autocast = at::autocast::is_autocast_enabled(x.device().type());
    context->save_for_backward({x, condition});
    context->saved_data["pass"] = c10::IValue::make_capsule(pass);
    at::NoGradGuard no_grad;
    const auto result = pass->block(x, condition);
    // Up to about version 2.10 LibTorch keeps the narrow copies of weights that autocast makes
    // here, without gradient, and gives them to what the scope computes later with one, whose
    // weights then get none (pytorch/pytorch#112583).
    if (pass->autocast) at::autocast::clear_cache();
    return result;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto capsule = context->saved_data["pass"].toCapsule();
    const auto& pass = static_cast<const FirstPass&>(*capsule);
    const auto again = [](const Tensor& input) {
      return input.defined() ? input.detach().set_requires_grad(input.requires_grad()) : input;
    };
    const auto x = again(saved[0]), condition = again(saved[1]);
    const auto device = x.device();
    const auto present = generator_state(device);
    {
      at::AutoGradMode with_gradient(true);
      set_generator_state(device, pass.generator);
      Tensor result;
      {
        Autocast autocast(device.type(), pass.autocast);
        result = pass.block(x, condition);
      }
      set_generator_state(device, present);
      torch::autograd::backward({result}, {gradients[0]});
    }
    const auto gradient = [](const Tensor& input) {
      return input.defined() && input.requires_grad() ? input.grad() : Tensor();
    };
    return {Tensor(), gradient(x), gradient(condition), Tensor()};
  }
};

}  // namespace

RecomputeScope::RecomputeScope() : outer_(std::exchange(innermost_scope, this)) {}
RecomputeScope::~RecomputeScope() { innermost_scope = outer_; }

bool recomputes() noexcept {
  if (innermost_scope == nullptr || !at::GradMode::is_enabled()) return false;
  ++innermost_scope->blocks_;
  return true;
}

Tensor detail::recompute(RecomputedBlock block, const Tensor& x, const Tensor& condition) {
  const auto anchor = at::empty({0}, x.options()).requires_grad_(true);
  const auto given = condition.defined() ? std::optional<Tensor>(condition) : std::nullopt;
  return Recompute::apply(anchor, x, given, c10::make_intrusive<FirstPass>(std::move(block)));
}

}  // namespace foresight::nn
