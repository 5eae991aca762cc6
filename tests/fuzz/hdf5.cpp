// SPDX-License-Identifier: Apache-2.0
// Bytes as an HDF5 recording of stable-worldmodel or robomimic. What is accepted has episodes of at
// least one row, whose numbers, words and frames can be read, or are refused by name. The library
// decodes, with its own checks; ours are of what it hands out.
#include "foresight/core/log.hpp"
#include "foresight/data/dataset.hpp"
#include "scratch_file.hpp"
#include "target.hpp"

namespace {

using namespace foresight;

void read_recording(const data::Dataset& dataset) {
  fuzz::promise(dataset.num_episodes() > 0, "a recording without episodes was accepted");
  const int64_t last = dataset.num_episodes() - 1;
  for (const int64_t episode : {int64_t{0}, last}) {
    const int64_t rows = dataset.length(episode);
    fuzz::promise(rows >= 1, "an episode without rows was accepted");
    for (const auto& column : dataset.columns()) {
      Tensor values;
      if (fuzz::accepts([&] { values = dataset.read_rows({column}, episode, rows - 1, 1); }))
        fuzz::promise(values.numel() == 1, "a row of another size");
    }
    for (const auto& column : dataset.text_columns())
      fuzz::accepts([&] { dataset.read_text(column, episode, rows - 1, 1); });
    Tensor frames;
    if (fuzz::accepts([&] { frames = dataset.read_frames(episode, {rows - 1}); }))
      fuzz::promise(frames.dim() == 4 && frames.size(3) == 3, "frames of another shape");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool once = [] {
    set_log_level(LogLevel::off);
    return true;
  }();
  (void)once;
  const auto path = fuzz::scratch().put("recording.h5", fuzz::text(data, size));
  fuzz::accepts([&] { read_recording(*data::open_dataset(path)); });
  return 0;
}
