// SPDX-License-Identifier: Apache-2.0
// Question: what does sharing a batch among processes gain, and what do the exchanges cost? Steps
// of JepaOptions::small() with SIGReg (forward, backward, reduction, AdamW) on random pictures;
// every process is one thread and takes its part of one global batch. Started alone it is the
// baseline:
//   benchmark_data_parallel [steps=100] [batch=128] [overlap=backward|none]
//   for r in 0 1; do RANK=$r WORLD_SIZE=2 benchmark_data_parallel & done; wait
// Rank 0 prints one JSON object.
#include <ATen/Parallel.h>

#include <algorithm>
#include <iostream>

#include "foresight/core/error.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/train/adamw.hpp"
#include "foresight/train/data_parallel.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;

struct Settings {
  int64_t steps = 100, batch = 128;
  train::DataParallelOptions parallel;
};

Settings read_settings(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("steps="))
      settings.steps = std::stoll(argument.substr(6));
    else if (argument.starts_with("batch="))
      settings.batch = std::stoll(argument.substr(6));
    else if (argument == "overlap=none")
      settings.parallel.overlap = train::Overlap::none;
    else
      require(
          argument == "overlap=backward", ErrorCategory::invalid_option,
          "unknown setting '" + argument + "', accepted: steps=, batch=, overlap=backward|none");
  }
  return settings;
}

models::JepaOptions model_options() {
  auto options = models::JepaOptions::small();
  options.loss.std = options.loss.cov = 0;
  options.loss.sigreg = 0.1;
  return options;
}

}  // namespace

int main(int argc, char** argv) try {
  at::set_num_threads(1);
  const auto settings = read_settings(argc, argv);
  const auto group = train::ProcessGroup::connect(train::Launch::from_environment());
  train::DataParallel parallel(group, settings.parallel);
  const auto part = settings.batch / group->world_size();

  models::Jepa model(model_options());
  train::AdamW optimizer(model, {});
  const auto& image = model.options().image;
  PhiloxNoise data(1, static_cast<std::uint64_t>(group->rank())), noise(2);
  const auto pixels = (data.uniform({part, 5, image.size, image.size, 3}) * 255.0).to(at::kByte);
  const auto blocks = data.normal({part, 4, model.spec().action.width()});

  std::vector<double> steps, losses, backwards, waits;
  for (int64_t i = -10; i < settings.steps; ++i) {  // ten to warm up
    losses::Terms terms;
    const double loss = benchmark::milliseconds([&] {
      const ReplicaScope replicas(group->world_size() > 1 ? parallel.replicas() : nullptr);
      terms = model.loss(pixels, blocks, noise);
    });
    parallel.before_last_backward(optimizer.parameters());
    const double backward = benchmark::milliseconds([&] { terms.total().backward(); });
    const double wait = benchmark::milliseconds([&] { parallel.reduce(optimizer.parameters()); });
    const double update = benchmark::milliseconds([&] { optimizer.step(1.0); });
    if (i < 0) continue;
    steps.push_back(loss + backward + wait + update);
    losses.push_back(loss);
    backwards.push_back(backward);
    waits.push_back(wait);
  }
  std::vector<double> barriers;
  for (int i = 0; i < 100; ++i)
    barriers.push_back(benchmark::milliseconds([&] { group->barrier(); }));
  double bytes = 0;
  for (const auto& parameter : optimizer.parameters())
    bytes += static_cast<double>(parameter.nbytes());
  if (group->rank() != 0) return 0;
  const double step = benchmark::median(steps);
  std::cout << nlohmann::json{{"benchmark", "data_parallel"},
                              {"machine", benchmark::machine()},
                              {"processes", group->world_size()},
                              {"batch", settings.batch},
                              {"overlap", enum_name(settings.parallel.overlap)},
                              {"gradient_bytes", bytes},
                              {"step", benchmark::summary(steps)},
                              {"loss_ms", benchmark::median(losses)},
                              {"backward_ms", benchmark::median(backwards)},
                              {"reduce_ms", benchmark::median(waits)},
                              {"smallest_exchange_ms", benchmark::median(barriers)},
                              {"samples_per_second",
                               1000.0 * static_cast<double>(settings.batch) / step}}
                   .dump(2)
            << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_data_parallel: " << error.what() << "\n";
  return 1;
}
