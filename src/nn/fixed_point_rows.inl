// SPDX-License-Identifier: Apache-2.0
// Rows on their way between products of fixed_point_product.hpp, and two products with a GELU in
// between.
// Rows as integers, for weights of given blocks.
class QuantisedRows {
 public:
  QuantisedRows(int64_t rows, const WeightsView& weights)
      : weights_(weights),
        step_(weights.in_padded()),
        values_(static_cast<std::size_t>(rounded_up(rows, kRows) * step_)),
        scales_(static_cast<std::size_t>(rows * weights.blocks)) {}

  void set_row(int64_t r, const float* x) {
    for (int64_t b = 0; b < weights_.blocks; ++b) set_block(r, b, x + b * weights_.block);
  }
  void set_block(int64_t r, int64_t b, const float* x) {
    scales_[static_cast<std::size_t>(r * weights_.blocks + b)] =
        quantise(x, weights_.length(b), values_.data() + r * step_ + b * weights_.block_step());
  }
  void copy_row(int64_t r, const QuantisedRows& from, int64_t row) {
    std::memcpy(values_.data() + r * step_, from.values_.data() + row * step_,
                static_cast<std::size_t>(step_) * sizeof(std::int16_t));
    std::memcpy(scales_.data() + r * weights_.blocks, from.scales_.data() + row * weights_.blocks,
                static_cast<std::size_t>(weights_.blocks) * sizeof(float));
  }
  // The first `count` rows.
  RowsView view(int64_t count) const {
    return {values_.data(), step_, scales_.data(), weights_.blocks, count};
  }

 private:
  WeightsView weights_;
  int64_t step_;
  std::vector<std::int16_t> values_;
  std::vector<float> scales_;
};

// Room for one block of hidden channels of a tile.
struct HiddenRows {
  HiddenRows(int64_t rows, const WeightsView& out)
      : step(rounded_up(out.block, kColumns)),
        floats(static_cast<std::size_t>(rows * step)),
        integers(static_cast<std::size_t>(rounded_up(rows, kRows) * step)),
        scales(static_cast<std::size_t>(rows)) {}

  int64_t step;
  std::vector<float> floats;
  std::vector<std::int16_t> integers;
  std::vector<float> scales;
};

// c = GELU(rows * in + bias) * out + bias, block by block of hidden channels.
void multiply_through(const RowsView& rows, const WeightsView& in, const WeightsView& out,
                      HiddenRows& hidden, float* c, int64_t c_step) {
  for (int64_t b = 0; b < out.blocks; ++b) {
    const auto length = out.length(b);
    const auto first = b * out.block / kColumns;
    multiply(rows, in, first, first + rounded_up(length, kColumns) / kColumns, hidden.floats.data(),
             hidden.step);
    for (int64_t r = 0; r < rows.count; ++r) {
      float* x = hidden.floats.data() + r * hidden.step;
      Measure measure;  // what is behind the last channel is 0, and so is its GELU
      for (int64_t d = 0; d < length; d += kLanes) {
        const Eight activated = gelu(load(x + d));
        measure.add(activated);
        store(activated, x + d);
      }
      hidden.scales[static_cast<std::size_t>(r)] =
          quantise_measured(measure, x, length, hidden.integers.data() + r * hidden.step);
    }
    const RowsView block{hidden.integers.data(), hidden.step, hidden.scales.data(), 1, rows.count};
    multiply_with_block(block, out, b, 0, out.panels, c, c_step);
  }
}
