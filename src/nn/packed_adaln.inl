// SPDX-License-Identifier: Apache-2.0
// One tile of AdaLnTask (packed_tasks.hpp): all of a block's layers for a few candidates.
// Everything between two products of a tile; made once per task of a thread.
struct AdaLnTile {
  AdaLnTile(const AdaLnTask<Value>& t, int64_t rows)
      : padded_width(rounded_up(t.width, kColumns)),
        padded_head(rounded_up(t.head_width, kColumns)),
        row(floats(padded_width)),
        u(rows, t.qkv),
        asked(rows, t.qkv),
        alone(rows, t.lone_out),
        attended(rows, t.attention_out),
        query(floats(rows * padded_head)),
        keys(query),
        values(query),
        heads(floats(rows * t.attention_out.block_step())),
        share(floats((t.earlier + t.tokens) * rounded_up(rows, kLanes))),
        attention(floats(rows * padded_width)),
        lone_attention(attention),
        y(attention),
        z(attention),
        hidden(rows, t.out) {}

  static std::vector<float> floats(int64_t count) {
    return std::vector<float>(static_cast<std::size_t>(count));
  }

  int64_t padded_width, padded_head;
  std::vector<float> row;
  TileRows u, asked, alone, attended;
  std::vector<float> query, keys, values, heads, share, attention, lone_attention, y, z;
  HiddenRows hidden;
};

// Mean and the reciprocal of the deviation.
struct Moments {
  float mean, scale;
};

inline Moments moments(const float* x, int64_t width, float epsilon) {
  const auto count = static_cast<float>(width);
  Eight sum[2] = {}, squares[2] = {};
  by_lanes(width, [&](int64_t d, int64_t some) { sum[d / kLanes % 2] += load(x + d, some); });
  const float mean = sum_of(sum[0] + sum[1]) / count;
  const Eight lane{0, 1, 2, 3, 4, 5, 6, 7};
  by_lanes(width, [&](int64_t d, int64_t some) {
    Eight apart = load(x + d, some) - mean;
    if (some < kLanes) apart = lane < static_cast<float>(some) ? apart : Eight{};
    squares[d / kLanes % 2] += apart * apart;
  });
  return {mean, 1 / std::sqrt(sum_of(squares[0] + squares[1]) / count + epsilon)};
}

// Norm without weights, modulated, then the affine norm.
inline void modulated_norm(const float* x, const float* shift, const float* one_plus_scale,
                           const NormView& norm, float plain_epsilon, int64_t width, float* to) {
  const auto plain = moments(x, width, plain_epsilon);
  by_lanes(width, [&](int64_t d, int64_t some) {
    const Eight normal = (load(x + d, some) - plain.mean) * plain.scale;
    store(load(shift + d, some) + normal * load(one_plus_scale + d, some), to + d, some);
  });
  const auto own = moments(to, width, norm.epsilon);
  by_lanes(width, [&](int64_t d, int64_t some) {
    const Eight normal = (load(to + d, some) - own.mean) * own.scale;
    store(normal * load(norm.weight + d, some) + load(norm.bias + d, some), to + d, some);
  });
}

inline float scalar_product(const float* a, const float* b, int64_t width) {
  Eight sum[2] = {};
  by_lanes(width, [&](int64_t d, int64_t some) {
    sum[d / kLanes % 2] += load(a + d, some) * load(b + d, some);
  });
  return sum_of(sum[0] + sum[1]);
}

// softmax over `tokens` rows of scores `step` apart, in place, column by column; -infinity: unseen.
inline void softmax(float* scores, int64_t tokens, int64_t step) {
  for (int64_t r = 0; r < step; r += kLanes) {
    Eight largest = load(scores + r), total{};
    for (int64_t j = 1; j < tokens; ++j) largest = larger(load(scores + j * step + r), largest);
    for (int64_t j = 0; j < tokens; ++j) {
      const Eight share = exp_of_negative(load(scores + j * step + r) - largest);
      store(share, scores + j * step + r);
      total += share;
    }
    for (int64_t j = 0; j < tokens; ++j)
      store(load(scores + j * step + r) / total, scores + j * step + r);
  }
}

// Rows [begin, end) of the task, in one tile.
class AdaLnTileRun {
 public:
  AdaLnTileRun(const AdaLnTask<Value>& task, AdaLnTile& tile, int64_t begin, int64_t end)
      : t(task), s(tile), begin_(begin), candidates_(end - begin) {}

  void run() {
    for (int64_t r = 0; r < candidates_ * t.tokens; ++r)
      normalise(t.x + (begin_ * t.tokens + r) * t.width, modulation(r / t.tokens, r % t.tokens),
                t.attention_norm, r);
    // A lone token's softmax is 1 whatever it asks for: its values go straight through the output.
    first_query_ = std::max<int64_t>(t.first_output, t.earlier == 0 ? 1 : 0);
    queries_ = std::max<int64_t>(0, t.tokens - first_query_);
    outputs_ = t.tokens - t.first_output;
    for (int64_t c = 0; c < candidates_; ++c)
      for (int64_t j = 0; j < queries_; ++j)
        s.asked.copy_row(c * queries_ + j, s.u, c * t.tokens + first_query_ + j);
    if (queries_ > 0 || t.present_keys)
      for (int64_t b = 0; b < t.attention_out.blocks; ++b) attention_block(b);
    if (outputs_ == 0) return;
    if (t.first_output < first_query_) attend_alone();
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
  void project(const Rows& rows, int64_t part, int64_t head, std::vector<float>& to) {
    const auto panels = s.padded_head / kColumns, first = (part * t.heads + head) * panels;
    multiply(rows, t.qkv, first, first + panels, to.data(), s.padded_head);
  }

  void attend_alone() {
    for (int64_t c = 0; c < candidates_; ++c) s.alone.copy_row(c, s.u, c * t.tokens);
    multiply(s.alone.view(candidates_), t.lone_out, 0, t.lone_out.panels, s.lone_attention.data(),
             s.padded_width);
  }

  // The heads whose outputs are block `b` of the output projection's channels.
  void attention_block(int64_t b) {
    const auto step = t.attention_out.block_step();
    const auto first = b * t.attention_out.block / t.head_width;
    const auto count = t.attention_out.length(b) / t.head_width;
    const auto rows = candidates_ * queries_;
    for (int64_t h = 0; h < count; ++h) {
      project(s.u.view(candidates_ * t.tokens), 1, first + h, s.keys);
      project(s.u.view(candidates_ * t.tokens), 2, first + h, s.values);
      project(s.asked.view(rows), 0, first + h, s.query);
      if (t.present_keys)
        for (int64_t c = 0; c < candidates_; ++c) keep(c, first + h);
      if (rows > 0) attend(first + h, s.heads.data() + h * t.head_width, step);
    }
    if (rows == 0) return;
    for (int64_t r = 0; r < rows; ++r) s.attended.set_block(r, b, s.heads.data() + r * step);
    multiply_with_block(s.attended.view(rows).block(b, t.attention_out), t.attention_out, b, 0,
                        t.attention_out.panels, s.attention.data(), s.padded_width);
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

  const float* token_of(const std::vector<float>& own, const PastView& past, int64_t c,
                        int64_t head, int64_t j) const {
    return j < t.earlier ? past_token(past, c, head, j)
                         : own.data() + (c * t.tokens + j - t.earlier) * s.padded_head;
  }

  // softmax(q k / sqrt(width)) v of every query in a head, `step` apart.
  void attend(int64_t head, float* to, int64_t step) {
    const auto tokens = t.earlier + t.tokens, rows = candidates_ * queries_;
    const auto columns = rounded_up(rows, kLanes);
    const float scale = 1 / std::sqrt(static_cast<float>(t.head_width));
    std::fill_n(s.share.begin(), tokens * columns, -INFINITY);
    std::fill_n(s.share.begin(), columns, 0.0F);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < seen(r); ++j)
        s.share[static_cast<std::size_t>(j * columns + r)] =
            scale * scalar_product(s.query.data() + r * s.padded_head,
                                   token_of(s.keys, t.past_keys, r / queries_, head, j),
                                   t.head_width);
    softmax(s.share.data(), tokens, columns);
    for (int64_t r = 0; r < rows; ++r) {
      const float* share = s.share.data() + r;
      float* output = to + r * step;
      for (int64_t j = 0; j < seen(r); ++j) {
        const float* value = token_of(s.values, t.past_values, r / queries_, head, j);
        const Eight part = all(share[j * columns]);
        by_lanes(t.head_width, [&](int64_t d, int64_t some) {
          const Eight before = j == 0 ? Eight{} : load(output + d, some);
          store(before + part * load(value + d, some), output + d, some);
        });
      }
    }
  }

  // Tokens that query `r` of the tile sees.
  int64_t seen(int64_t r) const { return t.earlier + first_query_ + r % queries_ + 1; }

  void feed_forward() {
    const auto rows = candidates_ * outputs_;
    for (int64_t r = 0; r < rows; ++r) {
      const auto token = t.first_output + r % outputs_, candidate = r / outputs_;
      const float* m = modulation(candidate, token);
      float* y = s.y.data() + r * s.padded_width;
      const float* attention =
          token < first_query_
              ? s.lone_attention.data() + candidate * s.padded_width
              : s.attention.data() + (candidate * queries_ + token - first_query_) * s.padded_width;
      add_gated(t.x + ((begin_ + candidate) * t.tokens + token) * t.width, m + 2 * t.width,
                attention, y);
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
    by_lanes(t.width, [&](int64_t d, int64_t some) {
      store(load(x + d, some) + load(gate + d, some) * load(branch + d, some), to + d, some);
    });
  }

  const AdaLnTask<Value>& t;
  AdaLnTile& s;
  int64_t begin_, candidates_;
  int64_t first_query_ = 0, queries_ = 0, outputs_ = 0;
};
