// SPDX-License-Identifier: Apache-2.0
// Question: how long does recorded video keep training waiting? Times opening a folder of episodes,
// decoding it into memory, and drawing batches of windows (T = 4, stride 5, B = 128) from memory
// and straight from the files.
//   benchmark_data_loading <folder> [threads]
// Prints one JSON object.
#include <ATen/Parallel.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "foresight/data/loader.hpp"
#include "foresight/data/statistics.hpp"

namespace {

using namespace foresight;

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Windows per second over at most `limit` batches.
double windows_per_second(const std::shared_ptr<const data::Dataset>& dataset,
                          std::shared_ptr<const data::FrameCache> frames, int64_t threads,
                          int64_t limit) {
  const data::WindowIndex windows(*dataset, {.frames = 4, .stride = 5});
  data::Loader loader(std::move(frames), windows, data::action_space(*dataset, 5),
                      {.batch = 128, .threads = threads});
  const Stopwatch watch;
  int64_t drawn = 0;
  for (int64_t i = 0; i < limit; ++i)
    if (const auto batch = loader.next()) drawn += batch->pixels.size(0);
  return static_cast<double>(drawn) / watch.seconds();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: benchmark_data_loading <folder> [threads]\n";
    return 2;
  }
  at::set_num_threads(1);
  const int64_t threads = argc > 2 ? std::stoll(argv[2]) : 2;
  data::DatasetOptions options;
  options.threads = threads;
  const Stopwatch opening;
  const auto dataset = data::open_dataset(argv[1], options);
  nlohmann::json report{{"benchmark", "data_loading"},
                        {"folder", argv[1]},
                        {"threads", threads},
                        {"episodes", dataset->num_episodes()},
                        {"frames", dataset->total_rows()},
                        {"height", dataset->image_size().height},
                        {"width", dataset->image_size().width},
                        {"open_seconds", opening.seconds()}};
  const Stopwatch decoding;
  const auto all =
      std::make_shared<data::FrameCache>(dataset, data::FrameCacheOptions{.threads = threads});
  report["decode_seconds"] = decoding.seconds();
  report["decode_frames_per_second"] = static_cast<double>(all->frames_held()) / decoding.seconds();
  report["cached_windows_per_second"] = windows_per_second(dataset, all, threads, 300);
  const auto none =
      std::make_shared<data::FrameCache>(dataset, data::FrameCacheOptions{.budget_mb = 0});
  report["uncached_windows_per_second"] = windows_per_second(dataset, none, threads, 8);
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_data_loading: " << error.what() << "\n";
  return 1;
}
