// SPDX-License-Identifier: Apache-2.0
// One tile of AdaLnTask (fixed_point_tasks.hpp): all of a block's layers for a few candidates.
// Everything between two products of a tile; made once per task of a thread.
struct AdaLnTile {
  AdaLnTile(const AdaLnTask& t, int64_t rows)
      : padded_width(rounded_up(t.width, kColumns)),
        padded_head(rounded_up(t.head_width, kColumns)),
        row(floats(padded_width)),
        u(rows, t.qkv),
        asked(rows, t.qkv),
        attended(rows, t.attention_out),
        query(floats(rows * padded_head)),
        keys(query),
        values(query),
        heads(floats(rows * t.attention_out.block_step())),
        y(floats(rows * padded_width)),
        z(y),
        hidden(rows, t.out) {}

  static std::vector<float> floats(int64_t count) {
    return std::vector<float>(static_cast<std::size_t>(count));
  }

  int64_t padded_width, padded_head;
  std::vector<float> row;
  QuantisedRows u, asked, attended;
  std::vector<float> query, keys, values, heads, y, z;
  HiddenRows hidden;
  std::vector<const float*> key_of, value_of;
  std::vector<float> share;
};

// Mean and the reciprocal of the deviation.
struct Moments {
  float mean, scale;
};

inline Moments moments(const float* x, int64_t width, float epsilon) {
  const auto count = static_cast<float>(width);
  Eight sum{}, squares{};
  for (int64_t d = 0; d < width; d += kLanes) sum += load(x + d, width - d);
  const float mean = sum_of(sum) / count;
  const Eight lane{0, 1, 2, 3, 4, 5, 6, 7};
  for (int64_t d = 0; d < width; d += kLanes) {
    const Eight apart =
        lane < static_cast<float>(width - d) ? load(x + d, width - d) - mean : Eight{};
    squares += apart * apart;
  }
  return {mean, 1 / std::sqrt(sum_of(squares) / count + epsilon)};
}

// Norm without weights, modulated, then the affine norm.
inline void modulated_norm(const float* x, const float* shift, const float* one_plus_scale,
                           const NormView& norm, float plain_epsilon, int64_t width, float* to) {
  const auto plain = moments(x, width, plain_epsilon);
  for (int64_t d = 0; d < width; d += kLanes) {
    const auto rest = width - d;
    const Eight normal = (load(x + d, rest) - plain.mean) * plain.scale;
    store(load(shift + d, rest) + normal * load(one_plus_scale + d, rest), to + d, rest);
  }
  const auto own = moments(to, width, norm.epsilon);
  for (int64_t d = 0; d < width; d += kLanes) {
    const auto rest = width - d;
    const Eight normal = (load(to + d, rest) - own.mean) * own.scale;
    store(normal * load(norm.weight + d, rest) + load(norm.bias + d, rest), to + d, rest);
  }
}

inline float scalar_product(const float* a, const float* b, int64_t width) {
  Eight sum{};
  for (int64_t d = 0; d < width; d += kLanes)
    sum += load(a + d, width - d) * load(b + d, width - d);
  return sum_of(sum);
}

// softmax(q k / sqrt(width)) v over `seen` tokens.
inline void attend(AdaLnTile& s, const float* query, int64_t seen, int64_t width, float* to) {
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  float largest = -INFINITY, total = 0;
  for (int64_t j = 0; j < seen; ++j) {
    const auto at = static_cast<std::size_t>(j);
    s.share[at] = scale * scalar_product(query, s.key_of[at], width);
    largest = std::max(largest, s.share[at]);
  }
  for (int64_t j = 0; j < seen; ++j) {
    auto& share = s.share[static_cast<std::size_t>(j)];
    share = detail::exp_of(share - largest);
    total += share;
  }
  for (int64_t d = 0; d < width; d += kLanes) {
    Eight sum{};
    for (int64_t j = 0; j < seen; ++j) {
      const auto at = static_cast<std::size_t>(j);
      sum += s.share[at] / total * load(s.value_of[at] + d, width - d);
    }
    store(sum, to + d, width - d);
  }
}

// Rows [begin, end) of the task, in one tile.
class AdaLnTileRun {
 public:
  AdaLnTileRun(const AdaLnTask& task, AdaLnTile& tile, int64_t begin, int64_t end)
      : t(task), s(tile), begin_(begin), candidates_(end - begin) {}

  void run() {
    for (int64_t r = 0; r < candidates_ * t.tokens; ++r)
      normalise(t.x + (begin_ * t.tokens + r) * t.width, modulation(r / t.tokens, r % t.tokens),
                t.attention_norm, r);
    // A lone token's softmax is 1 whatever it asks for.
    first_query_ = std::max<int64_t>(t.first_output, t.earlier == 0 ? 1 : 0);
    queries_ = std::max<int64_t>(0, t.tokens - first_query_);
    outputs_ = t.tokens - t.first_output;
    for (int64_t c = 0; c < candidates_; ++c)
      for (int64_t j = 0; j < queries_; ++j)
        s.asked.copy_row(c * queries_ + j, s.u, c * t.tokens + first_query_ + j);
    for (int64_t b = 0; b < t.attention_out.blocks; ++b) attention_block(b);
    if (outputs_ == 0) return;
    feed_forward();
  }

 private:
  const float* modulation(int64_t candidate, int64_t token) const {
    return t.modulation + (begin_ + candidate) * t.modulation_row + token * t.modulation_token;
  }

  // To row r of u.
  void normalise(const float* x, const float* shift_and_scale, const NormView& norm, int64_t r) {
    modulated_norm(x, shift_and_scale, shift_and_scale + t.width, norm, t.plain_epsilon, t.width,
                   s.row.data());
    s.u.set_row(r, s.row.data());
  }

  // One part (0 query, 1 key, 2 value) of a head for rows of u or asked.
  void project(const RowsView& rows, int64_t part, int64_t head, std::vector<float>& to) {
    const auto panels = s.padded_head / kColumns, first = (part * t.heads + head) * panels;
    multiply(rows, t.qkv, first, first + panels, to.data(), s.padded_head);
  }

  // The heads whose outputs are block `b` of the output projection's channels.
  void attention_block(int64_t b) {
    const auto step = t.attention_out.block_step();
    const auto first = b * t.attention_out.block / t.head_width;
    const auto count = t.attention_out.length(b) / t.head_width;
    for (int64_t h = 0; h < count; ++h) {
      project(s.u.view(candidates_ * t.tokens), 1, first + h, s.keys);
      project(s.u.view(candidates_ * t.tokens), 2, first + h, s.values);
      project(s.asked.view(candidates_ * queries_), 0, first + h, s.query);
      for (int64_t c = 0; c < candidates_; ++c) {
        if (t.present_keys) keep(c, first + h);
        if (outputs_ > 0) attend_in(c, first + h, s.heads.data() + h * t.head_width, step);
      }
    }
    if (outputs_ == 0) return;
    const auto rows = candidates_ * outputs_;
    for (int64_t r = 0; r < rows; ++r) s.attended.set_block(r, b, s.heads.data() + r * step);
    multiply_with_block(s.attended.view(rows).block(b, t.attention_out), t.attention_out, b,
                        s.y.data(), s.padded_width);
  }

  void keep(int64_t c, int64_t head) {
    const auto all = t.earlier + t.tokens;
    const auto put = [&](float* present, const std::vector<float>& own, const PastView& past) {
      for (int64_t j = 0; j < all; ++j)
        std::memcpy(present + (((begin_ + c) * all + j) * t.heads + head) * t.head_width,
                    j < t.earlier ? past_token(past, c, head, j)
                                  : own.data() + (c * t.tokens + j - t.earlier) * s.padded_head,
                    static_cast<std::size_t>(t.head_width) * sizeof(float));
    };
    put(t.present_keys, s.keys, t.past_keys);
    put(t.present_values, s.values, t.past_values);
  }

  const float* past_token(const PastView& past, int64_t c, int64_t head, int64_t j) const {
    return past.data + (begin_ + c) / t.rows_of_past * past.row + head * past.head + j * past.token;
  }

  // All wanted outputs of a candidate in a head, `step` apart.
  void attend_in(int64_t c, int64_t head, float* to, int64_t step) {
    const auto all = t.earlier + t.tokens;
    s.key_of.resize(static_cast<std::size_t>(all));
    s.value_of.resize(static_cast<std::size_t>(all));
    s.share.resize(static_cast<std::size_t>(all));
    for (int64_t j = 0; j < all; ++j) {
      const auto at = static_cast<std::size_t>(j);
      const auto own = (c * t.tokens + j - t.earlier) * s.padded_head;
      s.key_of[at] = j < t.earlier ? past_token(t.past_keys, c, head, j) : s.keys.data() + own;
      s.value_of[at] =
          j < t.earlier ? past_token(t.past_values, c, head, j) : s.values.data() + own;
    }
    for (int64_t i = t.first_output; i < t.tokens; ++i) {
      float* output = to + (c * outputs_ + i - t.first_output) * step;
      if (i < first_query_)
        std::memcpy(output, s.value_of[0], static_cast<std::size_t>(t.head_width) * sizeof(float));
      else
        attend(s, s.query.data() + (c * queries_ + i - first_query_) * s.padded_head,
               t.earlier + i + 1, t.head_width, output);
    }
  }

  void feed_forward() {
    const auto rows = candidates_ * outputs_;
    for (int64_t r = 0; r < rows; ++r) {
      const auto token = t.first_output + r % outputs_, candidate = r / outputs_;
      const float* m = modulation(candidate, token);
      float* y = s.y.data() + r * s.padded_width;
      add_gated(t.x + ((begin_ + candidate) * t.tokens + token) * t.width, m + 2 * t.width, y, y);
      normalise(y, m + 3 * t.width, t.feed_forward_norm, r);
    }
    multiply_through(s.u.view(rows), t.hidden, t.out, s.hidden, s.z.data(), s.padded_width);
    for (int64_t r = 0; r < rows; ++r)
      add_gated(s.y.data() + r * s.padded_width,
                modulation(r / outputs_, t.first_output + r % outputs_) + 5 * t.width,
                s.z.data() + r * s.padded_width, t.y + (begin_ * outputs_ + r) * t.width);
  }

  // to = x + gate * branch.
  void add_gated(const float* x, const float* gate, const float* branch, float* to) const {
    for (int64_t d = 0; d < t.width; d += kLanes) {
      const auto rest = t.width - d;
      store(load(x + d, rest) + load(gate + d, rest) * load(branch + d, rest), to + d, rest);
    }
  }

  const AdaLnTask& t;
  AdaLnTile& s;
  int64_t begin_, candidates_;
  int64_t first_query_ = 0, queries_ = 0, outputs_ = 0;
};
