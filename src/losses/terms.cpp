// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/terms.hpp"

#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight::losses {

Terms& Terms::add(std::string_view name, double weight, Tensor value, TermRole role) {
  const std::string quoted = "loss term '" + std::string(name) + "'";
  require(value.defined() && value.dim() == 0, ErrorCategory::invalid_argument,
          quoted + " has shape " +
              (value.defined() ? shape_string(value.sizes()) : std::string("undefined")) +
              ", expected a scalar");
  require(std::isfinite(weight), ErrorCategory::invalid_argument,
          quoted + " has weight " + std::to_string(weight) + ", expected a finite number");
  require(!has(name), ErrorCategory::invalid_argument, quoted + " is already there");
  const auto weighted = weight == 1.0 ? value : value * weight;
  auto& sum = role == TermRole::probe ? probes_ : total_;
  sum = sum.defined() ? sum + weighted : weighted;
  terms_.push_back({std::string(name), weight, std::move(value), role});
  return *this;
}

const Tensor& Terms::total() const {
  require(total_.defined(), ErrorCategory::invalid_argument, "a loss without terms has no total");
  return total_;
}

Tensor Terms::trained() const { return probes_.defined() ? total() + probes_ : total(); }

bool Terms::has(std::string_view name) const noexcept {
  for (const auto& term : terms_)
    if (term.name == name) return true;
  return false;
}

const Term& Terms::at(std::string_view name) const {
  std::string known;
  for (const auto& term : terms_) {
    if (term.name == name) return term;
    known += (known.empty() ? "" : ", ") + term.name;
  }
  throw Error(ErrorCategory::not_found, "no loss term '" + std::string(name) +
                                            "', known: " + (known.empty() ? "none" : known));
}

Tensor Terms::values() const {
  std::vector<Tensor> values{total().detach()};
  for (const auto& term : terms_) values.push_back(term.value.detach().to(total_.scalar_type()));
  return at::stack(values);
}

}  // namespace foresight::losses
