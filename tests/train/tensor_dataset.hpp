// SPDX-License-Identifier: Apache-2.0
// Recordings held in memory as tensors, and the small worlds that training tests learn from.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/data/loader.hpp"

namespace foresight::train {

/// E episodes of R rows. `frames` uint8 [E,R,H,W,3]; `actions` and `states` double [E,R,columns],
/// `states` undefined where there are none.
struct TensorRecordings {
  std::string name;
  Tensor frames, actions, states;
  data::LastAction last_action = data::LastAction::applied;
  bool states_may_be_read = true;  ///< false: reading one is an error
};

class TensorDataset : public data::Dataset {
 public:
  explicit TensorDataset(TensorRecordings recordings)
      : recorded_(std::move(recordings)),
        actions_(names("action_", recorded_.actions)),
        states_(names("state_", recorded_.states)),
        columns_(actions_) {
    columns_.insert(columns_.end(), states_.begin(), states_.end());
  }
  const std::string& name() const override { return recorded_.name; }
  int64_t num_episodes() const override { return recorded_.frames.size(0); }
  int64_t length(int64_t) const override { return recorded_.frames.size(1); }
  std::string episode_name(int64_t episode) const override {
    return std::string("e").append(std::to_string(episode));
  }
  data::ImageSize image_size() const override {
    return {recorded_.frames.size(2), recorded_.frames.size(3)};
  }
  double fps() const override { return 10; }
  const std::vector<std::string>& columns() const override { return columns_; }
  const std::vector<std::string>& action_columns() const override { return actions_; }
  const std::vector<std::string>& state_columns() const override { return states_; }
  data::LastAction last_action() const override { return recorded_.last_action; }

  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    check_rows(episode, first, count);
    std::vector<Tensor> read;
    for (const auto& column : columns) {
      const bool action = column.starts_with("action_");
      require(action || recorded_.states_may_be_read, ErrorCategory::invalid_argument,
              "states were read");
      const auto number = std::stoll(column.substr(column.find('_') + 1));
      auto values =
          (action ? recorded_.actions : recorded_.states)[episode].select(1, number).clone();
      if (action && recorded_.last_action == data::LastAction::artefact)
        values[length(episode) - 1] = 1e6;  // no statistic and no window may see it
      read.push_back(values.narrow(0, first, count));
    }
    return at::stack(read, 1);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    return recorded_.frames[episode].index_select(0, at::tensor(indices, at::kLong));
  }

 private:
  static std::vector<std::string> names(const std::string& prefix, const Tensor& values) {
    std::vector<std::string> result;
    for (int64_t i = 0; values.defined() && i < values.size(2); ++i)
      result.push_back(prefix + std::to_string(i));
    return result;
  }

  TensorRecordings recorded_;
  std::vector<std::string> actions_, states_, columns_;
};

/// A bright square of 6 pixels in pictures of `side`, at columns x and rows y, int64 [E,R].
inline Tensor square_pictures(const Tensor& x, const Tensor& y, int64_t side) {
  auto frames = at::full({x.size(0), x.size(1), side, side, 3}, 30, at::kByte);
  for (int64_t e = 0; e < x.size(0); ++e)
    for (int64_t r = 0; r < x.size(1); ++r)
      frames[e][r]
          .narrow(1, x[e][r].item<int64_t>(), 6)
          .narrow(0, y[e][r].item<int64_t>(), 6)
          .fill_(220);
  return frames;
}

/// A square that actions in (-1, 1) push along x. `shift` moves all pushes: another behaviour.
inline TensorRecordings pushed_square(double shift = 0.0, std::uint64_t seed = 3) {
  constexpr int64_t kEpisodes = 10, kRows = 24, kSide = 32;
  PhiloxNoise noise(seed);
  const auto pushes = noise.uniform({kEpisodes, kRows, 1}, at::kDouble) * 2 - 1 + shift;
  const auto x = (pushes.cumsum(1) - pushes + 12).clamp(0, kSide - 6);
  const auto columns = x.squeeze(2).to(at::kLong);
  return {"pushed square", square_pictures(columns, at::full_like(columns, 13), kSide), pushes, x,
          data::LastAction::artefact};
}

/// A bright bar that moves at its own speed in every episode; nothing acts.
inline TensorRecordings moving_bar() {
  constexpr int64_t kEpisodes = 6, kRows = 20, kSide = 16;
  auto frames = at::full({kEpisodes, kRows, kSide, kSide, 3}, 40, at::kByte);
  for (int64_t e = 0; e < kEpisodes; ++e)
    for (int64_t r = 0; r < kRows; ++r)
      frames[e][r].narrow(1, (r * (e + 1)) % (kSide - 4), 4).fill_(220);
  return {"moving bar", frames, at::zeros({kEpisodes, kRows, 1}, at::kDouble), {}};
}

/// A square at random places; states are its column and row in parts of the picture.
inline TensorRecordings scattered_squares(int64_t side) {
  constexpr int64_t kEpisodes = 6, kRows = 32;
  PhiloxNoise noise(8);
  const auto place = [&] {
    return (noise.uniform({kEpisodes, kRows}) * static_cast<double>(side - 5)).to(at::kLong);
  };
  const auto x = place(), y = place();
  return {"scattered squares", square_pictures(x, y, side),
          at::zeros({kEpisodes, kRows, 1}, at::kDouble),
          at::stack({x, y}, 2).to(at::kDouble) / static_cast<double>(side)};
}

/// Noisy pictures of one colour each; states are how red and how green, in [0,1].
inline TensorRecordings tinted_pictures(int64_t side) {
  constexpr int64_t kEpisodes = 6, kRows = 32;
  PhiloxNoise noise(8);
  const auto tints = noise.uniform({kEpisodes, kRows, 2}, at::kDouble);
  const auto colour =
      at::cat({40 + 170 * tints, at::full({kEpisodes, kRows, 1}, 120.0, at::kDouble)}, 2);
  const auto texture = noise.uniform({kEpisodes, kRows, side, side, 1}, at::kDouble) * 40 - 20;
  return {"tinted pictures", (colour.view({kEpisodes, kRows, 1, 1, 3}) + texture).to(at::kByte),
          at::zeros({kEpisodes, kRows, 1}, at::kDouble), tints};
}

/// A gripper seen from above: a square at its x and y. States are poses [7] (metres, radians,
/// opening).
inline TensorRecordings moving_gripper(int64_t side) {
  constexpr int64_t kEpisodes = 6, kRows = 20;
  PhiloxNoise noise(4);
  const auto steps = noise.uniform({kEpisodes, kRows, 2}, at::kDouble) * 0.2 - 0.1;
  const auto places = (0.5 + steps.cumsum(1)).clamp(0.0, 0.99);
  auto poses = at::zeros({kEpisodes, kRows, 7}, at::kDouble);
  poses.narrow(2, 0, 2).copy_(places);
  const auto pixels = (places * static_cast<double>(side - 5)).to(at::kLong);
  return {"moving gripper", square_pictures(pixels.select(2, 0), pixels.select(2, 1), side),
          at::zeros({kEpisodes, kRows, 1}, at::kDouble), poses};
}

/// Batches of windows of `frames` rows, one row apart unless `space` has a longer block.
inline std::unique_ptr<data::Loader> windows_of(const TensorRecordings& recordings, int64_t frames,
                                                int64_t batch, const ActionSpace& space = {},
                                                std::vector<int64_t> episodes = {}) {
  const auto dataset = std::make_shared<TensorDataset>(recordings);
  return std::make_unique<data::Loader>(
      std::make_shared<const data::FrameCache>(dataset),
      data::WindowIndex(*dataset, {.frames = frames, .stride = space.block}, std::move(episodes)),
      space, data::LoaderOptions{.batch = batch, .threads = 0});
}

}  // namespace foresight::train
