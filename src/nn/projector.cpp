// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/projector.hpp"

#include "foresight/nn/init.hpp"

namespace foresight::nn {

Projector::Projector(const std::vector<int64_t>& widths)
    : output_(widths.empty() ? 0 : widths.back()) {
  require(widths.size() >= 2, ErrorCategory::invalid_option,
          "Projector: " + std::to_string(widths.size()) +
              " widths, expected that of the input and of at least one layer");
  for (const auto width : widths)
    require(width >= 1, ErrorCategory::invalid_option,
            "Projector: width = " + std::to_string(width) + " must be >= 1");
  const auto layers = widths.size() - 1;
  for (std::size_t i = 0; i < layers; ++i) {
    const bool is_last = i + 1 == layers;
    layers_.push_back(place(
        *this, "net." + std::to_string(3 * i),
        torch::nn::Linear(torch::nn::LinearOptions(widths[i], widths[i + 1]).bias(!is_last))));
    if (!is_last)
      norms_.push_back(place(*this, "net." + std::to_string(3 * i + 1),
                             std::make_shared<BatchNorm1d>(widths[i + 1])));
  }
}

void Projector::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor Projector::forward(const Tensor& x, Mode mode) const {
  auto rows = x.reshape({-1, x.size(-1)});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    rows = through(layers_[i], rows);
    if (i < norms_.size()) rows = at::relu(norms_[i]->apply_to(rows, mode));
  }
  auto shape = x.sizes().vec();
  shape.back() = output_;
  return rows.reshape(shape);
}

}  // namespace foresight::nn
