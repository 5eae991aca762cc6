// SPDX-License-Identifier: Apache-2.0
// The tasks of packed_tasks.hpp, tile by tile; included as packed_product.inl is.

// Most rows of a tile, and how many a kernel takes at once. A tile's intermediate values, 4 kB a row
// for LeWM, stay in a processor's second cache, and weights that do not are read once a tile.
#ifdef FORESIGHT_PACKED_AVX512
constexpr int64_t kTileRows = 192, kRowsAtOnce = kTallRows;
#else
constexpr int64_t kTileRows = 48, kRowsAtOnce = kRows;
#endif

// Of `count` things of `rows` rows each: as many as every tile takes, in whole kernels' rows.
inline int64_t even_share(int64_t count, int64_t rows) {
  const auto most = std::max<int64_t>(1, kTileRows / rows);
  const auto tiles = (count + most - 1) / most, share = (count + tiles - 1) / tiles;
  return std::min(count, rounded_up(share, kRowsAtOnce / std::gcd(kRowsAtOnce, rows)));
}

void apply_tiles(const LinearTask<Value>& t, int64_t begin, int64_t end) {
  const auto step = even_share(end - begin, 1);
  TileRows rows(step, t.weights);
  const auto padded = t.weights.panels * kColumns;
  std::vector<float> c(static_cast<std::size_t>(step * kColumns));
  for (int64_t first = begin; first < end; first += step) {
    const auto count = std::min(step, end - first);
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
  const auto step = even_share(end - begin, 1), padded = t.out.panels * kColumns;
  TileRows rows(step, t.in);
  HiddenRows hidden(step, t.out);
  std::vector<float> c(static_cast<std::size_t>(step * padded));
  for (int64_t first = begin; first < end; first += step) {
    const auto count = std::min(step, end - first);
    for (int64_t r = 0; r < count; ++r) rows.set_row(r, t.x + (first + r) * t.x_step);
    multiply_through(rows.view(count), t.in, t.out, hidden, c.data(), padded);
    for (int64_t r = 0; r < count; ++r)
      std::memcpy(t.y + (first + r) * t.out.out, c.data() + r * padded,
                  static_cast<std::size_t>(t.out.out) * sizeof(float));
  }
}

void apply_tiles(const AdaLnTask<Value>& t, int64_t begin, int64_t end) {
  const auto step = even_share(end - begin, t.tokens);
  AdaLnTile tile(t, step * t.tokens);
  for (int64_t first = begin; first < end; first += step)
    AdaLnTileRun(t, tile, first, std::min(first + step, end)).run();
}
