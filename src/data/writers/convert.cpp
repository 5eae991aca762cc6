// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/convert.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "../episode_selection.hpp"
#include "../formats/columnar_dataset.hpp"
#include "../formats/irregular_steps.hpp"
#include "../formats/recorded_notes.hpp"
#include "../video/frame_pieces.hpp"
#include "convert_episode.hpp"
#include "convert_splits.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/log_once.hpp"
#include "foresight/data/inspection.hpp"
#include "recording_lock.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// Columns that every writer makes by itself; LeRobot's makes the times too.
const std::set<std::string> kWriterColumns = {"frame", "frame_index", "episode_index", "index",
                                              "task_index"};

constexpr double kUnknownRate = 10;  // for recordings that tell none; a player needs one

ConversionSource open_source(const fs::path& from, const ConvertOptions& options) {
  const LogOnce once;  // each camera opens the recording again
  ConversionSource source;
  auto reading = options.reading;
  // What is lost of other episodes than those that are written does not matter; writers refuse a
  // state without a value.
  if (reading.unreadable == Unreadable::skip || !options.episodes.empty()) {
    reading.unreadable = Unreadable::skip;
    reading.missing_states = NanPolicy::accept;
  }
  source.datasets.push_back(open_dataset(from, reading));
  source.cameras = source.first().cameras();
  if (!reading.camera.empty() || source.cameras.size() == 1)
    source.cameras = {chosen_camera(from.string(), source.cameras, reading)};
  for (std::size_t c = 1; c < source.cameras.size(); ++c) {
    reading.camera = source.cameras[c];
    source.datasets.push_back(open_dataset(from, reading));
  }
  return source;
}

double rate_of(const Dataset& dataset) {
  if (dataset.fps() > 0) return dataset.fps();
  log(LogLevel::warning, dataset.name() + ": tells no frame rate, " +
                             std::to_string(static_cast<int>(kUnknownRate)) +
                             " per second are written; set DatasetOptions.fps (--reading.fps)");
  return kUnknownRate;
}

// LeRobot keeps whole rates: NTSC's 29.97 becomes 30.
double written_rate(const Dataset& dataset, TargetFormat format) {
  constexpr double kSameRate = 1.01e-3;  // 0.1 %, to the digits in which 29.97 is told
  const double rate = std::round(rate_of(dataset) * 1e4) / 1e4;  // containers keep 9.99999
  const double whole = std::round(rate);
  if (format != TargetFormat::lerobot || rate == whole) return rate;
  const std::string has = dataset.name() + ": has " + std::to_string(rate) + " rows a second, ";
  require(std::abs(rate - whole) <= kSameRate * whole, ErrorCategory::invalid_option,
          has +
              "LeRobot keeps a whole number of them: set ConvertOptions.reading.fps "
              "(--reading.fps) to the one that rows shall be counted as, or ConvertOptions.format "
              "= folder (--format folder), which keeps any rate");
  log(LogLevel::warning, has + std::to_string(static_cast<int64_t>(whole)) +
                             " are written: LeRobot keeps whole rates");
  return whole;
}

bool has_times(const Dataset& dataset) {
  const auto& columns = dataset.columns();
  return std::find(columns.begin(), columns.end(), kTimeColumn) != columns.end();
}

// What the columns are, in whichever groups they lie; a column by its own name where only others'
// are told, nothing where none is.
std::vector<std::string> told_names(const std::vector<std::string>& columns,
                                    const std::vector<ColumnGroup>& groups) {
  std::map<std::string, std::string> told;
  for (const auto& group : groups)
    for (std::size_t i = 0; i < group.names.size(); ++i) told[group.columns[i]] = group.names[i];
  std::vector<std::string> names;
  bool any = false;
  for (const auto& column : columns) {
    const auto found = told.find(column);
    any = any || found != told.end();
    names.push_back(found == told.end() ? column : found->second);
  }
  return any ? names : std::vector<std::string>();
}

// A group that has these columns, its shape with them; else a vector.
RecordedFeature feature_of(const std::string& name, const std::vector<std::string>& columns,
                           const std::vector<ColumnGroup>& groups) {
  RecordedFeature feature{name, columns};
  for (const auto& group : groups)
    if (group.columns == columns && group.shape.size() > 1) feature.shape = group.shape;
  feature.names = told_names(columns, groups);
  return feature;
}

// Groups without the columns that are written otherwise; of a group that has lost some, every
// column by itself.
std::vector<RecordedFeature> other_features(const Dataset& dataset,
                                            const std::vector<ColumnGroup>& groups,
                                            bool keeps_times) {
  std::set<std::string> taken = kWriterColumns;
  if (!keeps_times) taken.insert(kTimeColumn);
  taken.insert(dataset.action_columns().begin(), dataset.action_columns().end());
  taken.insert(dataset.state_columns().begin(), dataset.state_columns().end());
  std::vector<RecordedFeature> others;
  for (const auto& group : groups) {
    std::vector<std::string> left;
    for (const auto& column : group.columns)
      if (!taken.contains(column)) left.push_back(column);
    const bool name_is_free = group.name != "action" && group.name != "observation.state";
    if (left.size() == group.columns.size() && name_is_free)
      others.push_back(feature_of(group.name, left, groups));
    else
      for (const auto& column : left) others.push_back(feature_of(column, {column}, groups));
  }
  return others;
}

// The type that is written for columns that belong together.
at::ScalarType written_type(const Dataset& dataset, const std::vector<std::string>& columns) {
  const auto type = dataset.read_stored(columns, 0, 0, 0).scalar_type();
  if (type == at::kBool || type == at::kDouble || type == at::kFloat) return type;
  return at::isFloatingType(type) ? at::kFloat : at::kLong;
}

std::vector<RecordedFeature> written_features(const Dataset& dataset, bool keeps_times) {
  const auto groups = dataset.groups();
  std::vector<RecordedFeature> features = {feature_of("action", dataset.action_columns(), groups)};
  if (!dataset.state_columns().empty())
    features.push_back(feature_of("observation.state", dataset.state_columns(), groups));
  const auto others = other_features(dataset, groups, keeps_times);
  features.insert(features.end(), others.begin(), others.end());
  for (auto& feature : features) {
    feature.type = written_type(dataset, feature.columns);
    // Names in the data set have dots where paths have slashes.
    std::replace(feature.name.begin(), feature.name.end(), '/', '.');
  }
  return features;
}

RecordingOptions writing_options(const ConversionSource& source, const ConvertOptions& options) {
  const Dataset& dataset = source.first();
  RecordingOptions writing;
  writing.video.fps = written_rate(dataset, options.format);
  writing.video.crf = options.crf;
  writing.video.encoder = options.encoder;
  writing.cameras = source.cameras;
  // Recorded times would contradict another rate that was asked for.
  const bool keeps_times = options.format != TargetFormat::lerobot && options.reading.fps <= 0;
  writing.features = written_features(dataset, keeps_times);
  writing.texts = dataset.text_columns();
  if (options.format == TargetFormat::lerobot)
    std::erase(writing.texts, "task");  // which LeRobot keeps apart
  else
    writing.video.key_interval = VideoWriterOptions().key_interval;
  writing.task = options.task;
  writing.last_action = dataset.last_action();
  writing.notes = dataset.notes();  // e.g. the environment, which a report's film is made in
  if (auto robot = writing.notes.extract(kRobotNote)) writing.robot_type = robot.mapped();
  writing.notes["converted_from"] = as_utf8(dataset.name());
  writing.storage = options.storage;
  writing.episodes_per_file = std::numeric_limits<int64_t>::max();
  writing.data_file_mb = options.data_file_mb;
  writing.video_file_mb = options.video_file_mb;
  return writing;
}

// What reading throws, so that a full disk is not taken for a damaged film.
template <class Read>
auto reading(Read&& read) {
  try {
    return read();
  } catch (const Error& error) {
    if (!is_unreadable(error)) throw;
    throw EpisodeReadError(error.category(), error.what());
  }
}

// Rows first..first+count-1.
RecordedEpisode read_piece(const ConversionSource& source, const RecordingOptions& writing,
                           int64_t episode, int64_t first, int64_t count) {
  const Dataset& dataset = source.first();
  RecordedEpisode rows;
  for (std::size_t c = 0; c < source.cameras.size(); ++c)
    rows.frames[source.cameras[c]] =
        source.datasets[c]->read_frames(episode, row_range(first, count));
  for (const auto& feature : writing.features)
    rows.values[feature.name] = dataset.read_stored(feature.columns, episode, first, count);
  for (const auto& text : writing.texts)
    rows.texts[text] = dataset.read_text(text, episode, first, count);
  return rows;
}

// "set/" and "set" are written beside as "set.converting".
fs::path unfinished_path(const fs::path& to) {
  fs::path path = to.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  path += ".converting";
  return path;
}

void refuse_existing(const fs::path& to) {
  require(!fs::exists(to), ErrorCategory::invalid_argument,
          to.string() + ": exists already, a data set is written to a new folder");
}

// Held until the target has its name, so that two conversions to it never meet.
std::unique_ptr<const NameLock> lock_target(const fs::path& unfinished) {
  std::error_code code;
  const auto parent = unfinished.parent_path();
  if (!parent.empty()) fs::create_directories(parent, code);
  require(!code, ErrorCategory::io_failure,
          parent.string() + ": cannot be created: " + code.message());
  return std::make_unique<const NameLock>(
      unfinished, unfinished.string() +
                      ": another conversion is at work here; wait until it is finished, or "
                      "convert to another folder");
}

// Of a conversion that was killed. Throws where a recorder is at work.
void remove_leftovers(const fs::path& unfinished) {
  std::unique_ptr<const RecordingLock> kept;  // until all is removed
  if (fs::is_directory(unfinished)) kept = std::make_unique<const RecordingLock>(unfinished);
  fs::remove_all(unfinished);
}

// Writes one episode after another, and leaves out what cannot be where that is allowed.
class Converter {
 public:
  Converter(const ConversionSource& source, const ConvertOptions& options, EpisodeWriter& writer,
            const RecordingOptions& writing)
      : source_(source), options_(options), writer_(writer), writing_(writing) {
    done_.cameras = source.cameras;
    for (const auto& camera : source.datasets)
      for (const auto& [episode, problem] : camera->unreadable_episodes())
        lost_.emplace(episode, problem);
  }

  void convert(int64_t episode) {
    if (const auto known = lost_.find(episode); known != lost_.end())
      return leave_out(episode, ErrorCategory::bad_file, known->second);
    try {
      convert_episode(source_, writing_, episode, writer_);
    } catch (const EpisodeReadError& error) {
      return leave_out(episode, error.category(), error.what());
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::non_finite) throw;
      return leave_out(episode, error.category(), reason_of_row(error.what()));
    }
    const Dataset& dataset = source_.first();
    if (options_.format == TargetFormat::lerobot && dataset.fps() > 0 && has_times(dataset))
      done_.irregular_steps += irregular_steps(dataset, episode, InspectionOptions().clock);
    done_.rows_without_action += rows_without_action(episode);
    done_.written.push_back(episode);
    ++done_.episodes;
    done_.rows += dataset.length(episode);
  }

  Conversion done() {
    require(done_.episodes > 0, ErrorCategory::bad_file,
            source_.first().name() + ": no episode can be written, the first: " +
                (done_.left_out.empty() ? std::string() : done_.left_out.front().reason));
    if (done_.irregular_steps > 0)
      log(LogLevel::warning,
          source_.first().name() + ": " + std::to_string(done_.irregular_steps) +
              " step(s) in time are not 1/fps, and are written as if they were: LeRobot's rows are "
              "equally spaced. ConvertOptions.format = folder (--format folder) keeps the times");
    if (done_.rows_without_action > 0)
      log(LogLevel::warning, source_.first().name() + ": " +
                                 std::to_string(done_.rows_without_action) +
                                 " row(s) have no action (NaN), and are written so");
    return std::move(done_);
  }

 private:
  // A folder tells that the last action of an episode is none.
  int64_t rows_without_action(int64_t episode) const {
    const Dataset& dataset = source_.first();
    const bool last_counts =
        options_.format == TargetFormat::lerobot || dataset.last_action() == LastAction::applied;
    const int64_t rows = dataset.length(episode) - (last_counts ? 0 : 1);
    const Tensor actions = dataset.read_rows(dataset.action_columns(), episode, 0, rows);
    return at::isnan(actions).any(1).sum().item<int64_t>();
  }

  void leave_out(int64_t episode, ErrorCategory category, const std::string& reason) {
    const Dataset& dataset = source_.first();
    if (options_.reading.unreadable != Unreadable::skip)
      throw Error(category, dataset.name() + ": episode " + std::to_string(episode) + " (" +
                                dataset.episode_name(episode) + "): " + reason +
                                "; DatasetOptions.unreadable = skip (--reading.unreadable skip) "
                                "leaves such an episode out");
    writer_.discard_episode();
    done_.left_out.push_back({episode, dataset.episode_name(episode), reason});
  }

  // The writer names the episode by the number that it would have had in the target.
  std::string reason_of_row(const std::string& message) const {
    const auto row = "row " + std::to_string(writer_.rows()) + ": ";
    const auto at = message.find(row);
    return at == std::string::npos ? message : message.substr(at);
  }

  const ConversionSource& source_;
  const ConvertOptions& options_;
  EpisodeWriter& writer_;
  const RecordingOptions& writing_;
  std::map<int64_t, std::string> lost_;  // as opening has found
  Conversion done_;
};

}  // namespace

std::string as_utf8(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

void convert_episode(const ConversionSource& source, const RecordingOptions& writing,
                     int64_t episode, EpisodeWriter& writer) {
  const Dataset& dataset = source.first();
  int64_t row_bytes = 0;
  for (const auto& camera : source.datasets)
    row_bytes += camera->image_size().height * camera->image_size().width * 3;
  visit_pieces(dataset.length(episode), row_bytes, [&](int64_t first, int64_t count) {
    writer.append_rows(reading([&] { return read_piece(source, writing, episode, first, count); }));
  });
  const auto texts = dataset.text_columns();
  const bool told = std::find(texts.begin(), texts.end(), "task") != texts.end();
  writer.finish_episode(told ? reading([&] { return dataset.read_text("task", episode, 0, 1)[0]; })
                             : std::string());
}

std::vector<std::string> ConvertOptions::validate() const {
  Rules rules("ConvertOptions");
  rules.nested("reading", reading.validate());
  rules.check(selects_episodes(episodes), "episodes", episodes,
              "must be numbers and ranges of episodes, e.g. 0-9,12,20-");
  rules.within("crf", static_cast<double>(crf), 0, 63);
  rules.check(!encoder.empty(), "encoder", encoder, "must name one, e.g. h264 or av1");
  rules.check(!task.empty(), "task", task, "must say something");
  return rules.problems();
}

Conversion convert_dataset(const fs::path& from, const fs::path& to, const ConvertOptions& options,
                           const std::function<void(int64_t done, int64_t all)>& progress) {
  require_valid(options);
  const ConversionSource source = open_source(from, options);
  require(!source.first().action_columns().empty(), ErrorCategory::unsupported,
          from.string() + ": holds pictures alone; without actions there is no recording to write");
  refuse_existing(to);
  const RecordingOptions writing = writing_options(source, options);
  const auto episodes =
      selected_episodes(options.episodes, source.first().num_episodes(), "ConvertOptions.episodes");
  const auto splits = chosen_splits(source.first(), episodes);
  const auto order = writing_order(source.first(), episodes, splits, options.format);
  // Written beside the target and renamed, so that a conversion that stops leaves nothing there.
  const fs::path unfinished = unfinished_path(to);
  const auto lock = lock_target(unfinished);
  refuse_existing(to);  // one that another conversion has finished meanwhile
  remove_leftovers(unfinished);
  // Outside of `try`: a recorder that has come first keeps what it writes.
  auto writer = open_episode_writer(unfinished, options.format, writing);
  Conversion done;
  try {
    Converter converter(source, options, *writer, writing);
    for (std::size_t i = 0; i < order.size(); ++i) {
      converter.convert(order[i]);
      if (progress) progress(static_cast<int64_t>(i + 1), std::ssize(order));
    }
    done = converter.done();
    writer->finish();
    writer.reset();
    write_splits(source.first(), unfinished, options.format, splits, done.written);
  } catch (...) {
    writer.reset();
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
  std::error_code code;
  fs::rename(unfinished, to, code);
  require(!code, ErrorCategory::io_failure,
          unfinished.string() + ": cannot be renamed to " + to.string() + ": " + code.message());
  return done;
}

}  // namespace foresight::data
