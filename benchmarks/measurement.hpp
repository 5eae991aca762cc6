// SPDX-License-Identifier: Apache-2.0
// What all benchmarks share: the machine that a figure came from, clocks that wait for a GPU, and
// medians of interleaved repetitions.
#pragma once

#include <torch/cuda.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "foresight/core/device.hpp"

namespace foresight::benchmark {

/// CPU, its cores, compiler, LibTorch and the day (UTC); of a run on a GPU its name as well.
inline nlohmann::json machine(at::Device device = at::kCPU) {
  std::ifstream info("/proc/cpuinfo");
  std::string cpu = "unknown", features;
  for (std::string line; std::getline(info, line);) {
    const auto value = [&] { return line.substr(std::min(line.size(), line.find(':') + 2)); };
    if (line.rfind("model name", 0) == 0) cpu = value();
    if (line.rfind("flags", 0) == 0 && features.empty())
      for (const std::string flag : {"avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"})
        if (value().find(flag) != std::string::npos)
          features += (features.empty() ? "" : " ") + flag;
  }
  const auto now = std::time(nullptr);
  char day[sizeof "2026-01-31"];
  std::strftime(day, sizeof day, "%F", std::gmtime(&now));
  nlohmann::json machine{{"cpu", cpu},
                         {"cpu_features", features},
                         {"cores", std::thread::hardware_concurrency()},
                         {"compiler", __VERSION__},
                         {"libtorch", TORCH_VERSION},
                         {"day", day}};
  if (device.is_cuda()) machine["gpu"] = device_name(device);
  return machine;
}

/// Waits until `device` has done all that it was given: without, a clock would tell how long it
/// takes to give a GPU its work.
inline void finish_work(at::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

/// Milliseconds that `work` takes, computing on `device`.
inline double milliseconds(const std::function<void()>& work, at::Device device = at::kCPU) {
  finish_work(device);
  const auto start = std::chrono::steady_clock::now();
  work();
  finish_work(device);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

/// The middle one, of an even count the mean of the middle two.
inline double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto half = times.size() / 2;
  return times.size() % 2 == 1 ? times[half] : (times[half - 1] + times[half]) / 2;
}

/// Median, fastest and worst, all in milliseconds; of twenty or more the 95th percentile as well.
inline nlohmann::json summary(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  nlohmann::json row{{"median_ms", median(times)},
                     {"fastest_ms", times.front()},
                     {"worst_ms", times.back()},
                     {"repetitions", times.size()}};
  if (times.size() >= 20) row["p95_ms"] = times[(times.size() - 1) * 95 / 100];
  return row;
}

/// The works' milliseconds, taken in turns, so that what else runs on the machine meets all of
/// them: one list per work, the first `warm_up` rounds left out.
inline std::vector<std::vector<double>> in_turns(const std::vector<std::function<double()>>& works,
                                                 int rounds, int warm_up) {
  std::vector<std::vector<double>> times(works.size());
  for (int round = -warm_up; round < rounds; ++round)
    for (std::size_t i = 0; i < works.size(); ++i) {
      const double ms = works[i]();
      if (round >= 0) times[i].push_back(ms);
    }
  return times;
}

}  // namespace foresight::benchmark
