// SPDX-License-Identifier: Apache-2.0
#include "cpu_loops.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <numeric>

#include "foresight/core/lanes.hpp"

namespace foresight::detail {
namespace {

// Calls loop(Scalar{}) if all tensors are contiguous numbers of one type on the CPU.
template <class Loop>
bool in_loops(std::initializer_list<const Tensor*> tensors, Loop&& loop) {
  const auto type = (*tensors.begin())->scalar_type();
  for (const auto* tensor : tensors)
    if (!tensor->device().is_cpu() || tensor->scalar_type() != type || !tensor->is_contiguous() ||
        tensor->requires_grad())
      return false;
  if (type == at::kFloat) {
    loop(float{});
  } else if (type == at::kDouble) {
    loop(double{});
  } else {
    return false;
  }
  return true;
}

// exp of every element; infinite negative ones become 0.
template <class Scalar>
void exponentials(Scalar* values, int64_t count) {
  using T = Lanes<Scalar>;
  for (int64_t i = 0; i < count; i += T::kWidth) {
    const auto bytes =
        static_cast<std::size_t>(std::min<int64_t>(T::kWidth, count - i)) * sizeof(Scalar);
    T x(0);
    std::memcpy(&x.v, values + i, bytes);
    x = exp(x);
    std::memcpy(values + i, &x.v, bytes);
  }
}

Tensor column(const Tensor& weight, const Tensor& values) {
  std::vector<int64_t> shape(static_cast<std::size_t>(values.dim()), 1);
  shape[0] = weight.size(0);
  shape[1] = weight.size(1);
  return weight.reshape(shape);
}

// sum over candidates of weight * f(value, centre); `centre` may be null. Summed in the numbers'
// own precision over a few dozen candidates, those sums in double.
template <class Scalar, class F>
void weigh(const Scalar* values, const Scalar* weight, const Scalar* centre, Scalar* out,
           int64_t batch, int64_t count, int64_t length, F&& f) {
  constexpr int64_t kFew = 32;
  const std::vector<Scalar> zero(static_cast<std::size_t>(length), Scalar(0));
  std::vector<Scalar> few(zero);
  std::vector<double> sum(static_cast<std::size_t>(length));
  for (int64_t b = 0; b < batch; ++b) {
    const auto* c = centre ? centre + b * length : zero.data();
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int64_t first = 0; first < count; first += kFew) {
      std::fill(few.begin(), few.end(), Scalar(0));
      auto* part = few.data();
      for (int64_t k = first; k < std::min(count, first + kFew); ++k) {
        const auto w = weight[b * count + k];
        if (w == 0) continue;
        const auto* row = values + (b * count + k) * length;
        for (int64_t j = 0; j < length; ++j) part[j] += w * f(row[j], c[j]);
      }
      for (std::size_t j = 0; j < few.size(); ++j) sum[j] += static_cast<double>(few[j]);
    }
    for (int64_t j = 0; j < length; ++j)
      out[b * length + j] = static_cast<Scalar>(sum[static_cast<std::size_t>(j)]);
  }
}

std::vector<int64_t> without_candidates(const Tensor& values) {
  auto shape = values.sizes().vec();
  shape.erase(shape.begin() + 1);
  return shape;
}

}  // namespace

Tensor spread_around(const Tensor& mean, const Tensor& draws, const Tensor& std) {
  Tensor out;
  const bool done = in_loops({&mean, &draws, &std}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = mean.size(0), samples = draws.size(1), length = mean[0].numel();
    auto shape = draws.sizes().vec();
    shape[0] = batch;
    out = at::empty(shape, mean.options());
    auto* to = out.data_ptr<Scalar>();
    for (int64_t b = 0; b < batch; ++b) {
      const auto* m = mean.data_ptr<Scalar>() + b * length;
      const auto* s = std.data_ptr<Scalar>() + b * length;
      const auto* z = draws.data_ptr<Scalar>() + (draws.size(0) == 1 ? 0 : b * samples * length);
      for (int64_t i = 0; i < samples; ++i, z += length, to += length)
        for (int64_t j = 0; j < length; ++j) to[j] = m[j] + z[j] * s[j];
    }
  });
  return done ? out : at::addcmul(mean.unsqueeze(1), draws, std.unsqueeze(1));
}

void clamp_rows(Tensor& values, const Tensor& low, const Tensor& high) {
  const bool done = in_loops({&values, &low, &high}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto width = low.numel(), count = values.numel();
    const auto *l = low.data_ptr<Scalar>(), *h = high.data_ptr<Scalar>();
    auto* value = values.data_ptr<Scalar>();
    const auto bounded = [](Scalar x, Scalar least, Scalar most) {
      x = x < least ? least : x;
      return most < x ? most : x;
    };
    if (width == 1) {
      const auto least = l[0], most = h[0];
      for (int64_t i = 0; i < count; ++i) value[i] = bounded(value[i], least, most);
      return;
    }
    for (int64_t i = 0; i < count; i += width)
      for (int64_t a = 0; a < width; ++a) value[i + a] = bounded(value[i + a], l[a], h[a]);
  });
  if (!done) values.clamp_(low, high);
}

Tensor weighted_deviation(const Tensor& values, const Tensor& centre, const Tensor& weight,
                          Deviation deviation) {
  Tensor out;
  const bool done = in_loops({&values, &centre, &weight}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = values.size(0), samples = values.size(1), length = centre[0].numel();
    out = at::empty({batch, samples}, values.options());
    auto* to = out.data_ptr<Scalar>();
    const auto* row = values.data_ptr<Scalar>();
    for (int64_t b = 0; b < batch; ++b) {
      const auto* c = centre.data_ptr<Scalar>() + b * length;
      const auto* w = weight.data_ptr<Scalar>() + b * length;
      for (int64_t s = 0; s < samples; ++s, row += length) {
        // Four sums side by side: one would make every addition wait for the one before it.
        Scalar sum[4] = {0, 0, 0, 0};
        const auto term = [&](int64_t j) {
          const auto apart = row[j] - c[j];
          return (deviation == Deviation::absolute ? std::abs(apart) : apart) * w[j];
        };
        int64_t j = 0;
        for (; j + 4 <= length; j += 4)
          for (int64_t k = 0; k < 4; ++k) sum[k] += term(j + k);
        for (; j < length; ++j) sum[0] += term(j);
        *to++ = (sum[0] + sum[1]) + (sum[2] + sum[3]);
      }
    }
  });
  if (done) return out;
  const auto apart = values - centre.unsqueeze(1);
  return ((deviation == Deviation::absolute ? apart.abs() : apart) * weight.unsqueeze(1))
      .flatten(2)
      .sum(2);
}

Tensor weighted_mean(const Tensor& values, const Tensor& weight) {
  Tensor out;
  const bool done = in_loops({&values, &weight}, [&](auto zero) {
    using Scalar = decltype(zero);
    out = at::empty(without_candidates(values), values.options());
    weigh<Scalar>(values.data_ptr<Scalar>(), weight.data_ptr<Scalar>(), nullptr,
                  out.data_ptr<Scalar>(), values.size(0), values.size(1), out[0].numel(),
                  [](Scalar x, Scalar) { return x; });
  });
  if (done) return out;
  const auto w = column(weight, values).to(values.scalar_type());
  return (values.masked_fill(w.eq(0), 0.0) * w).sum(1);
}

Tensor weighted_variance(const Tensor& values, const Tensor& weight, const Tensor& centre) {
  Tensor out;
  const bool done = in_loops({&values, &weight, &centre}, [&](auto zero) {
    using Scalar = decltype(zero);
    out = at::empty(without_candidates(values), values.options());
    weigh<Scalar>(values.data_ptr<Scalar>(), weight.data_ptr<Scalar>(), centre.data_ptr<Scalar>(),
                  out.data_ptr<Scalar>(), values.size(0), values.size(1), out[0].numel(),
                  [](Scalar x, Scalar c) { return (x - c) * (x - c); });
  });
  if (done) return out;
  const auto w = column(weight, values).to(values.scalar_type());
  return ((values - centre.unsqueeze(1)).masked_fill(w.eq(0), 0.0).square() * w).sum(1);
}

void softmax_weights(const Tensor& cost, double factor, Selection& selection) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool done = in_loops({&cost}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = cost.size(0), count = cost.size(1);
    selection.weight = at::empty_like(cost);
    selection.concentration = at::empty({batch, 1}, cost.options());
    selection.any = at::empty({batch, 1}, cost.options().dtype(at::kBool));
    for (int64_t b = 0; b < batch; ++b) {
      const auto* c = cost.data_ptr<Scalar>() + b * count;
      auto* w = selection.weight.data_ptr<Scalar>() + b * count;
      const auto lowest = *std::min_element(c, c + count);
      if (!std::isfinite(lowest)) {
        std::fill_n(w, count, Scalar(0));
        selection.concentration.data_ptr<Scalar>()[b] = Scalar(0);
        selection.any.data_ptr<bool>()[b] = false;
        continue;
      }
      for (int64_t i = 0; i < count; ++i) w[i] = static_cast<Scalar>(-factor) * (c[i] - lowest);
      exponentials(w, count);
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < count; ++i) sum += w[i];
      for (int64_t i = 0; i < count; ++i) {
        w[i] = static_cast<Scalar>(w[i] / sum);
        squares += static_cast<double>(w[i]) * w[i];
      }
      selection.concentration.data_ptr<Scalar>()[b] = static_cast<Scalar>(squares);
      selection.any.data_ptr<bool>()[b] = true;
    }
  });
  if (done) return;
  const auto lowest = cost.amin(1, /*keepdim=*/true);
  selection.any = lowest.ne(kInfinity);
  // Rows without a finite cost: infinity - infinity, silenced here and weighted zero below.
  const auto excess = (cost - lowest).masked_fill(selection.any.logical_not(), 0.0);
  selection.weight = at::softmax(excess * -factor, 1) * selection.any;
  selection.concentration = selection.weight.square().sum(1, /*keepdim=*/true);
}

Tensor ranked_costs(const Tensor& total, const Tensor& control) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto& second = control.defined() ? control : total;
  Tensor out;
  const bool done = total.sizes() == second.sizes() && in_loops({&total, &second}, [&](auto zero) {
                      using Scalar = decltype(zero);
                      out = at::empty_like(total);
                      const auto *a = total.data_ptr<Scalar>(), *b = second.data_ptr<Scalar>();
                      auto* to = out.data_ptr<Scalar>();
                      for (int64_t i = 0; i < total.numel(); ++i) {
                        const auto cost = control.defined() ? a[i] + b[i] : a[i];
                        to[i] = std::isfinite(cost) ? cost : static_cast<Scalar>(kInfinity);
                      }
                    });
  if (done) return out;
  return at::nan_to_num(control.defined() ? total + control : total, kInfinity, kInfinity,
                        kInfinity);
}

Tensor weighted_cost(const Tensor& cost, const Tensor& weight) {
  Tensor out;
  const bool done = in_loops({&cost, &weight}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = cost.size(0), count = cost.size(1);
    out = at::empty({batch}, cost.options());
    const auto *c = cost.data_ptr<Scalar>(), *w = weight.data_ptr<Scalar>();
    for (int64_t b = 0; b < batch; ++b) {
      double sum = 0;
      for (int64_t i = 0; i < count; ++i, ++c, ++w)
        if (std::isfinite(*c)) sum += static_cast<double>(*c) * static_cast<double>(*w);
      out.data_ptr<Scalar>()[b] = static_cast<Scalar>(sum);
    }
  });
  return done ? out : (at::nan_to_num(cost, 0.0, 0.0, 0.0) * weight).sum(-1);
}

Tensor infinite_count(const Tensor& values) {
  Tensor out;
  const bool done = in_loops({&values}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = values.size(0), count = values.size(1);
    out = at::empty({batch}, values.options().dtype(at::kLong));
    const auto* row = values.data_ptr<Scalar>();
    for (int64_t b = 0; b < batch; ++b, row += count)
      out.data_ptr<int64_t>()[b] =
          std::count_if(row, row + count, [](Scalar value) { return std::isinf(value); });
  });
  return done ? out : values.isinf().sum(1);
}

Tensor row_mean(const Tensor& values) {
  Tensor out;
  const bool done = in_loops({&values}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = values.size(0), length = values.size(1) * values.size(2);
    out = at::empty({batch}, values.options());
    const auto* row = values.data_ptr<Scalar>();
    for (int64_t b = 0; b < batch; ++b, row += length) {
      const auto sum = std::accumulate(row, row + length, 0.0);
      out.data_ptr<Scalar>()[b] = static_cast<Scalar>(sum / static_cast<double>(length));
    }
  });
  return done ? out : values.mean({1, 2});
}

Tensor rows_where(const Tensor& condition, const Tensor& yes, const Tensor& no) {
  Tensor out;
  const bool readable = condition.device().is_cpu() && condition.is_contiguous();
  if (readable && yes.sizes() == no.sizes() && in_loops({&yes, &no}, [&](auto zero) {
        using Scalar = decltype(zero);
        const auto batch = yes.size(0), length = yes.numel() / std::max<int64_t>(1, batch);
        const auto* holds = condition.data_ptr<bool>();
        if (std::all_of(holds, holds + batch, [](bool row) { return row; })) {
          out = yes;
          return;
        }
        out = at::empty_like(yes);
        for (int64_t b = 0; b < batch; ++b)
          std::copy_n((holds[b] ? yes : no).data_ptr<Scalar>() + b * length, length,
                      out.data_ptr<Scalar>() + b * length);
      }))
    return out;
  std::vector<int64_t> view(static_cast<std::size_t>(yes.dim()), 1);
  view[0] = -1;
  return at::where(condition.reshape(view), yes, no);
}

Tensor finite_rows(const Tensor& values) {
  Tensor out;
  const bool done = in_loops({&values}, [&](auto zero) {
    using Scalar = decltype(zero);
    const auto batch = values.size(0);
    const auto length = values.numel() / std::max<int64_t>(1, batch);
    out = at::empty({batch}, values.options().dtype(at::kBool));
    const auto* row = values.data_ptr<Scalar>();
    for (int64_t b = 0; b < batch; ++b, row += length)
      out.data_ptr<bool>()[b] =
          std::all_of(row, row + length, [](Scalar value) { return std::isfinite(value); });
  });
  return done ? out : values.isfinite().flatten(1).all(1);
}

Tensor rows_at(const Tensor& values, const Tensor& index) {
  Tensor out;
  if (index.device().is_cpu() && index.is_contiguous() && in_loops({&values}, [&](auto zero) {
        using Scalar = decltype(zero);
        const auto samples = values.size(1), picked = index.size(1),
                   length = values.numel() / std::max<int64_t>(1, values.size(0) * samples);
        auto shape = values.sizes().vec();
        shape[1] = picked;
        out = at::empty(shape, values.options());
        const auto* at = index.data_ptr<int64_t>();
        auto* to = out.data_ptr<Scalar>();
        for (int64_t b = 0; b < values.size(0); ++b)
          for (int64_t k = 0; k < picked; ++k, to += length)
            std::copy_n(values.data_ptr<Scalar>() + (b * samples + *at++) * length, length, to);
      }))
    return out;
  auto shape = values.sizes().vec();
  shape[1] = index.size(1);
  std::vector<int64_t> view{index.size(0), index.size(1)};
  view.resize(shape.size(), 1);
  return values.gather(1, index.reshape(view).expand(shape));
}

}  // namespace foresight::detail
