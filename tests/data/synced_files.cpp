// SPDX-License-Identifier: Apache-2.0
// What is on the disk, and not only in the system's memory, when a writer says that it is done: the
// calls of fsync() in this program are counted.
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "catch.hpp"
#include "foresight/data/video_writer.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::synced_files_test {
namespace {

std::mutex guard;
std::vector<std::string>* synced = nullptr;  // what was synced, by path, while a test listens

void note_sync(int descriptor) {
  const std::lock_guard lock(guard);
  if (synced == nullptr) return;
  std::error_code ignored;
  synced->push_back(
      std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), ignored)
          .string());
}

}  // namespace
}  // namespace foresight::data::synced_files_test

extern "C" __attribute__((visibility("default"))) int fsync(int descriptor) {
  foresight::data::synced_files_test::note_sync(descriptor);
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

namespace foresight::data::synced_files_test {

TEST_CASE("a film is on the disk before it has its name, and then its name is") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (!std::filesystem::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  const TemporaryFolder folder;
  const auto place = std::filesystem::canonical(folder.path());
  std::vector<std::string> seen;
  VideoWriter writer(place / "film.mp4", {.preset = "ultrafast"});
  writer.write(at::zeros({3, 16, 16, 3}, at::kByte));
  {
    const std::lock_guard lock(guard);
    synced = &seen;
  }
  writer.close();
  {
    const std::lock_guard lock(guard);
    synced = nullptr;
  }
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].starts_with((place / "film.mp4.").string()));  // still under another name
  CHECK(seen[1] == place.string());
}

}  // namespace foresight::data::synced_files_test
