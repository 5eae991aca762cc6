// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/safetensors.hpp"
#include "safetensors_header.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

using NamedTensor = std::pair<std::string, Tensor>;

void check_writable(const NamedTensors& tensors, const std::string& file) {
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    const std::string which = file + ": tensor '" + name + "' ";
    require(!name.empty() && name != kMetadataKey, ErrorCategory::invalid_argument,
            which + "has a name that the format reserves");
    require(names.insert(name).second, ErrorCategory::invalid_argument, which + "is given twice");
    require(tensor.defined(), ErrorCategory::invalid_argument, which + "is undefined");
    require(tensor.layout() == at::kStrided, ErrorCategory::invalid_argument,
            which + "is sparse, expected a dense tensor");
    require(safetensors_dtype_name(tensor.scalar_type()).has_value(), ErrorCategory::unsupported,
            which + "has type " + c10::toString(tensor.scalar_type()) +
                ", which the safetensors format lacks");
  }
}

/// Wide elements first, so that every tensor is aligned for its type; then by name, so that the
/// order in which modules register their parameters does not change the file.
std::vector<const NamedTensor*> file_order(const NamedTensors& tensors) {
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const auto& item : tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    const auto width_a = a->second.element_size(), width_b = b->second.element_size();
    return width_a != width_b ? width_a > width_b : a->first < b->first;
  });
  return order;
}

std::string header_text(const std::vector<const NamedTensor*>& order,
                        const std::map<std::string, std::string>& metadata,
                        const std::string& file) {
  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::uint64_t offset = 0;
  for (const NamedTensor* item : order) {
    const auto& [name, tensor] = *item;
    const std::uint64_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", *safetensors_dtype_name(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCategory::invalid_argument,
                file + ": a tensor name or metadata text is not valid UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of eight bytes
  require(text.size() <= kMaxHeaderBytes, ErrorCategory::invalid_argument,
          file + ": header of " + std::to_string(text.size()) +
              " bytes exceeds the format's limit of " + std::to_string(kMaxHeaderBytes));
  return text;
}

}  // namespace

void write_safetensors(const fs::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_writable(tensors, path.string());
  const auto order = file_order(tensors);
  const std::string header = header_text(order, metadata, path.string());
  replace_file_atomically(path, [&](OutputFile& file) {
    const std::uint64_t header_size = header.size();
    file.write(&header_size, sizeof header_size);
    file.write(header);
    for (const NamedTensor* item :
         order) {  // one at a time: a model on the device needs no second copy here
      const Tensor dense =
          item->second.detach().resolve_conj().resolve_neg().to(at::kCPU).contiguous();
      file.write(dense.const_data_ptr(), dense.nbytes());
    }
  });
}

}  // namespace foresight::io
