// SPDX-License-Identifier: Apache-2.0
// LibTorch's threads, which loops of our own share: how many there are changes no bit of a result.
#pragma once

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

namespace foresight {

/// So many threads, until the end of the scope.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

/// Whether the tensor that `compute` makes on four threads is that of one, bit for bit. It must be
/// large enough for the loop in question to be shared.
template <class Compute>
bool same_on_four_threads(Compute&& compute) {
  const Threads one(1);
  const auto expected = compute();
  const Threads four(4);
  return at::equal(compute(), expected);
}

}  // namespace foresight
