// SPDX-License-Identifier: Apache-2.0
// A few frames that stand for all: stretches of rows, spread over the episodes of a data set and
// over the places in them. Private to the data folder.
#pragma once

#include <cstdint>
#include <vector>

namespace foresight::data {

class Dataset;

/// Rows first..first+count-1 of an episode.
struct Stretch {
  int64_t episode = 0;
  int64_t first = 0;
  int64_t count = 0;
};

/// `count` numbers evenly spread over 0..size-1, first and last among them; fewer where `size` is
/// smaller.
std::vector<int64_t> spread(int64_t count, int64_t size);

/// At most `budget` rows of the `episodes` (numbers, ascending), as stretches in ascending order
/// that do not overlap: whole episodes where more than 32 of them fit, else an equal share of 32,
/// or of as many as can have `least` rows each; what short ones leave is for the others. Of fewer
/// than 17 episodes each gives several stretches, evenly spread. Of more each gives one: the first
/// from its beginning, the second from its middle, the third from its end, the next two between.
std::vector<Stretch> frame_sample(const Dataset& dataset, const std::vector<int64_t>& episodes,
                                  int64_t budget, int64_t least);

}  // namespace foresight::data
