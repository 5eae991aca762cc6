// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/pickled_integers.hpp"

#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"
#include "torch_pickle.hpp"

namespace foresight::io {

std::vector<std::int64_t> read_pickled_integers(const std::filesystem::path& path) {
  const std::string name = path.string();
  const Pickle pickle = read_pickle(read_text(path, kPickleBytes), name);
  const auto* list = std::get_if<PickledSequence>(&pickle.root->content);
  require(list != nullptr, ErrorCategory::bad_file,
          name + ": holds " + kind_of(*pickle.root) + ", expected a list of whole numbers");
  std::vector<std::int64_t> numbers;
  for (const auto* item : list->items) {
    const auto* number = std::get_if<std::int64_t>(&item->content);
    require(number != nullptr, ErrorCategory::bad_file,
            name + ": item " + std::to_string(numbers.size()) + " is " + kind_of(*item) +
                ", expected a whole number");
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace foresight::io
