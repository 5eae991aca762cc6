// SPDX-License-Identifier: Apache-2.0
// A batch of latent states: named tensors that share their leading batch axes. A model puts into it
// whatever it needs to go on imagining (latent, recurrent state, ring of past latents and actions).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight {

/// Named tensors [batch..., field...]. Value type; copies share storage. The batch shape is [B] for
/// observed states and [B,S] for states of candidates; field shapes are fixed for a given model.
class FORESIGHT_API State {
 public:
  State() = default;
  /// A state whose fields start with `batch_dims` common axes.
  explicit State(int64_t batch_dims) : batch_dims_(batch_dims) {}

  /// Adds or replaces a field. Throws if its leading axes disagree with the other fields'.
  State& set(std::string_view field, Tensor value);
  /// The tensor of a field; an unknown name is an error that lists the known ones.
  const Tensor& at(std::string_view field) const;
  bool has(std::string_view field) const;
  const std::vector<std::pair<std::string, Tensor>>& fields() const noexcept { return fields_; }
  bool empty() const noexcept { return fields_.empty(); }

  int64_t batch_dims() const noexcept { return batch_dims_; }
  /// Leading axes shared by all fields; empty state: [].
  std::vector<int64_t> batch_shape() const;

  /// Number of observed steps behind this state (history fill), equal over the batch and known on
  /// the host.
  int64_t filled() const noexcept { return filled_; }
  State& set_filled(int64_t steps) {
    filled_ = steps;
    return *this;
  }

  /// [B,...] -> [B,S,...] by a stride-0 axis: no copy.
  State expand(int64_t candidates) const;
  /// Batch [B], rows [N] -> batch [N]; batch [B,S], rows [B,N] -> batch [B,N]. `rows` is int64.
  State select(const Tensor& rows) const;
  /// Slice of the last batch axis: candidates first..first+count-1 (or problems, for batch [B]).
  State narrow(int64_t first, int64_t count) const;
  /// [B,S,...] -> [B*S,...].
  State flatten() const;
  /// [N,...] -> [batch...,...] with N = product of `batch`.
  State unflatten(at::IntArrayRef batch) const;
  State to(const at::Device& device) const;
  /// Floating fields in another floating type; others stay.
  State to(at::ScalarType type) const;
  State detach() const;

  /// Concatenates states along the last batch axis.
  static State cat(const std::vector<State>& states);
  /// Stacks states of equal batch shape into one new last batch axis: H states [B,S,...] ->
  /// [B,S,H,...].
  static State stack(const std::vector<State>& states);

 private:
  template <class F>
  State map(int64_t batch_dims, F&& f) const;

  std::vector<std::pair<std::string, Tensor>> fields_;
  int64_t batch_dims_ = 1;
  int64_t filled_ = 0;
};

}  // namespace foresight
