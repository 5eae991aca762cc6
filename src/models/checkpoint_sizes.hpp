// SPDX-License-Identifier: Apache-2.0
// Sizes are read off a checkpoint's shapes, and compared with those of the tensors that repeat them
// before a network is made, so that it is no larger than its file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/io/safetensors.hpp"

namespace foresight::models {

/// The tensor `name`. Throws Error(bad_file), opening with `source` and naming the nearest one, if
/// there is none; all below likewise.
const Tensor& tensor_named(const io::NamedTensors& tensors, std::string_view name,
                           std::string_view source);

/// Axis `axis` of a tensor that must have `dims` axes and be not empty.
int64_t extent(const io::NamedTensors& tensors, std::string_view name, int64_t dims, int64_t axis,
               std::string_view source);

/// The edge of the square picture whose patches have the places of table `name` [1,places,width],
/// but for the first `before` of them (class token).
int64_t square_edge(const io::NamedTensors& tensors, std::string_view name, int64_t before,
                    std::string_view source);

/// How many different numbers follow `list` ("encoder.blocks.") in names.
int64_t count_below(const io::NamedTensors& tensors, std::string_view list);

/// Where sizes that are not a tensor's own are from, as messages end.
inline constexpr std::string_view kFromOthers = " as the other tensors have it";
inline constexpr std::string_view kFromConfig = " as config.json says";

/// Tensors that are not of the sizes that others told, collected so that one message has them all.
class SizeFaults {
 public:
  /// `found`: the tensor's shape; null where there is none.
  void add(std::string_view name, const std::vector<int64_t>* found,
           const std::vector<int64_t>& expected, std::string_view reason);
  bool empty() const noexcept { return text_.empty(); }

  /// Throws Error(bad_file), opening with `source`, if there are any.
  void throw_if_any(std::string_view source) const;
  /// The same with all else that does not fit, as io::check_fit() lists it: `network` makes the
  /// tensors of a network of the sizes that were told, under the names that `given` has. It is made
  /// where it exceeds the file by no more numbers than the file has, biases and norms aside, for
  /// which each of its matrices and tables must have been compared. Otherwise, and where no such
  /// network is possible, the message has the faults alone.
  void throw_if_any(const io::NamedTensors& given, std::string_view source,
                    const std::function<io::NamedTensors()>& network) const;

 private:
  std::string text_;
  double lacking_ = 0;  // numbers that the tensors would have and do not
};

/// Throws Error(bad_file) unless there is a tensor `name` of this shape; with `faults`, which then
/// gets it, nothing is thrown.
void expect_tensor(const io::NamedTensors& tensors, std::string_view name,
                   const std::vector<int64_t>& shape, std::string_view source,
                   std::string_view reason = kFromOthers, SizeFaults* faults = nullptr);

/// The same of the transformer blocks 0..depth-1 below `list` ("encoder.blocks."), whose queries,
/// keys and values are one tensor: of those two matrices of a block that tell its sizes, with
/// `faults` of all, where its feed-forward part has no gate.
void expect_blocks(const io::NamedTensors& tensors, std::string_view list, int64_t depth,
                   int64_t width, int64_t mlp_width, std::string_view source,
                   std::string_view reason = kFromOthers, SizeFaults* faults = nullptr);

/// Throws Error(invalid_option) where `slots` square pictures of `side` pixels have more than 2^20
/// patches: no shape bounds a picture whose positions are rotary. `setting` is what the message
/// calls the side.
void require_few_tokens(int64_t side, int64_t patch, int64_t slots, const std::string& setting);

}  // namespace foresight::models
