// SPDX-License-Identifier: Apache-2.0
// Text as dataset.json of a plain folder with one sound episode of pictures. What is accepted has a
// rate that is known or 0, action columns that can be read, and groups with a shape.
#include <cmath>

#include "foresight/core/log.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/png.hpp"
#include "scratch_file.hpp"
#include "target.hpp"

namespace {

using namespace foresight;

void put_episode() {
  const auto& folder = fuzz::scratch();
  folder.put("set/episode_0000.csv", "frame,action_0,action_1,state_0\n0,1,2,3\n1,4,5,6\n");
  const auto picture = data::encode_png(at::zeros({4, 6, 3}, at::kByte));
  folder.put("set/episode_0000/0.png", picture);
  folder.put("set/episode_0000/1.png", picture);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool once = [] {
    set_log_level(LogLevel::off);
    put_episode();
    return true;
  }();
  (void)once;
  fuzz::scratch().put("set/dataset.json", fuzz::text(data, size));
  std::shared_ptr<const data::Dataset> dataset;
  if (!fuzz::accepts(
          [&] { dataset = data::open_dataset(fuzz::scratch().path() / "set", {.threads = 1}); }))
    return 0;
  fuzz::promise(std::isfinite(dataset->fps()) && dataset->fps() >= 0,
                "no rate, not even unknown (0)");
  fuzz::promise(!dataset->action_columns().empty(), "no action columns");
  for (const auto& group : dataset->groups())
    for (const int64_t size : group.shape) fuzz::promise(size >= 1, "a shape without numbers");
  dataset->read_all_rows(dataset->action_columns(), 0);
  dataset->read_all_rows(dataset->state_columns(), 0);
  return 0;
}
