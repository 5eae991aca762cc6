// SPDX-License-Identifier: Apache-2.0
// Which columns of a plain folder are actions and states.
#include <algorithm>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/dataset.hpp"
#include "recordings.hpp"

namespace foresight::data::folder_columns_test {

using Names = std::vector<std::string>;

TEST_CASE("columns of a plain folder are chosen by feature as well") {
  const auto set = recordings() / "tworoom" / "native224";
  const auto data = open_dataset(set, {.actions = {"action"}, .states = {"goal", "distance"}});
  CHECK(data->action_columns() == Names{"action_0", "action_1"});
  CHECK(data->state_columns() == Names{"goal_0", "goal_1", "distance"});
  CHECK(open_dataset(set, {.actions = {"action_1"}})->action_columns() == Names{"action_1"});
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(set, {.actions = {"acton_0"}}); }, "acton_0",
      "did you mean"));
}

TEST_CASE("the only action of a plain folder may be called action, and its only state state") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(1, 3);
  const auto table = [&](const char* text) {
    std::ofstream(films.path() / "episode_0000.csv") << text;
    return open_dataset(films.path());
  };
  const auto one = table("action,state\n1,2\n3,4\n5,6\n");
  CHECK(one->action_columns() == Names{"action"});
  CHECK(one->state_columns() == Names{"state"});
  const auto vectors = table("action,action_0,action_1,state\n1,2,3,a\n4,5,6,b\n7,8,9,c\n");
  CHECK(vectors->action_columns() == Names{"action_0", "action_1"});
  CHECK(vectors->state_columns().empty());  // of words
}

TEST_CASE("a bad cell is an error for a feature that its column belongs to, not a number less") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(2, 3);
  for (const auto* name : {"episode_0000.csv", "episode_0001.csv"})
    std::ofstream(films.path() / name)
        << "action_0,goal_0,goal_1\n0,1,2\n0,3,"
        << (std::string(name) == "episode_0001.csv" ? "bad" : "4") << "\n0,5,6\n";
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(films.path(), {.states = {"goal"}}); },
      "episode_0001.csv", "goal_1", "bad"));
}

TEST_CASE("columns that a plain folder's tables do not share are left out with a remark") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(3, 2);
  const auto table = [&](const char* name, const char* text) {
    std::ofstream(films.path() / name) << text;
  };
  table("episode_0000.csv", "action_0,goal,note,place,said\n0,1,a,b,hi\n0,2,c,d,ho\n");
  table("episode_0001.csv", "action_0,goal,note,place,late,task\n0,1,a,3,5,x\n0,2,c,4,5,y\n");
  table("episode_0002.csv", "action_0,goal,note,place,said\n0,1,a,b,hi\n0,bad,c,d,ho\n");
  const auto data = open_dataset(films.path());
  CHECK(data->columns() == Names{"action_0"});
  CHECK(data->text_columns() == Names{"note"});
  const auto remarks = data->remarks();
  REQUIRE(remarks.size() == 4);
  const auto has = [&](const std::string& words) {
    return std::count_if(remarks.begin(), remarks.end(), [&](const auto& remark) {
      return remark.find(films.path().string() + ": " + words) == 0;
    });
  };
  const auto file = [&](const char* name) { return (films.path() / name).string(); };
  CHECK(has("'late', 'task' are left out: it is not in " + file("episode_0000.csv")) == 1);
  CHECK(has("'said' is left out: it is not in " + file("episode_0001.csv")) == 1);
  CHECK(has("'goal' is left out: it holds words in " + file("episode_0002.csv") + ", numbers in " +
            file("episode_0000.csv")) == 1);
  CHECK(has("'place' is left out: it holds words in " + file("episode_0000.csv") + ", numbers in " +
            file("episode_0001.csv")) == 1);
}

}  // namespace foresight::data::folder_columns_test
