// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/pickled_integers.hpp"

#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "temporary_folder.hpp"

namespace foresight::io::pickled_integers_test {
namespace {

TEST_CASE("a pickled list of integers is read, anything else refused by name") {
  TemporaryFolder folder;
  const auto file = folder / "lengths.pkl";
  const auto write = [&](const std::string& bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
  };
  const auto refused = [&](ErrorCategory category, const char* word) {
    return fails_with(
        category, [&] { read_pickled_integers(file); }, "lengths.pkl", word);
  };
  const std::string start("\x80\x02]q\x00(K\x04", 8);
  // pickle.dumps([4, 300, -1], protocol=2)
  write(start + "M,\x01J\xff\xff\xff\xff" + "e.");
  CHECK(read_pickled_integers(file) == std::vector<std::int64_t>{4, 300, -1});
  write(start);
  CHECK(refused(ErrorCategory::bad_file, ""));
  write(std::string("\x80\x02}q\x00.", 6));  // {}
  CHECK(refused(ErrorCategory::bad_file, "list of whole numbers"));
  write(start + "G\x3f\xf0" + std::string(6, '\0') + "e.");  // [4, 1.0]
  CHECK(refused(ErrorCategory::bad_file, "item 1"));
  write(
      "\x80\x02"
      "cos\nsystem\nq\x01.");
  CHECK(refused(ErrorCategory::unsupported, "system"));
}

}  // namespace
}  // namespace foresight::io::pickled_integers_test
