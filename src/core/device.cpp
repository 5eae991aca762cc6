// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/device.hpp"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

// What follows the colon in the first line of `file` that begins with `key`; empty if none does.
std::string value_of(const std::filesystem::path& file, std::string_view key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    return line.substr(std::min(line.size(), line.find_first_not_of(" \t", colon + 1)));
  }
  return {};
}

constexpr std::string_view kNumbered = "cuda:";

bool is_numbered(std::string_view name) {
  return name.starts_with(kNumbered) && name.size() > kNumbered.size() &&
         name.size() <= kNumbered.size() + 2 &&
         name.find_first_not_of("0123456789", kNumbered.size()) == name.npos;
}

}  // namespace

bool is_device_name(std::string_view name) {
  return name == "cpu" || name == "cuda" || is_numbered(name);
}

at::Device open_device(std::string_view name) {
  require(is_device_name(name), ErrorCategory::invalid_option,
          fmt::format("device '{}', expected cpu, cuda or cuda:<number>", name));
  if (name == "cpu") return at::kCPU;
  require(at::hasCUDA(), ErrorCategory::unsupported,
          "device cuda: no CUDA device is usable (a CPU build of LibTorch, or no driver)");
  at::Device device(at::kCUDA);
  if (is_numbered(name)) {
    const auto number = std::stoi(std::string(name.substr(kNumbered.size())));
    const auto count = static_cast<int>(c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount());
    require(number < count, ErrorCategory::unsupported,
            fmt::format("device {}: this machine has {} of them", name, count));
    device.set_index(static_cast<c10::DeviceIndex>(number));
  }
  at::globalContext().setAllowTF32CuDNN(false);
  at::globalContext().setSDPUseCuDNN(false);
  return device;
}

std::string device_name(at::Device device) {
  if (device.is_cpu()) {
    const auto name = value_of("/proc/cpuinfo", "model name");
    return name.empty() ? "unknown processor" : name;
  }
  // The driver's folders are named by bus address, in whose order CUDA does not always count: a
  // name is certain where all GPUs have the same.
  std::set<std::string> names;
  std::error_code none;
  for (const auto& gpu : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", none))
    names.insert(value_of(gpu.path() / "information", "Model"));
  return names.size() == 1 && !names.begin()->empty() ? *names.begin() : device.str();
}

}  // namespace foresight
