// SPDX-License-Identifier: Apache-2.0
#include "columnar_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "../file_stamp.hpp"
#include "../frame_file.hpp"
#include "../remarks.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"

namespace foresight::data {
namespace {

// A value that is read once, by whichever thread asks first. A failed read is tried again.
template <class Value>
class ReadOnce {
 public:
  explicit ReadOnce(std::function<Value()> read) : read_(std::move(read)) {}
  const Value& get() const {
    std::call_once(once_, [this] { value_ = read_(); });
    return value_;
  }

 private:
  std::function<Value()> read_;
  mutable std::once_flag once_;
  mutable Value value_;
};

struct ColumnPlace {
  std::size_t feature = 0;
  int64_t offset = 0;
};

std::vector<std::string> columns_of(const Feature& feature) {
  if (feature.width == 1) return {feature.name};
  std::vector<std::string> names;
  for (int64_t i = 0; i < feature.width; ++i)
    names.push_back(feature.name + "_" + std::to_string(i));
  return names;
}

class ColumnarDataset final : public Dataset {
 public:
  ColumnarDataset(Recording recording, const DatasetOptions& options)
      : recording_(std::move(recording)), options_(options) {
    check_episodes();
    place_columns();
    if (options.fps > 0) recording_.fps = options.fps;
    camera_ = options.camera.empty() ? recording_.cameras.front()
                                     : chosen_camera(name(), recording_.cameras, options);
    actions_ = chosen_columns(options.actions, recording_.actions);
    states_ = chosen_columns(options.states, recording_.states);
    require(!actions_.empty(), ErrorCategory::not_found,
            name() +
                ": no action column; name them in DatasetOptions.actions (--reading.actions). "
                "Columns: " +
                listed_names(columns_) + not_read(recording_.skipped));
    for (std::size_t f = 0; f < recording_.features.size(); ++f)
      values_.push_back(std::make_unique<ReadOnce<Tensor>>([this, f] { return load(f); }));
    for (std::size_t t = 0; t < recording_.texts.size(); ++t)
      texts_.push_back(
          std::make_unique<ReadOnce<std::vector<std::string>>>([this, t] { return load_text(t); }));
  }

  const std::string& name() const override { return recording_.name; }
  int64_t num_episodes() const override { return static_cast<int64_t>(recording_.episodes.size()); }
  int64_t length(int64_t episode) const override { return rows_of(episode).length; }
  std::string episode_name(int64_t episode) const override { return rows_of(episode).name; }
  ImageSize image_size() const override { return recording_.frames->size(); }
  double fps() const override { return recording_.fps; }
  const std::vector<std::string>& columns() const override { return columns_; }
  const std::vector<std::string>& action_columns() const override { return actions_; }
  const std::vector<std::string>& state_columns() const override { return states_; }
  LastAction last_action() const override { return recording_.last_action; }
  std::vector<std::string> cameras() const override { return recording_.cameras; }
  std::string camera() const override { return camera_; }
  at::ScalarType column_type(const std::string& column) const override {
    return values_[place_of(column).feature]->get().scalar_type();
  }
  std::vector<ColumnGroup> groups() const override {
    std::vector<ColumnGroup> all;
    for (const auto& feature : recording_.features)
      all.push_back({feature.name, columns_of(feature),
                     feature.shape.empty() ? std::vector<int64_t>{feature.width} : feature.shape,
                     feature.names});
    return all;
  }
  std::vector<std::string> remarks() const override { return recording_.remarks; }
  std::map<int64_t, std::string> unreadable_episodes() const override {
    return recording_.unreadable;
  }
  std::map<std::string, std::string> notes() const override { return recording_.notes; }
  std::map<std::string, StoredStatistics> stored_statistics() const override {
    if (!recording_.statistics) return {};
    return recording_.statistics();
  }
  std::vector<std::string> splits() const override {
    std::vector<std::string> names;
    for (const auto& [name, episodes] : recording_.splits) names.push_back(name);
    return names;
  }
  std::vector<int64_t> episodes_of_split(const std::string& split) const override {
    const auto found = recording_.splits.find(split);
    return found == recording_.splits.end() ? Dataset::episodes_of_split(split) : found->second();
  }
  void identify_frames(Fnv1a& hash) const override {
    identify_decoding(hash);
    recording_.frames->identify(hash);
    for (const auto& file : recording_.frame_files) {
      hash.add(file.filename().string());
      struct stat status {};
      if (::stat(file.c_str(), &status) != 0) continue;
      const auto stamp = file_stamp(status);
      hash.add(&stamp, sizeof stamp);
    }
  }
  void identify_decoding(Fnv1a& hash) const override {
    add_decoding(hash, options_.video);
    if (!options_.split.empty()) add_name(hash, options_.split);  // other episodes
  }
  bool identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const override {
    const int64_t rows = length(episode);
    return !recording_.unreadable.contains(episode) &&
           recording_.frames->identify_pictures(episode, rows, evidence, hash);
  }
  std::vector<std::string> text_columns() const override {
    std::vector<std::string> names;
    for (const auto& text : recording_.texts) names.push_back(text.name);
    return names;
  }

  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    return rows_as(at::kDouble, columns, episode, first, count);
  }

  Tensor read_stored(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                     int64_t count) const override {
    return rows_as(stored_type(columns), columns, episode, first, count);
  }

  std::vector<std::string> read_text(const std::string& column, int64_t episode, int64_t first,
                                     int64_t count) const override {
    check_rows(episode, first, count);
    for (std::size_t t = 0; t < texts_.size(); ++t) {
      if (recording_.texts[t].name != column) continue;
      const auto begin = texts_[t]->get().begin() + rows_of(episode).first + first;
      return {begin, begin + count};
    }
    throw Error(ErrorCategory::not_found, name() + ": no column of words '" + column +
                                              "'. There are: " + listed_names(text_columns()));
  }

  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    for (const int64_t index : indices)
      if (index < 0 || index >= length(episode)) check_rows(episode, index, 1);
    if (const auto problem = recording_.unreadable.find(episode);
        problem != recording_.unreadable.end())
      throw Error(ErrorCategory::bad_file, problem->second);
    return recording_.frames->read(episode, indices);
  }

  void announce_frames(int64_t episode, at::IntArrayRef indices) const override {
    for (const int64_t index : indices)
      if (index < 0 || index >= length(episode)) return;
    if (recording_.unreadable.contains(episode)) return;
    recording_.frames->announce(episode, indices);
  }

 private:
  Tensor rows_as(at::ScalarType type, const std::vector<std::string>& columns, int64_t episode,
                 int64_t first, int64_t count) const {
    check_rows(episode, first, count);
    Tensor rows = at::empty({count, static_cast<int64_t>(columns.size())}, type);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const ColumnPlace place = place_of(columns[c]);
      rows.select(1, static_cast<int64_t>(c))
          .copy_(values_[place.feature]
                     ->get()
                     .narrow(0, rows_of(episode).first + first, count)
                     .select(1, place.offset));
    }
    return rows;
  }

  const EpisodeRows& rows_of(int64_t episode) const {
    if (episode < 0 || episode >= num_episodes())
      throw Error(ErrorCategory::invalid_argument, name() + ": episode " + std::to_string(episode) +
                                                       " does not exist, accepted: 0.." +
                                                       std::to_string(num_episodes() - 1));
    return recording_.episodes[static_cast<std::size_t>(episode)];
  }

  void check_episodes() const {
    require(!recording_.episodes.empty(), ErrorCategory::bad_file, name() + ": holds no episode");
    int64_t row = 0;
    for (const auto& episode : recording_.episodes) {
      require(episode.length >= 1 && episode.first == row, ErrorCategory::bad_file,
              name() + ": " + episode.name + " begins at row " + std::to_string(episode.first) +
                  " and has " + std::to_string(episode.length) +
                  " rows; expected at least one row, beginning at row " + std::to_string(row));
      row += episode.length;
    }
    require(recording_.frames != nullptr, ErrorCategory::not_found, name() + ": has no camera");
  }

  void place_columns() {
    std::sort(recording_.features.begin(), recording_.features.end(),
              [](const Feature& a, const Feature& b) { return a.name < b.name; });
    for (std::size_t f = 0; f < recording_.features.size(); ++f) {
      const auto names = columns_of(recording_.features[f]);
      for (std::size_t i = 0; i < names.size(); ++i) {
        const bool is_new =
            places_.emplace(names[i], ColumnPlace{f, static_cast<int64_t>(i)}).second;
        require(is_new, ErrorCategory::bad_file,
                name() + ": column '" + names[i] + "' is there twice");
        columns_.push_back(names[i]);
      }
    }
  }

  const Feature* feature(const std::string& wanted) const {
    for (const auto& one : recording_.features)
      if (one.name == wanted) return &one;
    return nullptr;
  }

  // Names stand for columns or for whole features.
  std::vector<std::string> chosen_columns(
      const std::vector<std::string>& asked,
      const std::vector<std::vector<std::string>>& usual) const {
    std::vector<std::string> columns;
    const auto add = [&](const std::vector<std::string>& names) {
      for (const auto& one : names) {
        const Feature* whole = feature(one);
        if (whole == nullptr) place_of(one);  // or an error that says what there is
        const auto parts = whole != nullptr ? columns_of(*whole) : std::vector<std::string>{one};
        columns.insert(columns.end(), parts.begin(), parts.end());
      }
    };
    if (!asked.empty()) {
      add(asked);
      return columns;
    }
    for (const auto& names : usual) {
      const bool all = std::all_of(names.begin(), names.end(),
                                   [this](const auto& one) { return feature(one) != nullptr; });
      if (!all || names.empty()) continue;
      add(names);
      return columns;
    }
    return columns;
  }

  ColumnPlace place_of(const std::string& column) const {
    const auto place = places_.find(column);
    if (place != places_.end()) return place->second;
    if (const auto why = recording_.skipped.find(column); why != recording_.skipped.end())
      throw Error(ErrorCategory::unsupported,
                  name() + ": column '" + column + "' is not read: " + why->second);
    const auto nearest = nearest_name(column, columns_);
    throw Error(ErrorCategory::not_found,
                name() + ": no column '" + column + "'" +
                    (nearest.empty() ? "." : ", did you mean '" + nearest + "'?") +
                    " Columns: " + listed_names(columns_));
  }

  int64_t all_rows() const {
    return recording_.episodes.back().first + recording_.episodes.back().length;
  }

  Tensor load(std::size_t number) const {
    const Feature& feature = recording_.features[number];
    Tensor values = feature.load();
    require(values.dim() == 2 && values.size(0) == all_rows() && values.size(1) == feature.width,
            ErrorCategory::bad_file,
            name() + ": column '" + feature.name + "' has shape " + shape_string(values.sizes()) +
                ", expected " + shape_string({all_rows(), feature.width}));
    check_states(feature, values);
    return values;
  }

  // Actions may be missing (recorders write NaN at resets), states may not: a probe would learn
  // NaN.
  void check_states(const Feature& feature, const Tensor& values) const {
    if (!values.is_floating_point() || options_.missing_states == NanPolicy::accept) return;
    const auto names = columns_of(feature);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (std::find(states_.begin(), states_.end(), names[i]) == states_.end()) continue;
      Tensor missing = at::isfinite(values.select(1, static_cast<int64_t>(i))).logical_not();
      for (const auto& [episode, problem] : recording_.unreadable)  // nobody sees them
        missing.narrow(0, rows_of(episode).first, length(episode)).fill_(false);
      if (!missing.any().item<bool>()) continue;
      const auto row = missing.nonzero()[0][0].item<int64_t>();
      const auto after = std::upper_bound(
          recording_.episodes.begin(), recording_.episodes.end(), row,
          [](int64_t wanted, const EpisodeRows& episode) { return wanted < episode.first; });
      throw Error(ErrorCategory::bad_file, name() + ": " + (after - 1)->name + " row " +
                                               std::to_string(row - (after - 1)->first) +
                                               ": state column '" + names[i] + "' has no value");
    }
  }

  std::vector<std::string> load_text(std::size_t number) const {
    auto texts = recording_.texts[number].load();
    require(static_cast<int64_t>(texts.size()) == all_rows(), ErrorCategory::bad_file,
            name() + ": column '" + recording_.texts[number].name + "' has " +
                std::to_string(texts.size()) + " rows, expected " + std::to_string(all_rows()));
    return texts;
  }

  Recording recording_;
  DatasetOptions options_;
  std::string camera_;
  std::map<std::string, ColumnPlace> places_;
  std::vector<std::string> columns_, actions_, states_;
  std::vector<std::unique_ptr<ReadOnce<Tensor>>> values_;  // by feature
  std::vector<std::unique_ptr<ReadOnce<std::vector<std::string>>>> texts_;
};

}  // namespace

std::shared_ptr<const Dataset> make_columnar_dataset(Recording recording,
                                                     const DatasetOptions& options) {
  auto skipped = recording.skipped;
  for (const auto& column : recording.unremarked) skipped.erase(column);
  for (auto& remark : left_out(recording.name, skipped))
    recording.remarks.push_back(std::move(remark));
  for (const auto& [episode, problem] : recording.unreadable) log(LogLevel::warning, problem);
  for (const auto& remark : recording.remarks) log(LogLevel::warning, remark);
  return std::make_shared<ColumnarDataset>(std::move(recording), options);
}

void add_decoding(Fnv1a& hash, const VideoReaderOptions& options) {
  hash.add(write_options(options).dump());
}

std::string chosen_camera(const std::string& recording, const std::vector<std::string>& cameras,
                          const DatasetOptions& options) {
  require(!cameras.empty(), ErrorCategory::not_found, recording + ": has no camera");
  if (options.camera.empty()) {
    if (cameras.size() > 1)
      log(LogLevel::info, recording + ": has cameras " + listed_names(cameras) +
                              "; frames are of '" + cameras.front() + "'");
    return cameras.front();
  }
  if (std::find(cameras.begin(), cameras.end(), options.camera) != cameras.end())
    return options.camera;
  // "front" may stand for "observation.images.front".
  std::vector<std::string> meant;
  for (const auto& camera : cameras)
    if (camera.ends_with("." + options.camera) || camera.ends_with("/" + options.camera))
      meant.push_back(camera);
  require(meant.size() == 1, ErrorCategory::not_found,
          recording + ": camera '" + options.camera +
              "' was not recorded. Cameras: " + listed_names(cameras));
  return meant.front();
}

void put_pixels_first(std::vector<std::string>& cameras) {
  const auto pixels = std::stable_partition(cameras.begin(), cameras.end(),
                                            [](const auto& name) { return name == "pixels"; });
  std::stable_partition(pixels, cameras.end(),
                        [](const auto& name) { return name.starts_with("pixels"); });
}

std::string listed_names(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

std::string not_read(const std::map<std::string, std::string>& skipped) {
  std::string reasons;
  for (const auto& [name, why] : skipped) reasons += "\n  " + name + ": " + why;
  return reasons.empty() ? reasons : ". Not read:" + reasons;
}

}  // namespace foresight::data
