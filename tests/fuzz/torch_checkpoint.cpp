// SPDX-License-Identifier: Apache-2.0
// Bytes as a checkpoint by torch.save, and as the pickle inside one. Accepted files must be
// readable to the last byte of every tensor.
#include "foresight/io/torch_checkpoint.hpp"

#include <array>

#include "../stored_zip.hpp"
#include "memory_file.hpp"
#include "target.hpp"

namespace {

using foresight::Tensor;
using foresight::io::TorchCheckpoint;

void read_all(const TorchCheckpoint& file) {
  for (const auto& name : file.names()) {
    const Tensor tensor = file.at(name);
    foresight::fuzz::promise(tensor.sizes() == at::IntArrayRef(file.shape(name)), "another shape");
    foresight::fuzz::promise(tensor.scalar_type() == file.dtype(name), "another type");
    foresight::fuzz::promise(tensor.numel() <= 1 << 20, "more elements than the input allows");
    // Touches every element: outside the mapping it would fault.
    if (tensor.numel() > 0) (void)tensor.contiguous();
  }
  for (const auto& group : file.groups())
    foresight::fuzz::promise(!file.tensors(group + ".").empty(), "a group without tensors");
}

void open(std::string_view bytes) {
  const foresight::fuzz::MemoryFile memory(bytes);
  foresight::fuzz::accepts(
      [&] { read_all(TorchCheckpoint::from_descriptor(memory.descriptor(), "fuzz")); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(foresight::fuzz::text(data, size));
  open(bytes);
  // Storages of the sizes that the seeds refer to.
  for (const auto& lengths : {std::array{24, 8}, std::array{96, 24}, std::array{8, 8}})
    open(foresight::stored_zip(
        {{"a/data.pkl", bytes},
         {"a/data/0", std::string(static_cast<std::size_t>(lengths[0]), '\1')},
         {"a/data/1", std::string(static_cast<std::size_t>(lengths[1]), '\1')}}));
  return 0;
}
