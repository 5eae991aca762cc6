// SPDX-License-Identifier: Apache-2.0
// Question: how much memory does loading large weights take, and how long? Writes a file of 1 GiB
// (or takes a checkpoint by torch.save as argument), loads it into parameters that were allocated
// but not filled, once copied and once shared with the mapped file, and reads every number once.
// Then what it costs that LibTorch's linear layers draw their numbers as they are made: 1 GiB of
// them beside as many of nn::unfilled_linear(), and a whole V-JEPA 2 (ViT-L and predictor).
// Each way runs in a process of its own. Memory in GiB as /proc/self/status has it: "anonymous" is
// what the process really occupies, "file" can be dropped by the system at any time. Prints one
// JSON object; does nothing on a machine with too little memory or disk.
#include <ATen/Parallel.h>
#include <sys/wait.h>
#include <torch/nn/modules/container/sequential.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>

#include "foresight/io/load_tensors.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/models/vjepa2.hpp"
#include "foresight/nn/unfilled_linear.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;
namespace fs = std::filesystem;

constexpr int64_t kWidth = 4096, kLayers = 16;  // of 64 MiB each
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

/// A line of /proc/self/status or /proc/meminfo, GiB.
double memory_line(const char* file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(key)) return std::stod(line.substr(key.size())) * 1024.0 / kGiB;
  return 0;
}

void write_weights(const fs::path& path) {
  io::NamedTensors tensors;
  const auto layer = at::full({kWidth, kWidth}, 0.5);  // one in memory, sixteen in the file
  for (int64_t i = 0; i < kLayers; ++i)
    tensors.emplace_back("layers." + std::to_string(i) + ".weight", layer);
  io::write_safetensors(path, tensors);
}

nlohmann::json load(const fs::path& path, io::Placement placement) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  io::NamedTensors parameters;
  {
    const auto weights = io::open_weights(path);
    for (const auto& [name, tensor] : weights.tensors)
      parameters.emplace_back(name, at::empty(tensor.sizes(), tensor.options()));
    io::load_into(parameters, weights.tensors, path.string(), io::DtypeRule::exact, placement);
  }
  const double loaded = seconds();
  double sum = 0;
  for (const auto& [name, tensor] : parameters) sum += tensor.sum().item<double>();
  const char* status = "/proc/self/status";
  return {{"placement", placement == io::Placement::copy ? "copy" : "share"},
          {"load_seconds", loaded},
          {"first_use_seconds", seconds() - loaded},
          {"peak", memory_line(status, "VmHWM:")},
          {"anonymous", memory_line(status, "RssAnon:")},
          {"file", memory_line(status, "RssFile:")},
          {"sum", sum}};
}

// What is made, and stays, before any file is read.
nlohmann::json make(const std::string& what) {
  const auto start = std::chrono::steady_clock::now();
  torch::nn::Sequential layers;
  std::shared_ptr<models::VJepa2> model;
  const torch::nn::LinearOptions size(kWidth, kWidth);
  for (int64_t i = 0; i < kLayers && what != "vjepa2"; ++i)
    layers->push_back(what == "unfilled" ? nn::unfilled_linear(size) : torch::nn::Linear(size));
  if (what == "vjepa2")
    model = std::make_shared<models::VJepa2>(models::VJepa2Options::large(), std::nullopt);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const auto parameters = model ? model->parameters() : layers->parameters();
  double numbers = 0;
  for (const auto& parameter : parameters) numbers += static_cast<double>(parameter.numel());
  return {{"made", what},
          {"gib", numbers * 4 / kGiB},
          {"seconds", took.count()},
          {"anonymous", memory_line("/proc/self/status", "RssAnon:")}};
}

/// Runs `body` in a process of its own and returns what it reports.
nlohmann::json in_child(const std::function<nlohmann::json()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  const auto child = ::fork();
  if (child == 0) {
    const auto text = body().dump();
    const bool written =
        ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(written ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text(1 << 16, '\0');
  const auto size = ::read(ends[0], text.data(), text.size());
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return nlohmann::json::parse(text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(size, 0))),
                               nullptr, false);
}

}  // namespace

int main(int count, char** arguments) {
  at::set_num_threads(1);
  const bool given = count > 1;
  const fs::path path =
      given ? fs::path(arguments[1])
            : fs::temp_directory_path() / ("foresight_weights_" + std::to_string(::getpid()));
  const double size = given ? static_cast<double>(fs::file_size(path)) / kGiB : 1.0;
  const double available = memory_line("/proc/meminfo", "MemAvailable:");
  if (available < 3 * size ||
      (!given && static_cast<double>(fs::space(path.parent_path()).available) / kGiB < 2)) {
    std::cout << nlohmann::json{{"skipped",
                                 "needs three times the file in memory and 2 GiB of disk"}}
              << "\n";
    return 0;
  }
  nlohmann::json result{{"question", "memory and time of loading weights"}, {"file_gib", size}};
  result["machine"] = benchmark::machine();
  if (!given) in_child([&] { return write_weights(path), nlohmann::json(true); });
  for (const auto placement : {io::Placement::copy, io::Placement::share})
    result["ways"].push_back(in_child([&] { return load(path, placement); }));
  for (const auto* what : {"torch::nn::Linear", "unfilled", "vjepa2"})
    result["made"].push_back(in_child([&] { return make(what); }));
  if (!given) fs::remove(path);
  std::cout << result.dump(2) << "\n";
}
