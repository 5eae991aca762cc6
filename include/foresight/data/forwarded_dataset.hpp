// SPDX-License-Identifier: Apache-2.0
// A data set that shows another one: what a view of recordings does not change.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Everything of `dataset`, which must not be null. A view overrides what it shows in another way.
class ForwardedDataset : public Dataset {
 public:
  explicit ForwardedDataset(std::shared_ptr<const Dataset> dataset)
      : dataset_(std::move(dataset)) {}

  const std::string& name() const override { return dataset_->name(); }
  int64_t num_episodes() const override { return dataset_->num_episodes(); }
  int64_t length(int64_t episode) const override { return dataset_->length(episode); }
  std::string episode_name(int64_t episode) const override {
    return dataset_->episode_name(episode);
  }
  ImageSize image_size() const override { return dataset_->image_size(); }
  double fps() const override { return dataset_->fps(); }
  const std::vector<std::string>& columns() const override { return dataset_->columns(); }
  const std::vector<std::string>& action_columns() const override {
    return dataset_->action_columns();
  }
  const std::vector<std::string>& state_columns() const override {
    return dataset_->state_columns();
  }
  LastAction last_action() const override { return dataset_->last_action(); }
  std::vector<std::string> cameras() const override { return dataset_->cameras(); }
  std::string camera() const override { return dataset_->camera(); }
  at::ScalarType column_type(const std::string& column) const override {
    return dataset_->column_type(column);
  }
  std::vector<ColumnGroup> groups() const override { return dataset_->groups(); }
  std::vector<std::string> remarks() const override { return dataset_->remarks(); }
  std::map<int64_t, std::string> unreadable_episodes() const override {
    return dataset_->unreadable_episodes();
  }
  std::map<std::string, std::string> notes() const override { return dataset_->notes(); }
  std::map<std::string, StoredStatistics> stored_statistics() const override {
    return dataset_->stored_statistics();
  }
  std::vector<std::string> splits() const override { return dataset_->splits(); }
  std::vector<int64_t> episodes_of_split(const std::string& split) const override {
    return dataset_->episodes_of_split(split);
  }
  std::vector<std::string> text_columns() const override { return dataset_->text_columns(); }
  std::vector<std::string> read_text(const std::string& column, int64_t episode, int64_t first,
                                     int64_t count) const override {
    return dataset_->read_text(column, episode, first, count);
  }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    return dataset_->read_rows(columns, episode, first, count);
  }
  Tensor read_stored(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                     int64_t count) const override {
    return dataset_->read_stored(columns, episode, first, count);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    return dataset_->read_frames(episode, indices);
  }
  void announce_frames(int64_t episode, at::IntArrayRef indices) const override {
    dataset_->announce_frames(episode, indices);
  }
  void identify_frames(Fnv1a& hash) const override { dataset_->identify_frames(hash); }
  void identify_decoding(Fnv1a& hash) const override { dataset_->identify_decoding(hash); }
  bool identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const override {
    return dataset_->identify_pictures(episode, evidence, hash);
  }

 protected:
  const Dataset& shown() const { return *dataset_; }

 private:
  std::shared_ptr<const Dataset> dataset_;
};

}  // namespace foresight::data
