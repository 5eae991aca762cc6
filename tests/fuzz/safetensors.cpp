// SPDX-License-Identifier: Apache-2.0
// Bytes as a safetensors file. Accepted files must be readable to the last byte of every tensor.
#include <cstring>

#include "foresight/io/safetensors.hpp"
#include "memory_file.hpp"
#include "target.hpp"

namespace {

using foresight::Tensor;
using foresight::io::SafeTensors;

void read_all(const SafeTensors& file) {
  for (const auto& name : file.names()) {
    const Tensor tensor = file.at(name);
    foresight::fuzz::promise(tensor.sizes() == at::IntArrayRef(file.shape(name)), "another shape");
    foresight::fuzz::promise(tensor.scalar_type() == file.dtype(name), "another type");
    // Touches the first and the last byte: outside the mapping they would fault.
    const auto* bytes = static_cast<const volatile char*>(tensor.const_data_ptr());
    if (tensor.nbytes() > 0) (void)(bytes[0] + bytes[tensor.nbytes() - 1]);
  }
}

void open(std::string_view bytes) {
  const foresight::fuzz::MemoryFile memory(bytes);
  foresight::fuzz::accepts(
      [&] { read_all(SafeTensors::from_descriptor(memory.descriptor(), "fuzz")); });
}

/// The input with a length field that fits its JSON, so that mutations get beyond the first check.
std::string with_fitting_length(std::string_view bytes) {
  const auto begin = bytes.find('{'), end = bytes.rfind('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return {};
  const std::uint64_t length = end - begin + 1;
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += bytes.substr(begin);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = foresight::fuzz::text(data, size);
  open(bytes);
  open(with_fitting_length(bytes));
  return 0;
}
