// SPDX-License-Identifier: Apache-2.0
#include "joined_dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <utility>

#include "../file_stamp.hpp"
#include "../frame_file.hpp"
#include "columnar_dataset.hpp"
#include "foresight/core/log.hpp"

namespace foresight::data {
namespace {

std::string file_name(const Dataset& part) {
  return std::filesystem::path(part.name()).filename().string();
}

// "[480, 640]" of a group "camera_pose".
std::vector<std::string> described_groups(const Dataset& part) {
  std::vector<std::string> all;
  for (const auto& group : part.groups())
    all.push_back(group.name + " " + shape_string(group.shape));
  return all;
}

// What two parts do not have in common; empty: nothing.
std::string difference(const Dataset& a, const Dataset& b) {
  const auto names = [&](const char* what, const std::vector<std::string>& of_a,
                         const std::vector<std::string>& of_b) {
    if (of_a == of_b) return std::string();
    std::vector<std::string> only_a, only_b;  // the names that matter, of lists that may be long
    for (const auto& name : of_a)
      if (std::find(of_b.begin(), of_b.end(), name) == of_b.end()) only_a.push_back(name);
    for (const auto& name : of_b)
      if (std::find(of_a.begin(), of_a.end(), name) == of_a.end()) only_b.push_back(name);
    if (only_a.empty() && only_b.empty()) return fmt::format("{} come in another order", what);
    return fmt::format("{} of the first alone: {}; of the second alone: {}", what,
                       listed_names(only_a), listed_names(only_b));
  };
  std::string found = names("columns", described_groups(a), described_groups(b));
  if (found.empty()) found = names("actions", a.action_columns(), b.action_columns());
  if (found.empty()) found = names("states", a.state_columns(), b.state_columns());
  if (found.empty()) found = names("texts", a.text_columns(), b.text_columns());
  if (found.empty()) found = names("cameras", a.cameras(), b.cameras());
  if (!found.empty()) return found;
  const ImageSize one = a.image_size(), other = b.image_size();
  if (one != other)
    return fmt::format(
        "frames are {}x{} and {}x{}; DatasetOptions.video.height and .width "
        "(--reading.video.height and .width) choose one size",
        one.width, one.height, other.width, other.height);
  if (a.fps() != b.fps())
    return fmt::format(
        "{} and {} rows a second; DatasetOptions.fps (--reading.fps) chooses one rate", a.fps(),
        b.fps());
  if (a.last_action() != b.last_action()) return "one marks the last action of an episode";
  return {};
}

std::vector<int64_t> lengths_of(const Dataset& part) {
  std::vector<int64_t> lengths;
  for (int64_t e = 0; e < part.num_episodes(); ++e) lengths.push_back(part.length(e));
  return lengths;
}

// Of the first and the last episode.
std::uint64_t hash_of_actions(const Dataset& part) {
  Fnv1a hash;
  for (const int64_t e : {int64_t{0}, part.num_episodes() - 1}) {
    const Tensor actions = part.read_all_rows(part.action_columns(), e).contiguous();
    hash.add(actions.const_data_ptr<double>(), actions.nbytes());
  }
  return hash.value();
}

class JoinedDataset final : public Dataset {
 public:
  JoinedDataset(std::string name, std::vector<OpenedDataset> parts, JoinedParts are)
      : name_(std::move(name)), parts_(std::move(parts)), are_(are) {
    for (const auto& part : parts_) {
      require_same_features(first(), *part);
      first_episodes_.push_back(episodes_);
      episodes_ += part->num_episodes();
    }
    look_for_copies();
  }

  const std::string& name() const override { return name_; }
  int64_t num_episodes() const override { return episodes_; }
  int64_t length(int64_t episode) const override {
    const auto [part, own] = place_of(episode);
    return part->length(own);
  }
  std::string episode_name(int64_t episode) const override {
    const auto [part, own] = place_of(episode);
    return file_name(*part) + ": " + part->episode_name(own);
  }
  ImageSize image_size() const override { return first().image_size(); }
  double fps() const override { return first().fps(); }
  const std::vector<std::string>& columns() const override { return first().columns(); }
  const std::vector<std::string>& action_columns() const override {
    return first().action_columns();
  }
  const std::vector<std::string>& state_columns() const override { return first().state_columns(); }
  LastAction last_action() const override { return first().last_action(); }
  std::vector<std::string> cameras() const override { return first().cameras(); }
  std::string camera() const override { return first().camera(); }
  at::ScalarType column_type(const std::string& column) const override {
    std::vector<at::ScalarType> types;
    for (const auto& part : parts_) types.push_back(part->column_type(column));
    return type_holding(types);
  }
  std::vector<ColumnGroup> groups() const override { return first().groups(); }
  std::vector<std::string> remarks() const override {
    std::vector<std::string> all = remarks_;
    for (const auto& part : parts_)
      for (auto& remark : part->remarks()) all.push_back(std::move(remark));
    return all;
  }
  std::map<int64_t, std::string> unreadable_episodes() const override {
    std::map<int64_t, std::string> all;
    for (std::size_t p = 0; p < parts_.size(); ++p)
      for (auto& [episode, problem] : parts_[p]->unreadable_episodes())
        all.emplace(first_episodes_[p] + episode, problem);
    return all;
  }
  // Of files those that every one has.
  std::vector<std::string> splits() const override {
    if (are_ == JoinedParts::splits) {
      std::vector<std::string> names;
      for (const auto& part : parts_) names.push_back(file_name(*part));
      return names;
    }
    auto all = first().splits();
    for (const auto& part : parts_)
      std::erase_if(all, [own = part->splits()](const auto& split) {
        return std::find(own.begin(), own.end(), split) == own.end();
      });
    return all;
  }
  std::vector<int64_t> episodes_of_split(const std::string& split) const override {
    const auto known = splits();
    if (std::find(known.begin(), known.end(), split) == known.end())
      return Dataset::episodes_of_split(split);
    std::vector<int64_t> all;
    if (are_ == JoinedParts::splits) {
      const auto p =
          static_cast<std::size_t>(std::find(known.begin(), known.end(), split) - known.begin());
      all.resize(static_cast<std::size_t>(parts_[p]->num_episodes()));
      std::iota(all.begin(), all.end(), first_episodes_[p]);
      return all;
    }
    for (std::size_t p = 0; p < parts_.size(); ++p)
      for (const int64_t episode : parts_[p]->episodes_of_split(split))
        all.push_back(first_episodes_[p] + episode);
    return all;
  }
  std::vector<std::string> text_columns() const override { return first().text_columns(); }

  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first_row,
                   int64_t count) const override {
    const auto [part, own] = place_of(episode);
    return part->read_rows(columns, own, first_row, count);
  }
  Tensor read_stored(const std::vector<std::string>& columns, int64_t episode, int64_t first_row,
                     int64_t count) const override {
    const auto [part, own] = place_of(episode);
    return part->read_stored(columns, own, first_row, count).to(stored_type(columns));
  }
  std::vector<std::string> read_text(const std::string& column, int64_t episode, int64_t first_row,
                                     int64_t count) const override {
    const auto [part, own] = place_of(episode);
    return part->read_text(column, own, first_row, count);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    const auto [part, own] = place_of(episode);
    return part->read_frames(own, indices);
  }
  void announce_frames(int64_t episode, at::IntArrayRef indices) const override {
    const auto [part, own] = place_of(episode);
    part->announce_frames(own, indices);
  }
  void identify_frames(Fnv1a& hash) const override {
    for (const auto& part : parts_) {
      add_name(hash, file_name(*part));
      if (are_ == JoinedParts::files) {
        const auto stamp = file_stamp(part->name());
        hash.add(&stamp, sizeof stamp);
      }
      part->identify_frames(hash);
    }
  }
  void identify_decoding(Fnv1a& hash) const override { first().identify_decoding(hash); }
  bool identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const override {
    const auto [part, own] = place_of(episode);
    return part->identify_pictures(own, evidence, hash);
  }

 private:
  struct Place {
    const Dataset* part;
    int64_t episode;  // its number there
  };

  const Dataset& first() const { return *parts_.front(); }

  Place place_of(int64_t episode) const {
    if (episode < 0 || episode >= episodes_)
      throw Error(ErrorCategory::invalid_argument, name_ + ": episode " + std::to_string(episode) +
                                                       " does not exist, accepted: 0.." +
                                                       std::to_string(episodes_ - 1));
    const auto after = std::upper_bound(first_episodes_.begin(), first_episodes_.end(), episode);
    const auto part = static_cast<std::size_t>(after - first_episodes_.begin()) - 1;
    return {parts_[part].get(), episode - first_episodes_[part]};
  }

  void require_same_features(const Dataset& a, const Dataset& b) const {
    const auto differs = difference(a, b);
    const bool files = are_ == JoinedParts::files;
    require(differs.empty(), ErrorCategory::bad_file,
            name_ + ": its " + (files ? "HDF5 files" : "folders") + " are no one data set: " +
                file_name(a) + " and " + file_name(b) + " differ: " + differs + ". Name the " +
                (files ? "file" : "folder") + " that is meant");
  }

  // Versions of a file that lie beside each other have episodes of the same lengths, and the same
  // actions.
  void look_for_copies() {
    std::map<std::vector<int64_t>, std::vector<const Dataset*>> alike;
    for (const auto& part : parts_) alike[lengths_of(*part)].push_back(part.get());
    for (const auto& [lengths, parts] : alike) {
      if (parts.size() < 2) continue;
      std::map<std::uint64_t, const Dataset*> seen;
      for (const auto* part : parts) {
        const auto [known, is_new] = seen.emplace(hash_of_actions(*part), part);
        if (is_new) continue;
        remarks_.push_back(name_ + ": " + file_name(*known->second) + " and " + file_name(*part) +
                           " seem to hold the same episodes, which then count twice");
        log(LogLevel::warning, remarks_.back());
      }
    }
  }

  std::string name_;
  std::vector<OpenedDataset> parts_;
  JoinedParts are_;
  std::vector<int64_t> first_episodes_;  // by part
  int64_t episodes_ = 0;
  std::vector<std::string> remarks_;
};

}  // namespace

OpenedDataset join_datasets(std::string name, std::vector<OpenedDataset> parts, JoinedParts are) {
  return std::make_shared<JoinedDataset>(std::move(name), std::move(parts), are);
}

}  // namespace foresight::data
