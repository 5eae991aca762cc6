// SPDX-License-Identifier: Apache-2.0
// One line about a long run: rewritten in place on a terminal, one plain line now and then
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight::train {

/// Where progress goes.
enum class ProgressStyle {
  automatic,  ///< rewritten if the stream is a terminal, plain otherwise
  rewritten,
  plain,  ///< a line at most every ten seconds, and the first and last
  silent,
};

class FORESIGHT_API Progress {
 public:
  /// `label` opens every line; `first` steps of `total` are done already.
  Progress(std::string label, int64_t total, int64_t first = 0,
           ProgressStyle style = ProgressStyle::automatic, std::FILE* stream = stderr);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Tells that `step` steps are done, each of `samples` samples; `detail` is appended, e.g. "loss
  /// 0.31".
  void update(int64_t step, int64_t samples, std::string_view detail);

  /// "jepa 300/1500  20%  3105 samples/s  ETA 0:42  loss 0.31".
  std::string line(int64_t step, int64_t samples, double seconds, std::string_view detail) const;

 private:
  std::string label_;
  int64_t total_, first_;
  ProgressStyle style_;
  std::FILE* stream_;
  std::chrono::steady_clock::time_point start_, last_;
  bool open_line_ = false, printed_ = false;
};

}  // namespace foresight::train
