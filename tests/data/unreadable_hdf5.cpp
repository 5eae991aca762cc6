// SPDX-License-Identifier: Apache-2.0
// HDF5 files that are cut short, and those that have lost one of their arrays: noticed when the
// data set is opened, and refused or left out as chosen.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "error_message.hpp"
#include "hdf5_recordings.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::unreadable_hdf5_test {
namespace {

namespace fs = std::filesystem;

DatasetOptions skipping() { return {.unreadable = Unreadable::skip}; }

bool is_remarked(const Dataset& data, const std::string& words) {
  const auto remarks = data.remarks();
  return std::any_of(remarks.begin(), remarks.end(),
                     [&](const auto& one) { return one.find(words) != std::string::npos; });
}

TEST_CASE("robomimic refuses or skips a demonstration that has lost any array when it is opened") {
  if (!hdf5_is_built_in()) return;
  const auto whole = open_dataset(layout_of("robomimic"));
  for (const std::string name : {"obs/robot0_eef_quat", "states"})
    for (const int64_t lost : {0, 4}) {
      INFO(name << " of " << lost);
      const TemporaryFolder folder;
      const auto file = folder / "low_dim.hdf5";
      fs::copy_file(layout_of("robomimic") / "low_dim.hdf5", file);
      spoil_array(file, stored_array(*whole, name, lost));
      CHECK(fails_with(
          ErrorCategory::bad_file, [&] { open_dataset(file); }, file.string(),
          "data/demo_" + std::to_string(lost) + "/" + name + " cannot be read", "10 of 11"));
      const auto data = open_dataset(file, skipping());
      REQUIRE(data->unreadable_episodes().size() == 1);
      CHECK(data->unreadable_episodes().begin()->first == lost);
      CHECK_THROWS_AS(data->read_frames(lost, {0}), Error);
      CHECK(at::isnan(stored_array(*data, name, lost)).all().item<bool>());
      check_rest(*data, *whole, lost);
      for (int64_t e = 0; e < data->num_episodes(); ++e)
        if (e != lost)
          CHECK(at::equal(stored_array(*data, name, e), stored_array(*whole, name, e)));
    }
}

TEST_CASE("part: an array of HDF5 that cannot be opened", "[.]") {
  const TemporaryFolder folder;
  const auto file = folder / "low_dim.hdf5";
  fs::copy_file(layout_of("robomimic") / "low_dim.hdf5", file);
  spoil_array(file, stored_array(*open_dataset(file), "states", 0));
  CHECK(open_dataset(file, skipping())->unreadable_episodes().size() == 1);
}

TEST_CASE("a program that met a damaged array ends without a word of HDF5") {
  if (!hdf5_is_built_in()) return;
  if (!fs::exists("/proc/self/exe")) FORESIGHT_SKIP("no /proc");
  const TemporaryFolder folder;
  const auto said = folder / "said.txt";
  const auto command = "'" + fs::read_symlink("/proc/self/exe").string() +
                       "' 'part: an array of HDF5 that cannot be opened' > '" + said.string() +
                       "' 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK_THAT(io::read_text(said),
             Catch::Contains("All tests passed") && !Catch::Contains("HDF5: infinite loop"));
}

TEST_CASE("robomimic without pictures is refused, naming the script that renders them") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto file = folder / "low_dim.hdf5";
  fs::copy_file(layout_of("robomimic_rate") / "low_dim.hdf5", file);
  const auto whole = open_dataset(file);
  std::vector<Tensor> frames;
  for (int64_t e = 0; e < whole->num_episodes(); ++e) {
    std::vector<int64_t> rows(static_cast<std::size_t>(whole->length(e)));
    std::iota(rows.begin(), rows.end(), 0);
    frames.push_back(whole->read_frames(e, rows));
  }
  for (const auto& pictures : frames) spoil_array(file, pictures);
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(file); }, file.string() + ": has no camera",
      "robomimic's dataset_states_to_obs.py renders pictures"));
}

TEST_CASE("robomimic's demonstrations have the columns that most of them have, row for row") {
  if (!hdf5_is_built_in()) return;
  const auto path = layout_of("robomimic_uneven");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(path); },
      "data/demo_3/obs/height is missing; expected [3]: 10 of 11 demonstrations have it"));
  const auto data = open_dataset(path, skipping());
  CHECK(data->total_rows() == 33);  // as obs/range has, all demonstrations together
  const auto lost = data->unreadable_episodes();
  REQUIRE(lost.size() == 3);
  CHECK_THAT(lost.at(1), Catch::Contains("data/demo_1/obs/range has shape [2]; expected [3]"));
  CHECK_THAT(lost.at(2), Catch::Contains("data/demo_2/obs/range has shape [4]; expected [3]"));
  CHECK_THAT(lost.at(3), Catch::Contains("data/demo_3/obs/height is missing"));
  for (const int64_t e : {0, 3, 4})
    CHECK(at::equal(data->read_rows({"obs/range"}, e, 0, 3).flatten(),
                    at::tensor({0.0, 1.0, 2.0}, at::kDouble)));
  for (const int64_t e : {1, 2})
    CHECK(at::isnan(data->read_rows({"obs/range"}, e, 0, 3)).all().item<bool>());
  CHECK(at::isnan(data->read_rows({"obs/height"}, 3, 0, 3)).all().item<bool>());
  CHECK(data->read_rows({"obs/height"}, 1, 2, 1).item<double>() == 2);
  // What not nearly all have, by chance or at all, nobody has lost.
  for (const std::string some : {"obs/wheels", "interventions", "obs/shelf"}) {
    const std::string share =
        (some == "obs/shelf" ? "9" : "1") + std::string(" of 11 demonstrations");
    CHECK(is_remarked(*data, "'" + some + "' is left out: " + share));
    CHECK(fails_with(ErrorCategory::unsupported, [&] { data->read_rows({some}, 0, 0, 1); }, share));
  }
}

TEST_CASE("robomimic's tasks that are merged by links open, without columns that differ") {
  if (!hdf5_is_built_in()) return;
  const auto merged = layout_of("robomimic_merged");
  REQUIRE(fs::file_size(merged / "low_dim.hdf5") < 4096);  // before the places of arrays in others
  for (const auto unreadable : {Unreadable::fail, Unreadable::skip}) {
    const auto data = open_dataset(merged, {.unreadable = unreadable});
    CHECK(data->unreadable_episodes().empty());
    CHECK(data->columns() ==
          std::vector<std::string>{"actions_0", "actions_1", "obs/height", "states"});
    CHECK(data->cameras() == std::vector<std::string>{"wrist_image", "obs/agentview_image"});
    CHECK(data->camera() == "wrist_image");
    REQUIRE(data->num_episodes() == 4);
    for (int64_t e = 0; e < 4; ++e) {
      CHECK(at::equal(data->read_all_rows(data->action_columns(), e),
                      at::full({3, 2}, e, at::kDouble)));
      CHECK(data->read_rows({"obs/height"}, e, 2, 1).item<double>() == 2);
      CHECK(data->read_frames(e, {1})[0][0][0][0].item<int64_t>() == e);
    }
    CHECK(data->remarks().size() == 2);
    for (const std::string name : {"obs/object", "obs/lid"})
      CHECK(is_remarked(*data, "'" + name + "' is left out: 2 of 4 demonstrations"));
  }
}

TEST_CASE("an HDF5 file that is cut short is named, and left out beside one that is sound") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto cut = folder / "cut.h5", sound = folder / "sound.h5";
  fs::copy_file(flat_arrays(), cut);
  fs::resize_file(cut, fs::file_size(cut) - 1);
  for (const auto& path : {cut, folder.path()})  // alone: there is nothing to skip to
    for (const auto unreadable : {Unreadable::fail, Unreadable::skip}) {
      const auto message = error_message(ErrorCategory::bad_file,
                                         [&] { open_dataset(path, {.unreadable = unreadable}); });
      CHECK_THAT(message,
                 Catch::Contains(cut.string() + ": is cut short") && !Catch::Contains("h5repack"));
    }

  fs::copy_file(flat_arrays(), sound);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path()); },
      cut.string() + ": is cut short", "unreadable = skip"));
  const auto data = open_dataset(folder.path(), skipping());
  CHECK(data->name() == sound.string());
  CHECK(data->num_episodes() == open_dataset(sound)->num_episodes());
  CHECK(is_remarked(*data, cut.string() + ": is cut short"));

  const auto other = folder / "other.hdf5";
  fs::copy_file(layout_of("robomimic") / "low_dim.hdf5", other);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path(), skipping()); },
      "other.hdf5 and sound.h5 differ"));
  fs::copy_file(sound, other, fs::copy_options::overwrite_existing);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path()); },
      cut.string() + ": is cut short", "unreadable = skip"));
  const auto joined = open_dataset(folder.path(), skipping());
  CHECK(joined->num_episodes() == 2 * data->num_episodes());
  CHECK(is_remarked(*joined, cut.string() + ": is cut short"));
  fs::remove(sound);
  io::write_text(other, "this is no HDF5 file");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path(), skipping()); },
      "none of its 2 HDF5 files", cut.string()));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(other); }, other.string() + ": is no HDF5 file"));
}

TEST_CASE("an array whose bytes the file has not is refused, or left out and said") {
  if (!hdf5_is_built_in()) return;
  const auto whole = open_dataset(flat_arrays());
  const auto all_of = [&](const char* name) {
    std::vector<Tensor> parts;
    for (int64_t e = 0; e < whole->num_episodes(); ++e)
      parts.push_back(stored_array(*whole, name, e));
    return at::cat(parts);
  };
  const TemporaryFolder folder;
  const auto rewards = folder / "rewards.h5", actions = folder / "actions.h5";
  for (const auto& file : {rewards, actions}) fs::copy_file(flat_arrays(), file);
  take_bytes_away(rewards, all_of("reward"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(rewards); },
      rewards.string() + ": array 'reward' cannot be read", "the file ends after"));
  const auto data = open_dataset(rewards, skipping());
  CHECK(is_remarked(*data, rewards.string() + ": array 'reward' cannot be read: its "));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { data->read_rows({"reward"}, 0, 0, 1); },
      "the file ends after"));
  CHECK(at::equal(data->read_frames(0, {1}), whole->read_frames(0, {1})));
  take_bytes_away(actions, all_of("action"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(actions, skipping()); }, "no action column",
      "action: its 712 bytes"));
}

TEST_CASE("DROID notices at opening that the numbers of a trajectory cannot be read") {
  if (!hdf5_is_built_in()) return;
  const auto whole = open_dataset(layout_of("droid"));
  const TemporaryFolder folder;
  fs::copy(layout_of("droid"), folder / "droid", fs::copy_options::recursive);
  const auto table = folder / "droid" / "lab" / "01_episode" / "trajectory.h5";
  take_bytes_away(table, whole->read_all_rows(whole->state_columns(), 1).select(1, 6));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder / "droid"); }, table.string(),
      "gripper_position"));
  const auto data = open_dataset(folder / "droid", skipping());
  REQUIRE(data->unreadable_episodes().size() == 1);
  CHECK_THAT(data->unreadable_episodes().at(1), Catch::Contains("gripper_position"));
  CHECK(at::isnan(data->read_all_rows(data->state_columns(), 1)).all().item<bool>());
  CHECK(at::equal(data->read_all_rows(data->state_columns(), 0),
                  whole->read_all_rows(whole->state_columns(), 0)));
}

TEST_CASE("DROID opens without the places of its camera where they cannot be read") {
  if (!hdf5_is_built_in()) return;
  const auto whole = open_dataset(layout_of("droid_extrinsics"));
  const TemporaryFolder folder;
  fs::copy(layout_of("droid_extrinsics"), folder / "droid", fs::copy_options::recursive);
  const auto table = folder / "droid" / "lab" / "01_episode" / "trajectory.h5";
  take_bytes_away(table, stored_array(*whole, "camera_extrinsics", 1));
  const auto data = open_dataset(folder / "droid");
  CHECK(data->columns() == open_dataset(layout_of("droid"))->columns());
  CHECK(is_remarked(*data, "'camera_extrinsics' is left out: " + table.string()));
  CHECK(at::equal(data->read_all_rows(data->state_columns(), 1),
                  whole->read_all_rows(whole->state_columns(), 1)));
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { open_dataset(folder / "droid", {.states = {"camera_extrinsics"}}); }, table.string(),
      "camera_extrinsics/1001_left"));
}

}  // namespace
}  // namespace foresight::data::unreadable_hdf5_test
