// SPDX-License-Identifier: Apache-2.0
#include "learning_data.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "foresight/data/resized_dataset.hpp"
#include "foresight/data/statistics.hpp"

namespace foresight::train {
namespace {

void require_as_many(const char* kind, const data::Dataset& replay,
                     const std::vector<std::string>& old, const data::Dataset& fresh,
                     const std::vector<std::string>& wanted) {
  require(old.size() == wanted.size(), ErrorCategory::invalid_option,
          fmt::format("replay: {} has {} {} column(s) [{}], the new recordings {} have {} [{}]; "
                      "both are learned from together",
                      replay.name(), old.size(), kind, fmt::join(old, ", "), fresh.name(),
                      wanted.size(), fmt::join(wanted, ", ")));
}

// At least `batch` of these windows, so many that the last batch is not of a single one, where
// there are more: some losses compare the windows of a batch.
int64_t held_out_batch(int64_t batch, int64_t windows) {
  batch = std::min(batch, windows);
  while (batch > 1 && windows % batch == 1) ++batch;
  return batch;
}

}  // namespace

void require_replayable(const data::Dataset& replay, const data::Dataset& fresh,
                        ReadColumns reads) {
  if (reads.actions)
    require_as_many("action", replay, replay.action_columns(), fresh, fresh.action_columns());
  if (reads.states)
    require_as_many("state", replay, replay.state_columns(), fresh, fresh.state_columns());
}

ActionSpace data_action_space(const data::Dataset& dataset, int64_t block,
                              const ActionSpace& limits, const std::vector<int64_t>& episodes) {
  require(!dataset.action_columns().empty(), ErrorCategory::invalid_option,
          dataset.name() +
              ": holds pictures and no actions, so that nothing can be learned of what actions do: "
              "name action columns with DatasetOptions.actions (--reading.actions), or put a table "
              "beside every video (episode_0000.mp4 and episode_0000.csv). Encoders learn from "
              "pictures alone: foresight train vjepa2, ijepa or lejepa");
  auto space = data::action_space(dataset, block, episodes);
  space.low = limits.low;
  space.high = limits.high;
  const auto seen =
      data::column_statistics(dataset, dataset.action_columns(), data::LastRow::exclude, episodes);
  bool varies = true;  // limits need an interval; a column that never changes gives none
  for (std::size_t i = 0; i < seen.min.size(); ++i) varies = varies && seen.min[i] < seen.max[i];
  if (space.low.empty() && varies) space.low = seen.min;
  if (space.high.empty() && varies) space.high = seen.max;
  require_valid(space);
  return space;
}

void require_stride_of_bundle(const data::WindowOptions& windows, const ActionSpace& action) {
  require(windows.stride == action.block, ErrorCategory::invalid_option,
          "windows.stride = " + std::to_string(windows.stride) +
              " must be the action block of the bundle that learning goes on from, " +
              std::to_string(action.block));
}

void require_several_windows(const data::Dataset& dataset, const data::WindowOptions& windows,
                             int64_t batch, const std::vector<int64_t>& held_out) {
  constexpr const char* kWhy =
      "the loss terms std and cov of the model compare the windows of a batch";
  require(batch >= 2, ErrorCategory::invalid_option,
          fmt::format("loader.batch = {} must be >= 2: {}", batch, kWhy));
  if (held_out.empty()) return;  // an index of no episodes is one of all
  require(
      data::WindowIndex(dataset, windows, held_out).size() != 1, ErrorCategory::invalid_option,
      fmt::format("validation: the {} held-out episode(s) of {} have one window in all, and {}: "
                  "hold out more (validation, validation_split) or nothing (validation = 0)",
                  held_out.size(), dataset.name(), kWhy));
}

std::shared_ptr<const data::Dataset> at_model_size(std::shared_ptr<const data::Dataset> dataset,
                                                   const models::ImageOptions& image) {
  const auto given = dataset->image_size();
  const data::ImageSize wanted{image.size, image.columns()};
  if (!image.scales_alone(given.height, given.width) ||
      image.interpolation != models::Interpolation::bilinear || given.height < wanted.height ||
      given.width < wanted.width)
    return dataset;
  return std::make_shared<data::ResizedDataset>(std::move(dataset), wanted);
}

std::unique_ptr<data::Loader> validation_loader(std::shared_ptr<const data::FrameCache> frames,
                                                const data::WindowOptions& windows_of,
                                                const data::LoaderOptions& batches,
                                                const ActionSpace& space,
                                                const std::vector<int64_t>& episodes) {
  if (episodes.empty()) return nullptr;  // an index of no episodes is one of all
  const data::WindowIndex windows(*frames->dataset(), windows_of, episodes);
  if (windows.size() == 0) return nullptr;
  auto loader = batches;
  loader.order = data::Order::shuffled;  // windows from all episodes, not the first few
  loader.last_batch = data::LastBatch::keep;
  loader.threads = 0;
  loader.batch = held_out_batch(loader.batch, windows.size());
  return std::make_unique<data::Loader>(std::move(frames), windows, space, loader);
}

}  // namespace foresight::train
