// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/episode_writer.hpp"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <iterator>
#include <set>

#include "../../io/temporary.hpp"
#include "../formats/irregular_steps.hpp"
#include "../formats/lerobot_layout.hpp"
#include "../formats/number_types.hpp"
#include "../formats/recorded_notes.hpp"
#include "../tables/column_stem.hpp"
#include "episode_rows.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/data/lerobot_writer.hpp"
#include "journaled_writer.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// Columns that the writers add to every row.
const std::set<std::string> kAddedByLeRobot = {"timestamp", "frame_index", "episode_index", "index",
                                               "task_index"};
const std::set<std::string> kAddedByFolder = {"frame"};  // and the time where it is not recorded

[[noreturn]] void refuse_row(const std::string& where, const std::string& what,
                             ErrorCategory category = ErrorCategory::invalid_argument) {
  throw Error(category, where + ": " + what);
}

// Every wanted name is there, and no other.
template <class Map, class Names>
void check_names(const Map& given, const Names& wanted, const char* kind,
                 const std::string& where) {
  for (const auto& name : wanted)
    if (!given.contains(name)) refuse_row(where, std::string("no ") + kind + " '" + name + "'");
  for (const auto& [name, value] : given)
    if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) {
      std::string known;
      for (const auto& one : wanted) known += (known.empty() ? "" : ", ") + one;
      refuse_row(where, std::string("unknown ") + kind + " '" + name +
                            "', recorded are: " + (known.empty() ? "none" : known));
    }
}

Tensor checked_values(const RecordedFeature& feature, const Tensor& given,
                      const std::string& where) {
  const auto width = static_cast<int64_t>(feature.columns.size());
  const std::string name = "feature '" + feature.name + "'";
  const bool fits = given.defined() && given.numel() == width &&
                    (given.dim() <= 1 || given.sizes() == at::IntArrayRef(feature.shape));
  if (!fits)
    refuse_row(where, name + " has shape " +
                          (given.defined() ? shape_string(given.sizes()) : "undefined") +
                          ", expected [" + std::to_string(width) + "]" +
                          (feature.shape.empty() ? "" : " or " + shape_string(feature.shape)));
  if (given.is_complex()) refuse_row(where, name + " is complex, expected real numbers");
  const Tensor values = given.detach().to(at::kCPU).reshape({width});
  const Tensor stored = values.to(feature.type).contiguous();
  const bool may_be_nan = at::isFloatingType(feature.type) && feature.name != "observation.state";
  for (int64_t c = 0; c < width; ++c) {
    const double value = values[c].item<double>();
    const std::string column = "column '" + feature.columns[static_cast<std::size_t>(c)] + "'";
    if (!std::isfinite(value) && !(std::isnan(value) && may_be_nan))
      refuse_row(where, column + " is not a finite number", ErrorCategory::non_finite);
    if (!at::isFloatingType(feature.type) && stored[c].item<double>() != value)
      refuse_row(where, column + " = " + std::to_string(value) + ", but it is stored as " +
                            c10::toString(feature.type));
  }
  return stored;
}

void check_frame(const std::string& camera, const Tensor& frame, ImageSize known,
                 const std::string& where) {
  const std::string name = where + ": camera '" + camera + "'";
  check_shape(name, frame, {kAny, kAny, 3}, "[H,W,3]");
  if (frame.scalar_type() != at::kByte)
    refuse_row(name, std::string("frame of type ") + c10::toString(frame.scalar_type()) +
                         ", expected uint8");
  const ImageSize size{frame.size(0), frame.size(1)};
  if (known != ImageSize{} && size != known)
    refuse_row(name, "a frame of " + std::to_string(size.width) + "x" +
                         std::to_string(size.height) + " pixels in a data set of " +
                         std::to_string(known.width) + "x" + std::to_string(known.height));
}

// A folder's table has no matrices: its reader makes them of columns with numbers at their ends.
std::vector<RecordedFeature> matrices_without_group(const std::vector<RecordedFeature>& features) {
  std::vector<std::string> columns = {"frame", kTimeColumn};
  for (const auto& feature : features)
    std::copy_if(feature.columns.begin(), feature.columns.end(), std::back_inserter(columns),
                 [](const auto& column) { return column != kTimeColumn; });
  const auto groups = groups_by_stem(columns, table_shapes(features));
  std::vector<RecordedFeature> without;
  for (const auto& feature : features)
    if (is_matrix(feature) && std::none_of(groups.begin(), groups.end(), [&](const auto& group) {
          return group.columns == feature.columns && group.shape == feature.shape;
        }))
      without.push_back(feature);
  return without;
}

std::unique_ptr<EpisodeWriter> make_episode_writer(const fs::path& folder, TargetFormat format,
                                                   const RecordingOptions& options) {
  if (format == TargetFormat::lerobot) return std::make_unique<LeRobotWriter>(folder, options);
  return std::make_unique<FolderWriter>(folder, options);
}

}  // namespace

std::vector<std::string> RecordingOptions::validate(TargetFormat format) const {
  Rules rules("RecordingOptions");
  rules.nested("video", video.validate());
  const bool lerobot = format == TargetFormat::lerobot;
  if (lerobot)
    rules.check(video.fps == std::round(video.fps) && video.fps >= 1, "video.fps", video.fps,
                "must be a whole number, as LeRobot keeps it");
  rules.check(!cameras.empty(), "cameras", "[]", "must name at least one");
  rules.check(storage == FrameStorage::video || lerobot, "storage", "pictures",
              "is known in LeRobot data only");
  rules.check(!task.empty(), "task", task, "must say something");
  check_notes(rules, notes);
  rules.at_least("episodes_per_file", static_cast<double>(episodes_per_file), 1);
  rules.check(unfinished == Unfinished::lost || episodes_per_file == 1, "episodes_per_file",
              static_cast<double>(episodes_per_file), "must be 1 where unfinished = recovered");
  rules.within("data_file_mb", data_file_mb, 0.001, 100000);
  rules.within("video_file_mb", video_file_mb, 0.001, 100000);
  rules.within("files_per_chunk", static_cast<double>(files_per_chunk), 1, 1000000);
  std::set<std::string> names = lerobot ? kAddedByLeRobot : kAddedByFolder;
  std::set<std::string> columns = names;
  const auto check_name = [&](const std::string& name, const char* forbidden,
                              std::set<std::string>& seen) {
    const bool plain =
        !name.empty() && name[0] != '.' && name.find_first_of(forbidden) == std::string::npos;
    rules.check(plain, "name", name,
                std::string("must be a name without any of ") + (forbidden[0] == '/' ? "/ " : "") +
                    "\" , and line ends");
    rules.check(seen.insert(name).second, "name", name,
                "must be given once, and be none that the writer adds (frame_index, ...)");
  };
  constexpr const char* kNoFeature = "/,\"\r\n";
  constexpr const char* kNoColumn = ",\"\r\n";
  for (const auto& camera : cameras) {
    const auto feature = lerobot_camera(camera);
    rules.check(
        camera.find_first_of("\"\r\n") == std::string::npos && !camera.empty() && camera[0] != '.',
        "camera", camera, "must be a name without quotes and line ends");
    rules.check(names.insert(feature).second, "camera", camera, "must be named once");
  }
  for (const auto& feature : features) {
    check_name(feature.name, lerobot ? kNoFeature : kNoColumn, names);
    rules.check(!feature.columns.empty(), "feature", feature.name, "must have a column");
    const auto type = feature.type;
    rules.check(type == at::kFloat || type == at::kDouble || type == at::kLong || type == at::kBool,
                "feature", feature.name, "must be of type float32, float64, int64 or bool");
    if (!feature.shape.empty())
      rules.check(
          numbers_in_shape(feature.shape) == static_cast<int64_t>(feature.columns.size()), "shape",
          shape_string(feature.shape),
          "of feature '" + feature.name + "' must have as many numbers as it has columns, " +
              std::to_string(feature.columns.size()) + ", and 5 dimensions of 1..100000 at most");
    rules.check(feature.names.empty() || feature.names.size() == feature.columns.size(), "names",
                static_cast<double>(feature.names.size()),
                "of feature '" + feature.name + "' must be as many as its columns, " +
                    std::to_string(feature.columns.size()));
    if (!lerobot)  // where columns of all features lie side by side
      for (const auto& column : feature.columns) check_name(column, kNoColumn, columns);
  }
  if (!lerobot)
    for (const auto& matrix : matrices_without_group(features))
      rules.check(false, "columns", matrix.columns.front() + ", ...",
                  "of the matrix '" + matrix.name +
                      "' must be called NAME_0, NAME_1, ... in a folder, and no others so");
  rules.check(names.contains("action"), "features", "without 'action'", "must have it");
  columns.insert(kTimeColumn);  // numbers, whoever gives them
  for (const auto& text : texts)
    check_name(text, lerobot ? kNoFeature : kNoColumn, lerobot ? names : columns);
  return rules.problems();
}

void EpisodeWriter::append_rows(const RecordedEpisode& episode) {
  require(!episode.frames.empty() && episode.frames.begin()->second.defined() &&
              episode.frames.begin()->second.dim() == 4,
          ErrorCategory::invalid_argument, "an episode without frames [T,H,W,3]");
  const int64_t length = episode.frames.begin()->second.size(0);
  const auto check_length = [&](const std::string& name, int64_t rows) {
    require(
        rows == length, ErrorCategory::invalid_argument,
        "'" + name + "' has " + std::to_string(rows) + " rows, expected " + std::to_string(length));
  };
  for (const auto* tensors : {&episode.frames, &episode.values})
    for (const auto& [name, values] : *tensors)
      check_length(name, values.defined() && values.dim() > 0 ? values.size(0) : 0);
  for (const auto& [name, words] : episode.texts)
    check_length(name, static_cast<int64_t>(words.size()));
  for (int64_t t = 0; t < length; ++t) {
    RecordedRow row;
    for (const auto& [camera, frames] : episode.frames) row.frames[camera] = frames[t];
    for (const auto& [feature, values] : episode.values) row.values[feature] = values[t];
    for (const auto& [column, words] : episode.texts)
      row.texts[column] = words[static_cast<std::size_t>(t)];
    append(row);
  }
}

int64_t EpisodeWriter::write_episode(const RecordedEpisode& episode) {
  require(rows() == 0, ErrorCategory::invalid_argument,
          "another episode of " + std::to_string(rows()) + " rows is not finished");
  try {
    append_rows(episode);
    return finish_episode(episode.task);
  } catch (...) {
    discard_episode();
    throw;
  }
}

std::unique_ptr<EpisodeWriter> open_episode_writer(const fs::path& folder, TargetFormat format,
                                                   const RecordingOptions& options) {
  if (options.unfinished == Unfinished::lost) return make_episode_writer(folder, format, options);
  // Locked before anything is touched that another process may be recording.
  RowJournal journal(folder, options);
  std::unique_ptr<EpisodeWriter> writer;
  try {
    writer = make_episode_writer(folder, format, options);
  } catch (...) {
    if (!journal.episode()) journal.remove();
    throw;
  }
  return std::make_unique<JournaledWriter>(std::move(writer), folder, std::move(journal));
}

bool is_matrix(const RecordedFeature& feature) {
  return feature.shape.size() > 1 && feature.columns.size() > 1;
}

std::map<std::string, std::vector<int64_t>> table_shapes(
    const std::vector<RecordedFeature>& features) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& feature : features)
    if (is_matrix(feature)) shapes[column_stem(feature.columns.front())] = feature.shape;
  return shapes;
}

std::map<std::string, std::string> table_types(const std::vector<RecordedFeature>& features) {
  std::map<std::string, std::string> types;
  for (const auto& feature : features)
    if (feature.type != at::kFloat)
      for (const auto& column : feature.columns) types[column] = number_type_name(feature.type);
  return types;
}

std::map<std::string, std::string> table_names(const std::vector<RecordedFeature>& features) {
  std::map<std::string, std::string> names;
  for (const auto& feature : features)
    for (std::size_t i = 0; i < feature.names.size(); ++i)
      names[feature.columns[i]] = feature.names[i];
  return names;
}

std::map<std::string, Tensor> checked_row(const RecordingOptions& options, const RecordedRow& row,
                                          const std::map<std::string, ImageSize>& sizes,
                                          const std::string& where) {
  std::vector<std::string> features;
  for (const auto& feature : options.features) features.push_back(feature.name);
  check_names(row.frames, options.cameras, "frame of camera", where);
  check_names(row.values, features, "values of feature", where);
  check_names(row.texts, options.texts, "text", where);
  for (const auto& [camera, frame] : row.frames) {
    const auto known = sizes.find(camera);
    check_frame(camera, frame, known == sizes.end() ? ImageSize{} : known->second, where);
  }
  std::map<std::string, Tensor> values;
  for (const auto& feature : options.features)
    values[feature.name] = checked_values(feature, row.values.at(feature.name), where);
  return values;
}

void remove_abandoned_files(const fs::path& folder) {
  std::vector<fs::path> abandoned, folders = {folder};
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path path = entry.path();
    if (entry.is_directory()) folders.push_back(path);
    if (path.extension() == ".staged") abandoned.push_back(path);  // there is one writer a folder
    if (path.extension() != ".tmp") continue;
    const std::string number = path.stem().extension().string();  // ".12345"
    pid_t process = 0;
    const char* end = number.data() + number.size();
    if (number.size() < 2 || std::from_chars(number.data() + 1, end, process).ptr != end) continue;
    if (process > 0 && ::kill(process, 0) != 0 && errno == ESRCH) abandoned.push_back(path);
  }
  for (const auto& one : folders) io::remove_abandoned_in(one);
  for (const auto& path : abandoned) {
    log(LogLevel::warning, path.string() + ": left by a writer that was killed, removed");
    std::error_code ignored;
    fs::remove(path, ignored);
  }
}

}  // namespace foresight::data
