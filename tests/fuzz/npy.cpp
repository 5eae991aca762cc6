// SPDX-License-Identifier: Apache-2.0
// Bytes as a numpy array. What is accepted has as many numbers as its shape says, or texts that are
// UTF-8 of no more than four bytes a character.
#include "../../src/data/tables/npz.hpp"

#include "every_byte.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace foresight;
  data::NpyArray array;
  if (!fuzz::accepts([&] { array = data::parse_npy(fuzz::text(data, size), "fuzz.npy"); }))
    return 0;
  fuzz::promise(array.text != array.numbers.defined(), "neither numbers nor texts, or both");
  if (array.text) {
    std::size_t bytes = 0;
    for (const auto& text : array.texts) bytes += text.size();
    fuzz::promise(bytes <= size, "texts are longer than the file");
  } else {
    fuzz::promise(array.numbers.is_contiguous(), "numbers are not contiguous");
    fuzz::read_every_byte(array.numbers);
  }
  return 0;
}
