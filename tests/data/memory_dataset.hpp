// SPDX-License-Identifier: Apache-2.0
// A data set without files whose every value tells where it belongs: the first two channels of a
// frame are episode and row, the actions of row r are r and -r, the state is 1000 * episode + row.
#pragma once

#include <atomic>
#include <limits>

#include "foresight/data/dataset.hpp"

namespace foresight::data {

class MemoryDataset final : public Dataset {
 public:
  explicit MemoryDataset(std::vector<int64_t> lengths) : lengths_(std::move(lengths)) {}

  /// Reading this frame fails, as a damaged file would.
  void break_frame(int64_t episode, int64_t row) { broken_ = {episode, row}; }
  int64_t frames_read() const { return frames_read_; }

  const std::string& name() const override { return name_; }
  int64_t num_episodes() const override { return static_cast<int64_t>(lengths_.size()); }
  int64_t length(int64_t episode) const override {
    return lengths_.at(static_cast<std::size_t>(episode));
  }
  std::string episode_name(int64_t episode) const override {
    return std::string("e").append(std::to_string(episode));
  }
  ImageSize image_size() const override { return {2, 3}; }
  double fps() const override { return 10; }
  const std::vector<std::string>& columns() const override { return columns_; }
  const std::vector<std::string>& action_columns() const override { return actions_; }
  const std::vector<std::string>& state_columns() const override { return states_; }
  LastAction last_action() const override { return LastAction::artefact; }

  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    check_rows(episode, first, count);
    Tensor rows = at::empty({count, static_cast<int64_t>(columns.size())}, at::kDouble);
    auto* value = rows.mutable_data_ptr<double>();
    for (int64_t r = first; r < first + count; ++r)
      for (const auto& column : columns) {
        const double row = static_cast<double>(r);
        *value++ = column == "up"     ? row
                   : column == "down" ? -row
                                      : 1000.0 * static_cast<double>(episode) + row;
        // The last action of an episode must never be seen: poison it.
        if (column != "place" && r == length(episode) - 1)
          value[-1] = std::numeric_limits<double>::quiet_NaN();
      }
    return rows;
  }

  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    Tensor frames = at::zeros({static_cast<int64_t>(indices.size()), 2, 3, 3}, at::kByte);
    auto* pixel = frames.mutable_data_ptr<std::uint8_t>();
    for (int64_t index : indices) {
      check_rows(episode, index, 1);
      if (episode == broken_.first && index == broken_.second)
        throw Error(ErrorCategory::bad_file,
                    episode_name(episode) + ".mp4: frame " + std::to_string(index) + " is damaged");
      for (int i = 0; i < 6; ++i, pixel += 3) {
        pixel[0] = static_cast<std::uint8_t>(episode);
        pixel[1] = static_cast<std::uint8_t>(index);
      }
      ++frames_read_;
    }
    return frames;
  }

 private:
  std::vector<int64_t> lengths_;
  std::pair<int64_t, int64_t> broken_{-1, -1};
  mutable std::atomic<int64_t> frames_read_{0};
  std::string name_ = "memory";
  std::vector<std::string> actions_ = {"up", "down"}, states_ = {"place"},
                           columns_ = {"up", "down", "place"};
};

}  // namespace foresight::data
