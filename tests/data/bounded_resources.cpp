// SPDX-License-Identifier: Apache-2.0
// Long training must not run out of descriptors or memory: 10,000 windows from more files than are
// kept open.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "film_folder.hpp"
#include "foresight/data/loader.hpp"

namespace foresight::data::bounded_resources_test {
namespace {

int64_t open_descriptors() {
  int64_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

// Memory in use, MB.
double resident_mb() {
  std::ifstream statm("/proc/self/statm");
  int64_t all = 0, resident = 0;
  statm >> all >> resident;
  return static_cast<double>(resident * ::sysconf(_SC_PAGESIZE)) * 1e-6;
}

}  // namespace

TEST_CASE("descriptors and memory stay bounded over 10,000 windows from 600 films") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (!std::filesystem::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  constexpr int64_t kFilms = 600, kMostOpen = 256, kBatch = 50, kThreads = 2;
  const FilmFolder one(1, 8);
  const TemporaryFolder folder;
  for (int64_t e = 0; e < kFilms; ++e) {
    char name[32];
    std::snprintf(name, sizeof name, "episode_%04d", static_cast<int>(e));
    for (const char* extension : {".mp4", ".csv"}) {
      auto source = one.film(0);
      std::filesystem::copy_file(source.replace_extension(extension),
                                 folder / (std::string(name) + extension));
    }
  }
  const auto before = open_descriptors();
  {
    const auto data = open_dataset(folder.path());
    const WindowIndex windows(*data, {.frames = 2, .stride = 2});
    ActionSpace actions;
    actions.block = 2;
    Loader loader(std::make_shared<FrameCache>(data, FrameCacheOptions{.budget_mb = 0}), windows,
                  actions, {.batch = kBatch, .threads = kThreads, .seed = 5});
    int64_t seen = 0, most_open = 0;
    double early_mb = 0, most_mb = 0;
    while (seen < 10'000) {
      const auto batch = loader.next();
      if (!batch) continue;
      seen += batch->windows.size(0);
      most_open = std::max(most_open, open_descriptors() - before);
      if (seen == 3'000) early_mb = resident_mb();  // every film has been opened by now
      most_mb = std::max(most_mb, resident_mb());
    }
    INFO("descriptors at most " << most_open << ", memory " << early_mb
                                << " MB after 3,000 windows, at most " << most_mb << " MB");
    CHECK(most_open <= kMostOpen + kThreads + 16);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep what was freed
    CHECK(most_mb - early_mb < 40);
#endif
  }
  CHECK(open_descriptors() <= before + 2);
}

}  // namespace foresight::data::bounded_resources_test
