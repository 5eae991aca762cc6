// SPDX-License-Identifier: Apache-2.0
#include "learning_data.hpp"

#include <algorithm>

#include "foresight/data/resized_dataset.hpp"
#include "foresight/data/statistics.hpp"

namespace foresight::train {

ActionSpace data_action_space(const data::Dataset& dataset, const LearnOptions& options,
                              const std::vector<int64_t>& episodes) {
  auto space = data::action_space(dataset, options.windows.stride, episodes);
  space.low = options.model.action.low;
  space.high = options.model.action.high;
  const auto seen =
      data::column_statistics(dataset, dataset.action_columns(), data::LastRow::exclude, episodes);
  bool varies = true;  // limits need an interval; a column that never changes gives none
  for (std::size_t i = 0; i < seen.min.size(); ++i) varies = varies && seen.min[i] < seen.max[i];
  if (space.low.empty() && varies) space.low = seen.min;
  if (space.high.empty() && varies) space.high = seen.max;
  require_valid(space);
  return space;
}

std::shared_ptr<const data::Dataset> at_model_size(std::shared_ptr<const data::Dataset> dataset,
                                                   const models::ImageOptions& image) {
  const auto given = dataset->image_size();
  const bool same_shape =
      image.resize == models::ResizeRule::stretch || given.height == given.width;
  if (!same_shape || given.height < image.size || given.width < image.size) return dataset;
  return std::make_shared<data::ResizedDataset>(std::move(dataset),
                                                data::ImageSize{image.size, image.size});
}

std::unique_ptr<data::Loader> validation_loader(std::shared_ptr<const data::FrameCache> frames,
                                                const LearnOptions& options,
                                                const ActionSpace& space,
                                                const std::vector<int64_t>& episodes) {
  const data::WindowIndex windows(*frames->dataset(), options.windows, episodes);
  if (windows.size() == 0) return nullptr;
  auto loader = options.loader;
  loader.order = data::Order::shuffled;  // windows from all episodes, not the first few
  loader.last_batch = data::LastBatch::keep;
  loader.threads = 0;
  loader.batch = std::min(loader.batch, windows.size());
  return std::make_unique<data::Loader>(std::move(frames), windows, space, loader);
}

}  // namespace foresight::train
