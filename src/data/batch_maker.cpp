// SPDX-License-Identifier: Apache-2.0
#include "batch_maker.hpp"

#include <cmath>
#include <cstring>

#include "foresight/core/noise.hpp"

namespace foresight::data {
namespace {

// Draws that take the place of windows which cannot be read; apart from the orders of epochs, which
// use the epoch's number as their stream.
constexpr std::uint64_t kReplacementStream = std::uint64_t{0x534B4950} << 32;  // "SKIP"
constexpr int64_t kReplacementDraws = 64;  // 16 blocks of four words

}  // namespace

BatchMaker::BatchMaker(std::shared_ptr<const FrameCache> frames, const WindowIndex& windows,
                       const ActionSpace& actions, const LoaderOptions& options)
    : frames_(std::move(frames)),
      windows_(windows),
      width_(actions.width()),
      memory_(options.memory),
      unreadable_(options.unreadable),
      seed_(static_cast<std::uint64_t>(options.seed)) {
  require(frames_ != nullptr, ErrorCategory::invalid_argument, "Loader: no frames");
  const bool none = actions.dim == 0 && frames_->dataset()->action_columns().empty();
  if (!none) require_valid(actions);  // pictures alone have no action
  const Dataset& dataset = *frames_->dataset();
  require(actions.block == windows_.options().stride, ErrorCategory::invalid_argument,
          "Loader: ActionSpace.block = " + std::to_string(actions.block) +
              " must equal WindowOptions.stride = " + std::to_string(windows_.options().stride));
  const auto columns = static_cast<int64_t>(dataset.action_columns().size());
  require(actions.discrete ? columns == 1 : columns == actions.dim, ErrorCategory::invalid_argument,
          "Loader: ActionSpace.dim = " + std::to_string(actions.dim) +
              " with discrete = " + (actions.discrete ? "true" : "false") + " does not fit the " +
              std::to_string(columns) + " action column(s) of " + dataset.name());
  actions_.resize(static_cast<std::size_t>(dataset.num_episodes()));
  states_.resize(actions_.size());
  if (options.states) state_columns_ = static_cast<int64_t>(dataset.state_columns().size());
  for (int64_t episode : windows_.episodes()) {
    const auto e = static_cast<std::size_t>(episode);
    require(episode < dataset.num_episodes(), ErrorCategory::invalid_argument,
            "Loader: the windows are of another data set than " + dataset.name());
    actions_[e] = normalised_actions(episode, actions);
    if (state_columns_ > 0)
      states_[e] =
          dataset.read_all_rows(dataset.state_columns(), episode).to(at::kFloat).contiguous();
  }
}

Tensor BatchMaker::normalised_actions(int64_t episode, const ActionSpace& actions) const {
  const Dataset& dataset = *frames_->dataset();
  const Tensor raw = dataset.read_all_rows(dataset.action_columns(), episode);
  if (actions.dim == 0) return at::zeros({raw.size(0), 0}, at::kFloat);
  if (!actions.discrete) {
    ActionSpace single = actions;  // row by row: a block is then a run of consecutive rows
    single.block = 1;
    return single.normalise(raw.unsqueeze(1))
        .to(at::kFloat)
        .reshape({raw.size(0), actions.dim})
        .contiguous();
  }
  Tensor one_hot = at::zeros({raw.size(0), actions.dim}, at::kFloat);
  const auto* symbol = raw.const_data_ptr<double>();
  auto* row = one_hot.mutable_data_ptr<float>();
  for (int64_t r = 0; r + 1 < raw.size(0); ++r) {  // the last row's action is never used
    const double value = symbol[r];
    require(value >= 0 && value < static_cast<double>(actions.dim) && value == std::floor(value),
            ErrorCategory::bad_file,
            dataset.name() + ": " + dataset.episode_name(episode) + " row " + std::to_string(r) +
                ": action " + std::to_string(value) + " is no symbol, accepted: 0.." +
                std::to_string(actions.dim - 1));
    row[r * actions.dim + static_cast<int64_t>(value)] = 1;
  }
  return one_hot;
}

at::TensorOptions BatchMaker::options(at::ScalarType type) const {
  return at::TensorOptions(type).pinned_memory(memory_ == HostMemory::pinned);
}

void BatchMaker::read_frames(const Window& window, std::uint8_t* out) const {
  const std::vector<int64_t> rows = windows_.frame_rows(window);
  try {
    frames_->copy(window.episode, rows, out);
  } catch (const Error& problem) {
    if (!is_unreadable(problem)) throw;
    const Dataset& dataset = *frames_->dataset();
    const std::string what = problem.what();
    const bool named = what.find(dataset.name()) != std::string::npos;  // as the file's path begins
    throw Error(problem.category(), what + " [" + (named ? "" : dataset.name() + ", ") +
                                        dataset.episode_name(window.episode) + ", rows " +
                                        std::to_string(rows.front()) + " to " +
                                        std::to_string(rows.back()) + "]");
  }
}

int64_t BatchMaker::read_or_replace(int64_t number, const Place& place, std::uint8_t* out,
                                    std::vector<SkippedWindow>& skipped) const {
  const auto readable = [&](int64_t tried) {
    const Window window = windows_[tried];
    try {
      read_frames(window, out);
      return true;
    } catch (const Error& problem) {
      if (!is_unreadable(problem)) throw;
      if (unreadable_ == Unreadable::fail)
        throw Error(problem.category(), std::string(problem.what()) +
                                            "; LoaderOptions.unreadable = skip "
                                            "(--loader.unreadable skip) goes on without it");
      skipped.push_back({tried, window.episode, window.start,
                         frames_->dataset()->episode_name(window.episode), problem.what()});
      return false;
    }
  };
  if (readable(number)) return number;
  PhiloxNoise noise(seed_, kReplacementStream + static_cast<std::uint64_t>(place.epoch));
  noise.seek(static_cast<std::uint64_t>(place.first * (kReplacementDraws / 4)));
  const Tensor draws = noise.integers(windows_.size(), {kReplacementDraws});
  for (int64_t d = 0; d < kReplacementDraws; ++d) {
    const int64_t drawn = draws.const_data_ptr<int64_t>()[d];
    if (readable(drawn)) return drawn;
  }
  throw Error(ErrorCategory::bad_file,
              "Loader: " + std::to_string(kReplacementDraws + 1) +
                  " windows in a row cannot be read, last: " + skipped.back().reason);
}

void BatchMaker::announce(at::IntArrayRef numbers, const std::atomic<bool>& stop) const {
  for (const int64_t number : numbers) {
    if (stop) return;
    const Window window = windows_[number];
    frames_->announce(window.episode, windows_.frame_rows(window));
  }
}

Batch BatchMaker::make(at::IntArrayRef numbers, const Place& place,
                       const std::atomic<bool>& stop) const {
  const WindowOptions& shape = windows_.options();
  const ImageSize size = frames_->dataset()->image_size();
  const auto states = state_columns_;
  const auto count = static_cast<int64_t>(numbers.size());
  const int64_t dim = width_ / shape.stride, steps = shape.frames;
  Batch batch;
  batch.pixels = at::empty({count, steps, size.height, size.width, 3}, options(at::kByte));
  batch.actions = at::empty({count, steps - 1, width_}, options(at::kFloat));
  batch.windows = at::empty({count, 3}, at::kLong);
  if (states > 0) batch.states = at::empty({count, steps, states}, options(at::kFloat));
  auto* pixels = batch.pixels.mutable_data_ptr<std::uint8_t>();
  auto* actions = batch.actions.mutable_data_ptr<float>();
  auto* rows_out = batch.windows.mutable_data_ptr<int64_t>();
  float* state = states > 0 ? batch.states.mutable_data_ptr<float>() : nullptr;
  for (int64_t i = 0; i < count; ++i) {
    if (stop) return {};
    const int64_t number = read_or_replace(numbers[static_cast<std::size_t>(i)],
                                           {place.epoch, place.first + i}, pixels, batch.skipped);
    const Window window = windows_[number];
    const auto e = static_cast<std::size_t>(window.episode);
    pixels += steps * size.height * size.width * 3;
    const int64_t dense = shape.actions() * dim;
    if (dense > 0)
      std::memcpy(actions, actions_[e].const_data_ptr<float>() + window.start * dim,
                  static_cast<std::size_t>(dense) * sizeof(float));
    actions += dense;
    for (int64_t row : windows_.frame_rows(window)) {
      if (state == nullptr) break;
      std::memcpy(state, states_[e].const_data_ptr<float>() + row * states,
                  static_cast<std::size_t>(states) * sizeof(float));
      state += states;
    }
    *rows_out++ = number;
    *rows_out++ = window.episode;
    *rows_out++ = window.start;
  }
  return batch;
}

}  // namespace foresight::data
