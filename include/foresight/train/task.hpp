// SPDX-License-Identifier: Apache-2.0
// What is trained: a module, where its batches come from, and the loss. The Trainer does the rest
// and knows no model; a task knows no optimiser, file or clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foresight/core/replicas.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/train/gradient_norm.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::train {

class FORESIGHT_API Task {
 public:
  virtual ~Task() = default;

  /// Short name: of checkpoints, metrics and the progress line.
  virtual const std::string& name() const = 0;
  /// What is trained. Its parameters are in checkpoints.
  virtual torch::nn::Module& module() = 0;
  /// What the random numbers that torch itself draws during training (dropout) follow from; without
  /// one they go on from wherever torch's generator stands.
  virtual std::optional<std::uint64_t> seed() const { return std::nullopt; }
  /// Samples of the last batch, of this process's part of it, for samples/s.
  virtual int64_t samples() const = 0;

  /// Draws the next batch and returns its loss, in training mode, with gradient (of trained()). Of
  /// several processes each calls this in a ReplicaScope and returns the loss of its part of the
  /// batch, so that the mean over the processes is the loss of the batch (core/replica_part.hpp).
  virtual losses::Terms loss() = 0;
  /// The groups of parameters whose gradients AdamW clips, one group after the other: a parameter
  /// in two of them is scaled by both, one in none is not clipped. Empty: all parameters are one
  /// group. Asked once, before training.
  virtual std::vector<ClippingGroup> clipping_groups() const { return {}; }
  /// Called after every update, e.g. to move a target network.
  virtual void updated() {}

  /// Mean loss over held-out data, without gradient and without changing the module; empty terms if
  /// there is none.
  virtual losses::Terms validate() { return {}; }
  /// The same means, computed by several processes that call this together, each a part of the
  /// data. By default every process computes all of it.
  virtual losses::Terms validate_together(const Replicas& /*processes*/) { return validate(); }

  /// Windows of this process's parts of the batches that could not be read since the last call. The
  /// trainer hands the sum over all processes to add_skipped(), which adds it to the total.
  virtual int64_t take_skipped() { return 0; }
  /// All processes call that together; `processes` is null where there is one.
  virtual void add_skipped(int64_t /*windows*/, const Replicas* /*processes*/) {}

  /// Seconds that loss() has waited for data so far, in this run; none of a task that needs none.
  virtual std::optional<double> seconds_waited() const { return std::nullopt; }

  /// Running totals that belong in the metrics, e.g. of windows that could not be read. Called
  /// where metrics are written.
  virtual std::vector<std::pair<std::string, double>> counters() const { return {}; }

  /// All that loss() depends on besides the module: JSON text with loader and noise positions.
  virtual std::string position() const = 0;
  /// Goes on from a position(). Throws Error(bad_file) if it is not one.
  virtual void seek(const std::string& position) = 0;
  /// Tensors besides the module's that belong in a checkpoint, e.g. a target network's.
  virtual io::NamedTensors extra_tensors() { return {}; }
};

}  // namespace foresight::train
