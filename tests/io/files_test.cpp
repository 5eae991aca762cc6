// SPDX-License-Identifier: Apache-2.0
// Atomic replacement of files: success, failure of every kind, and sudden death while writing.
#include "foresight/io/files.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "child_process.hpp"
#include "error_message.hpp"
#include "foresight/io/safetensors.hpp"
#include "raw_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::files_test {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("text is written, replaced and read back, with no other file left") {
  TemporaryFolder folder;
  io::write_text(folder / "a.txt", "first");
  CHECK(io::read_text(folder / "a.txt") == "first");
  io::write_text(folder / "a.txt", std::string("sec\0nd", 6));
  CHECK(io::read_text(folder / "a.txt") == std::string("sec\0nd", 6));
  io::write_text(folder / "empty.txt", "");
  CHECK(io::read_text(folder / "empty.txt").empty());
  CHECK(names_in(folder.path()) == Names{"a.txt", "empty.txt"});
}

TEST_CASE("a name without a folder is written to the current one") {
  TemporaryFolder folder;
  const auto before = fs::current_path();
  fs::current_path(folder.path());
  io::write_text("plain.txt", "here");
  fs::current_path(before);
  CHECK(read_bytes(folder / "plain.txt") == "here");
}

TEST_CASE("an exception of the writer leaves the previous file and nothing else") {
  TemporaryFolder folder;
  io::write_text(folder / "a.txt", "old");
  CHECK_THROWS_AS(io::replace_file_atomically(folder / "a.txt",
                                              [](io::OutputFile& file) {
                                                file.write("half of the ne");
                                                throw std::runtime_error("interrupted");
                                              }),
                  std::runtime_error);
  CHECK(read_bytes(folder / "a.txt") == "old");
  CHECK(names_in(folder.path()) == Names{"a.txt"});
}

TEST_CASE("a library that writes by name may use the temporary file") {
  TemporaryFolder folder;
  io::replace_file_atomically(folder / "a.bin", [&](io::OutputFile& file) {
    write_bytes(file.temporary(), "by name");
    CHECK_FALSE(fs::exists(folder / "a.bin"));
  });
  CHECK(read_bytes(folder / "a.bin") == "by name");
}

TEST_CASE("pieces are written to their places, in any order and by several threads") {
  TemporaryFolder folder;
  io::replace_file_atomically(folder / "a.bin", [&](io::OutputFile& file) {
    file.write_at(6, "end", 3);
    std::jthread other([&] { file.write_at(0, "fi", 2); });
    file.write_at(2, "rst", 3);
  });
  CHECK(read_bytes(folder / "a.bin") == std::string("first\0end", 9));
}

TEST_CASE("permissions survive replacement and new files follow the umask") {
  TemporaryFolder folder;
  const auto mode = [](const fs::path& path) {
    struct stat status {};
    ::stat(path.c_str(), &status);
    return status.st_mode & 0777;
  };
  const auto umask_before = ::umask(022);
  io::write_text(folder / "new.txt", "x");
  ::umask(umask_before);
  CHECK(mode(folder / "new.txt") == 0644);
  ::chmod((folder / "new.txt").c_str(), 0600);
  io::write_text(folder / "new.txt", "y");
  CHECK(mode(folder / "new.txt") == 0600);
}

TEST_CASE("a symbolic link stays one and its target is replaced") {
  TemporaryFolder folder;
  fs::create_directory(folder / "disk");
  io::write_text(folder / "disk" / "real.txt", "old");
  fs::create_symlink("disk/real.txt", folder / "link.txt");
  io::write_text(folder / "link.txt", "new");
  CHECK(fs::is_symlink(folder / "link.txt"));
  CHECK(read_bytes(folder / "disk" / "real.txt") == "new");
}

TEST_CASE("targets that cannot be written are refused with their name") {
  TemporaryFolder folder;
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { io::write_text(folder / "no" / "a.txt", "x"); }, "a.txt",
      "does not exist"));
  fs::create_directory(folder / "dir");
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { io::write_text(folder / "dir", "x"); },
      "not a regular file"));
  CHECK(fails_with(
      ErrorCategory::io_failure, [] { io::write_text("/dev/full", "x"); }, "not a regular file"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { io::write_text("", "x"); }, "file name"));
  CHECK(names_in(folder.path()) == Names{"dir"});
}

TEST_CASE("reading refuses folders, special files, absent and large files") {
  TemporaryFolder folder;
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { io::read_text(folder / "absent"); }, "absent"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_text(folder.path()); }, "folder"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [] { io::read_text("/dev/zero"); }, "special file"));
  io::write_text(folder / "a", "12345");
  CHECK(io::read_text(folder / "a", 5) == "12345");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_text(folder / "a", 4); }, "at most 4"));
}

TEST_CASE("a full disk is an error, the previous file stays and the temporary is removed") {
  TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  io::write_safetensors(path, {{"w", at::ones(10)}});
  const auto before = read_bytes(path);
  const Tensor large = at::zeros(1 << 18);
  ChildProcess child([&] {
    limit_file_size(1 << 16);
    return fails_with(
               ErrorCategory::io_failure,
               [&] {
                 io::write_safetensors(path, {{"w", large}});
               },
               "model.safetensors: cannot write")
               ? 0
               : 1;
  });
  CHECK(child.wait() == 0);
  CHECK(read_bytes(path) == before);
  CHECK(names_in(folder.path()) == Names{"model.safetensors"});
}

TEST_CASE("a process killed while writing leaves a whole file, and the next writer cleans up") {
  TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  std::vector<Tensor> versions;
  for (int i = 0; i < 4; ++i) versions.push_back(at::full(1 << 20, static_cast<double>(i)));
  io::write_safetensors(path, {{"w", versions[0]}});
  for (int round = 0; round < 12; ++round) {
    ChildProcess child([&]() -> int {
      for (std::size_t i = 0;; ++i) io::write_safetensors(path, {{"w", versions[i % 4]}});
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(2 + 7 * round));
    CHECK(child.kill() == -SIGKILL);
    const Tensor read = io::SafeTensors::open(path).at("w");
    REQUIRE(read.numel() == 1 << 20);
    CHECK(read.eq(read[0]).all().item<bool>());
  }
  io::write_safetensors(path, {{"w", versions[0]}});
  CHECK(names_in(folder.path()) == Names{"model.safetensors"});
}

TEST_CASE("cleaning up spares files in use and files of other names") {
  TemporaryFolder folder;
  write_bytes(folder / "a.txt.tmp-backup", "a user's");
  write_bytes(folder / "a.txt.tmp-abandoned012", "a dead writer's");
  write_bytes(folder / "b.txt.tmp-abandoned012", "another target's");
  io::replace_file_atomically(folder / "a.txt", [&](io::OutputFile& outer) {
    io::write_text(folder / "a.txt", "inner");  // a second writer of the same target
    outer.write("outer");
  });
  CHECK(read_bytes(folder / "a.txt") == "outer");
  CHECK(names_in(folder.path()) == Names{"a.txt", "a.txt.tmp-backup", "b.txt.tmp-abandoned012"});
}

}  // namespace foresight::files_test
