// SPDX-License-Identifier: Apache-2.0
// What a number may differ from its reference by: as fixtures say it, and as a narrow arithmetic
// loses it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace foresight {

/// |actual - expected| <= atol + rtol*|expected| + of_max*max|expected|.
struct Tolerance {
  double atol = 0;
  double rtol = 0;
  double of_max = 0;
};

/// What a computation of `roundings` roundings in sequence may lose in bfloat16, of the tensor's
/// largest value. A bfloat16 has 8 significant bits, so one rounding errs by up to 2^-8, in the
/// root mean square by a root of 3 less; independent errors add up as their root, and 4 of their
/// deviations hold for every element of a tensor.
inline Tolerance bfloat16_tolerance(int64_t roundings) {
  return {0, 0, 4 * 0x1p-8 * std::sqrt(static_cast<double>(roundings) / 3)};
}
/// The same in fixed point of 16 bits (nn/packed_linear.hpp): a number is rounded by up to
/// half a step of its block, a block of 256 numbers being scaled to a norm of 46330: by sqrt(256) /
/// (2 * 46330) of the block's root mean square.
inline Tolerance fixed_point_tolerance(int64_t roundings) {
  return {0, 0, 4 * 16 / (2 * 46330.0) * std::sqrt(static_cast<double>(roundings) / 3)};
}
/// Roundings in sequence of one transformer block: twice norm, product, nonlinearity, product and
/// sum, and the scores and sums of attention.
inline constexpr int64_t kRoundingsOfBlock = 12;
/// Of a network of `blocks` blocks. What comes before and after them counts as one more.
constexpr int64_t roundings_of_network(int64_t blocks) { return (blocks + 1) * kRoundingsOfBlock; }

/// The number after `word` in prose such as "abs 2e-5 + rel 5e-5"; 0 where there is none.
inline double number_after(std::string_view text, std::string_view word) {
  const auto at = text.find(word);
  return at == std::string_view::npos ? 0.0 : std::strtod(text.data() + at + word.size(), nullptr);
}

/// Tolerances written as prose: "fp32: abs 1e-4 + rel 1e-4; fp64: ...", "...; gradients rel 2e-4 of
/// the tensor's max".
inline Tolerance tolerance_from_prose(const std::string& prose, std::string_view section) {
  Tolerance plain{};
  for (std::size_t begin = 0; begin < prose.size();) {
    const auto end = std::min(prose.find(';', begin), prose.size());
    const std::string clause = prose.substr(begin, end - begin);
    begin = end + 1;
    const double atol = number_after(clause, "abs "), rtol = number_after(clause, "rel ");
    const bool of_max = clause.find("of the tensor's max") != std::string::npos;
    const Tolerance read = of_max ? Tolerance{atol, 0, rtol} : Tolerance{atol, rtol, 0};
    if (clause.find("gradients") != std::string::npos) {
      if (section == "grads") return read;
    } else if (clause.find("after_step") != std::string::npos) {
      if (section.starts_with("after_step")) return read;
    } else if (clause.find("fp64:") != std::string::npos) {
      if (section.ends_with("64")) return read;
    } else if (plain.atol == 0 && plain.rtol == 0) {
      plain = read;
    }
  }
  return plain;
}

}  // namespace foresight
