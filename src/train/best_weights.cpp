// SPDX-License-Identifier: Apache-2.0
#include "best_weights.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::train {

BestWeights::BestWeights(const std::filesystem::path& folder)
    : path_(folder / "best.safetensors") {}

bool BestWeights::exists() const { return std::filesystem::exists(path_); }

void BestWeights::write(const torch::nn::Module& module, int64_t step, double value) const {
  std::error_code error;
  std::filesystem::create_directories(path_.parent_path(), error);
  require(!error, ErrorCategory::io_failure,
          fmt::format("cannot create {}: {}", path_.parent_path().string(), error.message()));
  io::NamedTensors tensors;
  for (const auto& [name, tensor] : nn::state_dict(module))
    tensors.emplace_back(name, tensor.detach());
  io::write_with_checksum(
      path_, tensors, {{"step", std::to_string(step)}, {"value", nlohmann::json(value).dump()}});
}

std::string BestWeights::damage() const {
  try {
    io::require_checksum(io::SafeTensors::open(path_));
  } catch (const Error& problem) {
    return problem.what();
  }
  return {};
}

int64_t BestWeights::load(torch::nn::Module& module) const {
  const auto file = io::SafeTensors::open(path_);
  io::require_checksum(file);
  const auto step = file.metadata().find("step");
  const auto number =
      step == file.metadata().end()
          ? nlohmann::json()
          : nlohmann::json::parse(step->second, nullptr, /*allow_exceptions=*/false);
  require(number.is_number_integer(), ErrorCategory::bad_file,
          path_.string() + ": its metadata has no step");
  nn::load_state_dict(module, file.tensors(), path_.string());
  return number.get<int64_t>();
}

}  // namespace foresight::train
