// SPDX-License-Identifier: Apache-2.0
// A loop over episodes on several threads. Private to the data folder.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace foresight::data {

/// Calls body(i) for i = 0..count-1 on `threads` threads (0: one per core). If calls throw, the
/// others stop soon and the exception of the smallest i among those that ran is thrown. Every i
/// smaller than a failing one runs, so that a broken data set gives the same message each time.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t threads, Body&& body) {
  if (threads <= 0) threads = std::max(1u, std::thread::hardware_concurrency());
  threads = std::min(threads, count);
  std::atomic<std::int64_t> next{0}, failed{std::numeric_limits<std::int64_t>::max()};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    for (std::int64_t i = next++; i < count && i < failed.load(); i = next++) {
      try {
        body(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed.load()) {
          failed = i;
          error = std::current_exception();
        }
      }
    }
  };
  {
    std::vector<std::jthread> workers;
    for (std::int64_t t = 1; t < threads; ++t) workers.emplace_back(work);
    work();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace foresight::data
