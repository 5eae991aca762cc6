// SPDX-License-Identifier: Apache-2.0
// Batches of windows for training, prepared by background threads and delivered in an order that
// depends on the seed and the epoch only, never on the number of threads or their timing.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/data/windows.hpp"

namespace foresight::data {

enum class Order {
  shuffled,    ///< a new permutation every epoch
  sequential,  ///< by window number, every epoch
};

/// What happens to the windows that do not fill a batch.
enum class LastBatch {
  drop,  ///< left out of this epoch: every batch has the same size
  keep,  ///< one smaller batch at the end
};

enum class HostMemory {
  pageable,
  pinned,  ///< page-locked, so that copies to a GPU overlap with computing; needs CUDA
};

struct FORESIGHT_API LoaderOptions {
  int64_t batch = 64;             ///< B: windows per batch
  int64_t threads = 2;            ///< background threads; 0: batches are made inside next()
  int64_t queue = 4;              ///< batches prepared ahead at most
  int64_t seed = 0;               ///< of the order
  Order order = Order::shuffled;  ///< order of windows
  LastBatch last_batch = LastBatch::drop;    ///< windows that do not fill a batch
  HostMemory memory = HostMemory::pageable;  ///< kind of memory of the batches
  bool states = true;  ///< batches hold the state columns; false: these are never read
  Unreadable unreadable = Unreadable::fail;  ///< windows whose frames cannot be read. A run that
                                             ///< trains on less than it was given should say so

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batch", self.batch, "windows per batch");
    visit("threads", self.threads, "background threads; 0: batches are made inside next()");
    visit("queue", self.queue, "batches prepared ahead at most");
    visit("seed", self.seed, "seed of the order");
    visit("order", self.order, "order of windows: shuffled or sequential");
    visit("last_batch", self.last_batch, "windows that do not fill a batch: drop or keep");
    visit("memory", self.memory, "kind of memory of the batches: pageable or pinned");
    visit("states", self.states, "batches hold the state columns; false: these are never read");
    visit("unreadable", self.unreadable,
          "windows whose frames cannot be read: fail, or skip (another takes the place)");
  }
  std::vector<std::string> validate() const;
};

/// Which part of every batch a loader delivers, so that `count` processes with the same options
/// share each batch without duplicates. The batches themselves, and so positions, depend on neither
/// number: a run may go on with another count.
struct FORESIGHT_API Shard {
  int64_t index = 0;  ///< this part, 0..count-1
  int64_t count = 1;  ///< equal parts; must divide LoaderOptions.batch

  std::vector<std::string> validate() const;
};

/// Where a loader stands: the next batch. Save it to go on later.
struct LoaderPosition {
  int64_t epoch = 0;
  int64_t batch = 0;
  bool operator==(const LoaderPosition&) const = default;
};

/// B windows of T frames. All tensors are on the CPU until a StagedLoader brings them elsewhere.
struct Batch {
  Tensor pixels;  ///< uint8 [B,T,H,W,3]
  Tensor
      actions;    ///< float32 [B,T-1,A], normalised blocks; block t leads from frame t to frame t+1
  Tensor states;  ///< float32 [B,T,N] state columns, raw; undefined where there are none
  Tensor windows;           ///< int64 [B,3]: window number, episode, start row
  LoaderPosition position;  ///< of this batch
  std::vector<SkippedWindow> skipped =
      {};  ///< that could not be read, see LoaderOptions.unreadable
};

/// Delivers batches. next() is for one thread; the threads behind it are the loader's own.
///
/// With Unreadable::skip, a window that cannot be read is replaced by one drawn at random, by seed,
/// epoch and place in the epoch: batches keep their size, and are the same for any number of
/// threads, with and without a frame cache, and after a resume, as long as the same files are
/// readable. Each window is tried whenever its turn comes, so that a damaged file costs only the
/// windows that need the damaged part. Where 64 draws in a row cannot be read, next() throws.
///
/// Destroying a loader stops them within about one window's decoding time.
class FORESIGHT_API Loader {
 public:
  /// `actions.block` must equal the windows' stride and `actions.dim` the number of action columns
  /// (for discrete actions: one column that holds the symbol's number). Throws
  /// Error(invalid_argument | invalid_option) if they do not fit or the windows do not fill one
  /// batch. With a shard of several, options.batch is what all of them deliver together, and
  /// last_batch must be drop: parts have the same size always.
  Loader(std::shared_ptr<const FrameCache> frames, const WindowIndex& windows,
         const ActionSpace& actions, const LoaderOptions& options = {}, const Shard& shard = {});
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  int64_t batches_per_epoch() const noexcept;
  /// The next batch; nothing at the end of an epoch, after which the next call begins the next
  /// epoch. Rethrows what went wrong while the batch was prepared, e.g. Error(bad_file) naming file
  /// and frame; the call after that goes on with the following batch.
  std::optional<Batch> next();
  /// Position of the batch that next() will return; at the end of an epoch, of the first batch of
  /// the next one.
  LoaderPosition position() const noexcept;
  /// Whether next() would return at once: its batch is prepared, or the epoch has ended.
  bool ready() const;
  /// Continues from a position, e.g. one that was saved. Throws Error(invalid_argument) if there is
  /// no such batch.
  void seek(const LoaderPosition& position);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::Order> {
  static constexpr std::array<std::pair<std::string_view, data::Order>, 2> names = {
      {{"shuffled", data::Order::shuffled}, {"sequential", data::Order::sequential}}};
};
template <>
struct foresight::EnumNames<foresight::data::LastBatch> {
  static constexpr std::array<std::pair<std::string_view, data::LastBatch>, 2> names = {
      {{"drop", data::LastBatch::drop}, {"keep", data::LastBatch::keep}}};
};
template <>
struct foresight::EnumNames<foresight::data::HostMemory> {
  static constexpr std::array<std::pair<std::string_view, data::HostMemory>, 2> names = {
      {{"pageable", data::HostMemory::pageable}, {"pinned", data::HostMemory::pinned}}};
};
