// SPDX-License-Identifier: Apache-2.0
// Several HDF5 files of a folder, which are one data set if they hold the same features.
#include <algorithm>
#include <filesystem>

#include "error_message.hpp"
#include "hdf5_recordings.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::joined_files_test {
namespace {

namespace fs = std::filesystem;

// Two demonstrations of robomimic, whose actions are 0 and 1.
fs::path lift() { return layout_of("robomimic_merged") / "tasks" / "lift.hdf5"; }

// The same, but the actions of the second are 7.
void write_other_lift(const fs::path& file) {
  fs::copy_file(lift(), file);
  const auto raw = [](float value) {
    const Tensor actions = at::full({3, 2}, value);
    return std::string(static_cast<const char*>(actions.const_data_ptr()), actions.nbytes());
  };
  auto bytes = io::read_text(file);
  const auto place = bytes.find(raw(1));
  REQUIRE(place != std::string::npos);
  bytes.replace(place, raw(7).size(), raw(7));
  io::write_text(file, bytes);
}

int64_t copies_remarked(const Dataset& data) {
  const auto remarks = data.remarks();
  return std::count_if(remarks.begin(), remarks.end(), [](const auto& remark) {
    return remark.find("seem to hold the same episodes") != std::string::npos;
  });
}

std::uint64_t identity(const Dataset& data) {
  Fnv1a hash;
  data.identify_frames(hash);
  return hash.value();
}

TEST_CASE("HDF5 files of a folder are one data set, in the order of their names") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  fs::copy_file(lift(), folder / "part_2.hdf5");
  write_other_lift(folder / "part_10.hdf5");
  const auto data = open_dataset(folder.path()), first = open_dataset(folder / "part_2.hdf5"),
             second = open_dataset(folder / "part_10.hdf5");
  CHECK(data->name() == folder.path().string());
  REQUIRE(data->num_episodes() == 4);
  CHECK(data->total_rows() == 12);
  CHECK(data->episode_name(1) == "part_2.hdf5: demo_1");
  CHECK(data->episode_name(3) == "part_10.hdf5: demo_1");
  CHECK(data->columns() == first->columns());
  CHECK(data->action_columns() == first->action_columns());
  CHECK(data->state_columns() == first->state_columns());
  CHECK(data->cameras() == first->cameras());
  CHECK(data->groups().size() == first->groups().size());
  CHECK(copies_remarked(*data) == 0);
  for (const int64_t e : {0, 1}) {
    CHECK(at::equal(data->read_all_rows(data->columns(), e),
                    first->read_all_rows(data->columns(), e)));
    CHECK(at::equal(data->read_all_rows(data->columns(), 2 + e),
                    second->read_all_rows(data->columns(), e)));
    CHECK(at::equal(data->read_frames(2 + e, {2, 0}), second->read_frames(e, {2, 0})));
  }
  CHECK(data->read_rows({"actions_0"}, 3, 1, 1).item<double>() == 7);
  CHECK(data->read_stored({"actions_0"}, 3, 1, 1).scalar_type() == at::kFloat);
  CHECK(data->column_type("actions_0") == at::kFloat);
  CHECK(fails_with(ErrorCategory::invalid_argument, [&] { data->length(4); }, "episode 4", "0..3"));
  const auto other_camera = open_dataset(folder.path(), {.camera = "agentview_image"});
  CHECK(other_camera->camera() == "obs/agentview_image");
  // Frames are known again by the files that they lie in.
  const auto known = identity(*data);
  CHECK(identity(*open_dataset(folder.path())) == known);
  fs::last_write_time(folder / "part_10.hdf5", fs::file_time_type::clock::now());
  CHECK(identity(*open_dataset(folder.path())) != known);
}

TEST_CASE("HDF5 files of a folder that are copies of each other are remarked") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  for (const char* name : {"a.h5", "b.h5"}) fs::copy_file(flat_arrays(), folder / name);
  const auto data = open_dataset(folder.path()), one = open_dataset(folder / "a.h5");
  CHECK(data->num_episodes() == 2 * one->num_episodes());
  CHECK(data->last_action() == one->last_action());
  CHECK(data->text_columns() == one->text_columns());
  CHECK(copies_remarked(*data) == 1);
}

TEST_CASE("a split is chosen in each of several HDF5 files") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  for (const char* name : {"a.hdf5", "b.hdf5"})
    fs::copy_file(layout_of("robomimic_split") / "low_dim.hdf5", folder / name);
  const auto data = open_dataset(folder.path(), {.split = "train"});
  REQUIRE(data->num_episodes() == 6);
  CHECK(data->episode_name(5) == "b.hdf5: demo_10");
  const auto all = open_dataset(folder.path());
  CHECK(all->splits() == open_dataset(folder / "a.hdf5")->splits());
  CHECK(all->episodes_of_split("train") == std::vector<int64_t>{0, 2, 10, 11, 13, 21});
  CHECK(fails_with(ErrorCategory::not_found, [&] { all->episodes_of_split("test"); }, "train"));
}

TEST_CASE("HDF5 files of a folder that differ are named, and so is what differs") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto other = folder / "b.hdf5";
  const auto joins = [&](const fs::path& second, const char* differs) {
    fs::copy_file(second, other, fs::copy_options::overwrite_existing);
    return fails_with(
        ErrorCategory::bad_file, [&] { open_dataset(folder.path()); },
        folder.path().string() + ": its HDF5 files are no one data set: a.hdf5 and b.hdf5 differ: ",
        differs);
  };
  fs::copy_file(lift(), folder / "a.hdf5");
  CHECK(joins(layout_of("robomimic_merged") / "tasks" / "can.hdf5",
              "columns of the first alone: obs/object [3]; of the second alone: obs/lid [1], "
              "obs/object [4]"));
  CHECK(joins(flat_arrays(), "columns of the first"));
  fs::copy_file(layout_of("robomimic_rate") / "low_dim.hdf5", folder / "a.hdf5",
                fs::copy_options::overwrite_existing);
  CHECK(joins(layout_of("robomimic_split") / "low_dim.hdf5", "frames are 16x16 and 4x4"));
  const DatasetOptions one_size{.video = {.height = 4, .width = 4}};
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path(), one_size); },
      "20 and 0 rows a second"));
  auto one_rate = one_size;
  one_rate.fps = 20;
  CHECK(open_dataset(folder.path(), one_rate)->num_episodes() == 13);
}

}  // namespace
}  // namespace foresight::data::joined_files_test
