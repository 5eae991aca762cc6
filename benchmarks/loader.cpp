// SPDX-License-Identifier: Apache-2.0
// Question: how many training windows a second does each format of recorded data give? Windows of 4
// frames, 20 actions and the frame that they lead to (5 frames, stride 5), batch 32, 64x64 pixels,
// random order: straight from the files, once with the system's cache of them dropped and once with
// it, and from decoded frames in memory.
//   benchmark_loader <recording>... [threads=2] [seconds=10]
// Prints one JSON object.
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <map>

#include "foresight/data/loader.hpp"
#include "foresight/data/statistics.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;
namespace fs = std::filesystem;

// Asks the system to forget its copies of the files; what it keeps all the same makes the figure
// for cold files too good, not too bad.
void drop_from_cache(const fs::path& path) {
  const auto drop = [](const fs::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDONLY);
    if (descriptor < 0) return;
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  };
  if (fs::is_regular_file(path)) drop(path);
  if (!fs::is_directory(path)) return;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) drop(entry.path());
}

struct Settings {
  int64_t threads = 2;
  double seconds = 10;
};

// A window of 5 frames has 4 blocks of 5 actions; the last frame is what they lead to.
double windows_a_second(const data::Dataset& dataset,
                        std::shared_ptr<const data::FrameCache> frames, const Settings& settings) {
  const data::WindowIndex windows(dataset, {.frames = 5, .stride = 5});
  const int64_t batch = std::min<int64_t>(32, windows.size());
  data::Loader loader(std::move(frames), windows, data::action_space(dataset, 5),
                      {.batch = batch, .threads = settings.threads});
  loader.next();  // readers are open, tables are read
  int64_t drawn = 0;
  double ms = 0;
  while (ms < 1000 * settings.seconds)
    ms += benchmark::milliseconds([&] {
      if (const auto made = loader.next()) drawn += made->pixels.size(0);
    });
  return 1000 * static_cast<double>(drawn) / ms;
}

nlohmann::json measure_format(const fs::path& path, const Settings& settings) {
  const data::DatasetOptions options{.video = {.height = 64, .width = 64},
                                     .threads = settings.threads};
  std::shared_ptr<const data::Dataset> dataset;
  const auto open = [&] { dataset = data::open_dataset(path, options); };
  const auto uncached = [&] {
    return std::make_shared<data::FrameCache>(dataset, data::FrameCacheOptions{.budget_mb = 0});
  };
  drop_from_cache(path);
  nlohmann::json result{{"open_cold_ms", benchmark::milliseconds(open)}};
  result["frames"] = dataset->total_rows();
  result["episodes"] = dataset->num_episodes();
  drop_from_cache(path);
  // The first epoch of a small set is soon in the cache again: short.
  result["cold_windows_per_second"] =
      windows_a_second(*dataset, uncached(), {settings.threads, settings.seconds / 10});
  result["open_warm_ms"] = benchmark::milliseconds(open);
  result["warm_windows_per_second"] = windows_a_second(*dataset, uncached(), settings);
  std::shared_ptr<const data::FrameCache> all;
  result["decode_all_ms"] = benchmark::milliseconds([&] {
    all = std::make_shared<data::FrameCache>(dataset,
                                             data::FrameCacheOptions{.threads = settings.threads});
  });
  result["memory_windows_per_second"] = windows_a_second(*dataset, all, settings);
  return result;
}

}  // namespace

int main(int argc, char** argv) try {
  at::set_num_threads(1);
  Settings settings;
  nlohmann::json report{{"benchmark", "loader"}, {"machine", benchmark::machine()}};
  std::vector<fs::path> recordings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("threads="))
      settings.threads = std::stoll(argument.substr(8));
    else if (argument.starts_with("seconds="))
      settings.seconds = std::stod(argument.substr(8));
    else
      recordings.emplace_back(argument);
  }
  if (recordings.empty()) {
    std::cerr << "usage: benchmark_loader <recording>... [threads=2] [seconds=10]\n";
    return 2;
  }
  report["threads"] = settings.threads;
  for (const auto& recording : recordings)
    report["recordings"][recording.string()] = measure_format(recording, settings);
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_loader: " << error.what() << "\n";
  return 1;
}
