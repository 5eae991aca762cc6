// SPDX-License-Identifier: Apache-2.0
// Checkpoints of given tensors, as torch.save writes state dicts.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "foresight/io/safetensors.hpp"
#include "stored_zip.hpp"

namespace foresight {

/// Gathers storages while dictionaries of float32 tensors are pickled.
class TorchFile {
 public:
  static std::string text(const std::string& value) {
    return "X" + little_endian(value.size(), 4) + value;
  }
  /// {name: tensor, ...}
  std::string dictionary(const io::NamedTensors& tensors) {
    std::string items = "}";
    for (const auto& [name, tensor] : tensors) items += text(name) + pickled(tensor) + "s";
    return items;
  }
  /// The file that holds what was pickled last.
  std::string bytes(const std::string& value) const {
    using namespace std::string_literals;
    std::vector<std::pair<std::string, std::string>> entries{
        {"a/data.pkl", "\x80\x02"s + value + "."}};
    for (std::size_t i = 0; i < storages_.size(); ++i)
      entries.emplace_back("a/data/" + std::to_string(i), storages_[i]);
    return stored_zip(entries);
  }

 private:
  static std::string integer(int64_t value) {
    return "\x8a\x08" + little_endian(static_cast<std::uint64_t>(value), 8);
  }
  static std::string tuple(const std::string& items) { return "(" + items + "t"; }
  static std::string integers(at::IntArrayRef values) {
    std::string items;
    for (const auto value : values) items += integer(value);
    return tuple(items);
  }
  std::string pickled(const Tensor& given) {
    const auto tensor = given.cpu().contiguous();
    const auto key = std::to_string(storages_.size());
    storages_.emplace_back(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    const auto storage = tuple(text("storage") + "ctorch\nFloatStorage\n" + text(key) +
                               text("cpu") + integer(tensor.numel())) +
                         "Q";
    return "ctorch._utils\n_rebuild_tensor_v2\n" +
           tuple(storage + integer(0) + integers(tensor.sizes()) + integers(tensor.strides()) +
                 "\x89}") +
           "R";
  }

  std::vector<std::string> storages_;
};

/// torch.save(tensors) of a flat state dict.
inline std::string torch_state_dict(const io::NamedTensors& tensors) {
  TorchFile file;
  return file.bytes(file.dictionary(tensors));
}

/// torch.save({group: {name: tensor, ...}, ...}).
inline std::string torch_groups(const std::map<std::string, io::NamedTensors>& groups) {
  TorchFile file;
  std::string items = "}";
  for (const auto& [name, tensors] : groups)
    items += TorchFile::text(name) + file.dictionary(tensors) + "s";
  return file.bytes(items);
}

}  // namespace foresight
