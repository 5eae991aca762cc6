// SPDX-License-Identifier: Apache-2.0
// Rows on their way between products, products of whole panels, and two with a GELU in between.
using Weights = WeightsView<Value>;
using Rows = RowsView<Value>;
using Sum = std::conditional_t<kHasScales<Value>, std::int32_t, float>;

// Rows in the form that weights of given blocks multiply.
class TileRows {
 public:
  TileRows(int64_t rows, const Weights& weights)
      : weights_(weights),
        step_(weights.in_padded()),
        values_(static_cast<std::size_t>(rounded_up(rows, kRows) * step_)),
        scales_(static_cast<std::size_t>(rows * weights.blocks)) {}

  void set_row(int64_t r, const float* x) {
    for (int64_t b = 0; b < weights_.blocks; ++b) set_block(r, b, x + b * weights_.block);
  }
  void set_block(int64_t r, int64_t b, const float* x) {
    scales_[static_cast<std::size_t>(r * weights_.blocks + b)] =
        pack_block(x, weights_.length(b), values_.data() + r * step_ + b * weights_.block_step());
  }
  void copy_row(int64_t r, const TileRows& from, int64_t row) {
    std::memcpy(values_.data() + r * step_, from.values_.data() + row * step_,
                static_cast<std::size_t>(step_) * sizeof(Value));
    std::memcpy(scales_.data() + r * weights_.blocks, from.scales_.data() + row * weights_.blocks,
                static_cast<std::size_t>(weights_.blocks) * sizeof(float));
  }
  // The first `count` rows.
  Rows view(int64_t count) const {
    return {values_.data(), step_, scales_.data(), weights_.blocks, count};
  }

 private:
  Weights weights_;
  int64_t step_;
  std::vector<Value> values_;
  std::vector<float> scales_;
};

// c[rows][16] = start + product of block `b` of rows and of a panel, or += if start is null.
inline void multiply_block(const Rows& rows, const Weights& weights, int64_t panel, int64_t b,
                           const float* start, float* c, int64_t c_step) {
  alignas(32) Sum sums[kRows * kColumns];
  const auto* values = weights.values_of(panel, b);
  const auto quads = rounded_up(weights.length(b), kStep) / 4;
  const ScalesOf<Sum> of_channels(weights.scales_of(panel, b));
  const auto from_step = start ? 0 : c_step;
  for (int64_t r = 0; r < rows.count; r += kRows) {
    multiply_tile(rows.values + r * rows.step, rows.step, values, quads, sums);
    const float* scale = rows.scales + r * rows.scale_step;
    float* to = c + r * c_step;
    const float* from = start ? start : to;
    if (r + kRows <= rows.count) {
#pragma GCC unroll 6
      for (int64_t i = 0; i < kRows; ++i)
        finish_row(sums + i * kColumns, of_channels, scale[i * rows.scale_step],
                   from + i * from_step, to + i * c_step);
    } else {
      for (int64_t i = 0; i < rows.count - r; ++i)
        finish_row(sums + i * kColumns, of_channels, scale[i * rows.scale_step],
                   from + i * from_step, to + i * c_step);
    }
  }
}

// Where block `b` begins: the bias, or what is there already.
inline const float* start_of(const Weights& weights, int64_t panel, int64_t b) {
  return b == 0 ? weights.bias + panel * kColumns : nullptr;
}

#ifdef FORESIGHT_PACKED_AVX512
// The same of two panels side by side.
inline void multiply_block_of_two(const Rows& rows, const Weights& weights, int64_t panel,
                                  int64_t b, const float* start, float* c, int64_t c_step) {
  alignas(64) Sum sums[kTallRows * 2 * kColumns];
  const auto quads = rounded_up(weights.length(b), kStep) / 4;
  const ScalesOf<Sum> of_left(weights.scales_of(panel, b)),
      of_right(weights.scales_of(panel + 1, b));
  int64_t r = 0;
  for (; r + kRows < rows.count; r += kTallRows) {
    multiply_wide_tile(rows.values + r * rows.step, rows.step, weights.values_of(panel, b),
                       weights.values_of(panel + 1, b), quads, sums);
    const auto count = std::min(kTallRows, rows.count - r);
    for (int64_t i = 0; i < count; ++i) {
      float* to = c + (r + i) * c_step;
      const float* from = start ? start : to;
      const auto scale = rows.scales[(r + i) * rows.scale_step];
      finish_row(sums + i * 2 * kColumns, of_left, scale, from, to);
      finish_row(sums + (2 * i + 1) * kColumns, of_right, scale, from + kColumns, to + kColumns);
    }
  }
  if (r == rows.count) return;
  for (int64_t p = 0; p < 2; ++p)
    multiply_block(rows.behind(r), weights, panel + p, b, start ? start + p * kColumns : nullptr,
                   c + r * c_step + p * kColumns, c_step);
}
#endif

// Panels [begin, end) of bias + rows * weights, panel `begin` at c; of block `b` alone: of bias +
// for the first block and added to c for others.
inline void multiply_with_block(const Rows& block, const Weights& weights, int64_t b, int64_t begin,
                                int64_t end, float* c, int64_t c_step) {
  auto panel = begin;
#ifdef FORESIGHT_PACKED_AVX512
  for (; panel + 1 < end; panel += 2)
    multiply_block_of_two(block, weights, panel, b, start_of(weights, panel, b),
                          c + (panel - begin) * kColumns, c_step);
#endif
  for (; panel < end; ++panel)
    multiply_block(block, weights, panel, b, start_of(weights, panel, b),
                   c + (panel - begin) * kColumns, c_step);
}
void multiply(const Rows& rows, const Weights& weights, int64_t begin, int64_t end, float* c,
              int64_t c_step) {
  for (int64_t b = 0; b < weights.blocks; ++b)
    multiply_with_block(rows.block(b, weights), weights, b, begin, end, c, c_step);
}

// Room for one block of hidden channels of a tile.
struct HiddenRows {
  HiddenRows(int64_t rows, const Weights& out)
      : step(rounded_up(out.block, kColumns)),
        floats(static_cast<std::size_t>(rows * step)),
        values(static_cast<std::size_t>(rounded_up(rows, kRows) * step)),
        scales(static_cast<std::size_t>(rows)) {}

  int64_t step;
  std::vector<float> floats;
  std::vector<Value> values;
  std::vector<float> scales;
};

// c = GELU(rows * in + bias) * out + bias, block by block of hidden channels.
void multiply_through(const Rows& rows, const Weights& in, const Weights& out, HiddenRows& hidden,
                      float* c, int64_t c_step) {
  for (int64_t b = 0; b < out.blocks; ++b) {
    const auto length = out.length(b);
    const auto first = b * out.block / kColumns;
    multiply(rows, in, first, first + rounded_up(length, kColumns) / kColumns, hidden.floats.data(),
             hidden.step);
    for (int64_t r = 0; r < rows.count; ++r)
      hidden.scales[static_cast<std::size_t>(r)] =
          pack_activated(hidden.floats.data() + r * hidden.step, length,
                         hidden.values.data() + r * hidden.step);
    const Rows block{hidden.values.data(), hidden.step, hidden.scales.data(), 1, rows.count};
    multiply_with_block(block, out, b, 0, out.panels, c, c_step);
  }
}
