// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/rope.hpp"

namespace foresight::nn {

RopeTable rope_table(const std::vector<Tensor>& positions, int64_t axis_width,
                     RopeConvention convention, const at::TensorOptions& options) {
  require(axis_width >= 2 && axis_width % 2 == 0, ErrorCategory::invalid_argument,
          "rope_table: axis width = " + std::to_string(axis_width) + " must be even and >= 2");
  require(!positions.empty(), ErrorCategory::invalid_argument, "rope_table: no axis");
  const auto half = axis_width / 2;
  const auto frequency =
      at::reciprocal(at::pow(10000.0, at::arange(half, options).div_(static_cast<double>(half))));
  // The first channel of a pair takes minus its partner.
  const auto sign = at::ones({half, 2}, options);
  sign.select(1, 0).fill_(-1.0);
  const auto spread = [&](const Tensor& per_angle) {  // [...,n,d/2] -> [...,n,d]
    return convention == RopeConvention::tiled ? at::cat({per_angle, per_angle}, -1)
                                               : per_angle.repeat_interleave(2, -1);
  };
  std::vector<Tensor> cosines, sines;
  for (const auto& axis : positions) {
    const auto angle = axis.to(options).unsqueeze(-1) * frequency;
    cosines.push_back(spread(at::cos(angle)));
    sines.push_back(spread(at::sin(angle)) * sign.flatten());
  }
  RopeTable table{at::cat(cosines, -1), at::cat(sines, -1)};
  if (table.cosine.dim() == 3) {  // [B,n,R]: the same for every head
    table.cosine = table.cosine.unsqueeze(1);
    table.sine = table.sine.unsqueeze(1);
  }
  return table;
}

RopeTable narrow(const RopeTable& table, int64_t first, int64_t count) {
  return {table.cosine.narrow(-2, first, count), table.sine.narrow(-2, first, count)};
}

Tensor rotate(const Tensor& x, const RopeTable& table) {
  const auto turned = table.cosine.size(-1), width = x.size(-1);
  const auto front = x.narrow(-1, 0, turned);
  const auto pairs = front.unflatten(-1, {turned / 2, 2});
  const auto partner = at::stack({pairs.select(-1, 1), pairs.select(-1, 0)}, -1).flatten(-2);
  const auto out = front * table.cosine + partner * table.sine;
  return turned == width ? out : at::cat({out, x.narrow(-1, turned, width - turned)}, -1);
}

}  // namespace foresight::nn
