// SPDX-License-Identifier: Apache-2.0
// LeRobot data sets that went through other hands: copied by a Mac, cut or added to.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "continued_lerobot.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::data::lerobot_copies_test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("notes of the system among LeRobot's files are passed over") {
  const TemporaryFolder folder;
  const auto path = folder / "set";
  if (!copy_lerobot_matrices(path)) return;
  const auto episodes = path / "meta" / "episodes" / "chunk-000";
  std::ofstream(episodes / "._file-000.parquet") << "of macOS";
  fs::create_directory(episodes / ".checkpoints");
  std::ofstream(episodes / ".checkpoints" / "file-000.parquet") << "of an editor";
  const auto before = open_dataset(path)->num_episodes();
  CHECK(before == 2);
  CHECK(open_dataset(path)->remarks().empty());
  CHECK(add_matrix_episode(path) == before);
  CHECK(open_dataset(path)->num_episodes() == before + 1);
}

TEST_CASE("totals of info.json that are not those of the episodes are remarked") {
  const TemporaryFolder folder;
  const auto path = folder / "set", file = path / "meta" / "info.json";
  if (!copy_lerobot_matrices(path)) return;
  auto info = io::read_json(file);
  info["total_episodes"] = 3;
  info["total_frames"] = "many";
  io::write_json(file, info);
  const auto data = open_dataset(path);
  CHECK(data->num_episodes() == 2);
  const auto remarks = data->remarks();
  REQUIRE(remarks.size() == 2);
  CHECK(remarks[0].starts_with(file.string() + ": total_episodes = 3, but meta/ lists 2"));
  CHECK(remarks[1].starts_with(file.string() + ": total_frames = \"many\", but meta/ lists 10"));
}

}  // namespace
}  // namespace foresight::data::lerobot_copies_test
