// SPDX-License-Identifier: Apache-2.0
// The tasks of packed_tasks.hpp, tile by tile; included as packed_product.inl is.

// Rows of a tile. Its intermediate values, 4 kB a row for LeWM, stay in half a megabyte.
constexpr int64_t kTileRows = 48;

void apply_tiles(const LinearTask<Value>& t, int64_t begin, int64_t end) {
  TileRows rows(std::min(kTileRows, end - begin), t.weights);
  const auto padded = t.weights.panels * kColumns;
  std::vector<float> c(static_cast<std::size_t>(std::min(kTileRows, end - begin) * kColumns));
  for (int64_t first = begin; first < end; first += kTileRows) {
    const auto count = std::min(kTileRows, end - first);
    for (int64_t r = 0; r < count; ++r) rows.set_row(r, t.x + (first + r) * t.x_step);
    if (padded == t.weights.out) {
      multiply(rows.view(count), t.weights, 0, t.weights.panels, t.y + first * padded, padded);
      continue;
    }
    for (int64_t panel = 0; panel < t.weights.panels; ++panel) {
      multiply(rows.view(count), t.weights, panel, panel + 1, c.data(), kColumns);
      const auto columns = std::min(kColumns, t.weights.out - panel * kColumns);
      for (int64_t r = 0; r < count; ++r)
        std::memcpy(t.y + (first + r) * t.weights.out + panel * kColumns, c.data() + r * kColumns,
                    static_cast<std::size_t>(columns) * sizeof(float));
    }
  }
}

void apply_tiles(const FeedForwardTask<Value>& t, int64_t begin, int64_t end) {
  const auto most = std::min(kTileRows, end - begin), padded = t.out.panels * kColumns;
  TileRows rows(most, t.in);
  HiddenRows hidden(most, t.out);
  std::vector<float> c(static_cast<std::size_t>(most * padded));
  for (int64_t first = begin; first < end; first += kTileRows) {
    const auto count = std::min(kTileRows, end - first);
    for (int64_t r = 0; r < count; ++r) rows.set_row(r, t.x + (first + r) * t.x_step);
    multiply_through(rows.view(count), t.in, t.out, hidden, c.data(), padded);
    for (int64_t r = 0; r < count; ++r)
      std::memcpy(t.y + (first + r) * t.out.out, c.data() + r * padded,
                  static_cast<std::size_t>(t.out.out) * sizeof(float));
  }
}

void apply_tiles(const AdaLnTask<Value>& t, int64_t begin, int64_t end) {
  const auto step = std::max<int64_t>(1, kTileRows / t.tokens);
  AdaLnTile tile(t, std::min(step, end - begin) * t.tokens);
  for (int64_t first = begin; first < end; first += step)
    AdaLnTileRun(t, tile, first, std::min(first + step, end)).run();
}
