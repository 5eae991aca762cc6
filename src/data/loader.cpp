// SPDX-License-Identifier: Apache-2.0
// Batches are numbered through all epochs: number = epoch * batches_per_epoch + batch. A worker
// takes the next number, makes that batch, and puts it on the shelf under its number; next() waits
// for the number whose turn it is. Which worker makes which batch therefore changes nothing that a
// caller can see, and neither does when.
//
// Before a batch is made, the windows of the following ones are announced: a disk that is asked for
// many places at once answers many times as fast as one that is asked for them one by one.
#include "foresight/data/loader.hpp"

#include <condition_variable>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "batch_maker.hpp"
#include "foresight/core/noise.hpp"

namespace foresight::data {

std::vector<std::string> LoaderOptions::validate() const {
  Rules rules("LoaderOptions");
  rules.check(batch >= 1, "batch", static_cast<double>(batch), "must be >= 1");
  rules.check(threads >= 0 && threads <= 1024, "threads", static_cast<double>(threads),
              "must be 0..1024");
  rules.check(queue >= 1 && queue <= 100000, "queue", static_cast<double>(queue),
              "must be 1..100000");
  return rules.problems();
}

std::vector<std::string> Shard::validate() const {
  Rules rules("Shard");
  rules.check(count >= 1, "count", static_cast<double>(count), "must be >= 1");
  rules.check(index >= 0 && index < count, "index", static_cast<double>(index),
              "must be 0..count-1, count = " + std::to_string(count));
  return rules.problems();
}

struct Loader::Impl {
  struct Shelved {
    Batch batch;
    std::exception_ptr error;
  };
  using Permutation = std::shared_ptr<const std::vector<int64_t>>;

  Impl(std::shared_ptr<const FrameCache> frames, const WindowIndex& windows,
       const ActionSpace& actions, const LoaderOptions& chosen, const Shard& part)
      : options(chosen), shard(part), maker(std::move(frames), windows, actions, chosen) {}

  const LoaderOptions options;
  const Shard shard;
  const BatchMaker maker;
  int64_t per_epoch = 0;
  bool epoch_ended = false;  // only next() and seek() touch it

  std::mutex mutex;
  std::condition_variable shelf_filled, room_made;
  std::map<int64_t, Shelved> shelf;       // guarded by mutex, as are the next four
  int64_t to_make = 0;                    // number that the next free worker takes
  int64_t to_deliver = 0;                 // number that next() delivers
  int64_t to_announce = 0;                // number whose windows are announced next
  std::map<int64_t, Permutation> orders;  // of the epochs in flight
  std::atomic<bool> stop{false};
  std::vector<std::jthread> workers;  // last member: joined before the rest is destroyed

  ~Impl() { stop_workers(); }
  void start_workers();
  void stop_workers();
  void work();
  Permutation order_of(int64_t epoch);
  at::IntArrayRef windows_of(int64_t number, const Permutation& order) const;
  void announce(int64_t number, const Permutation& order);
  Batch make(int64_t number);
  Batch take(int64_t number);
};

void Loader::Impl::start_workers() {
  stop = false;
  for (int64_t t = 0; t < options.threads; ++t) workers.emplace_back([this] { work(); });
}

void Loader::Impl::stop_workers() {
  {
    const std::lock_guard lock(
        mutex);  // a worker must not miss the notice between its check and its wait
    stop = true;
  }
  room_made.notify_all();
  workers.clear();
}

Loader::Impl::Permutation Loader::Impl::order_of(int64_t epoch) {
  const std::lock_guard lock(mutex);
  auto& order = orders[epoch];
  if (!order) {
    std::vector<int64_t> numbers;
    if (options.order == Order::shuffled) {
      numbers =
          PhiloxNoise(static_cast<std::uint64_t>(options.seed), static_cast<std::uint64_t>(epoch))
              .permutation(maker.windows().size());
    } else {
      numbers.resize(static_cast<std::size_t>(maker.windows().size()));
      std::iota(numbers.begin(), numbers.end(), 0);
    }
    order = std::make_shared<const std::vector<int64_t>>(std::move(numbers));
  }
  const Permutation result = order;
  orders.erase(orders.begin(), orders.lower_bound(to_deliver / per_epoch));
  return result;
}

// This part's windows of a batch.
at::IntArrayRef Loader::Impl::windows_of(int64_t number, const Permutation& order) const {
  const int64_t part = options.batch / shard.count;
  const int64_t first = number % per_epoch * options.batch + shard.index * part;
  const int64_t last = std::min<int64_t>(first + part, static_cast<int64_t>(order->size()));
  return {order->data() + first, static_cast<std::size_t>(last - first)};
}

// Announces what has not been yet of this batch and of the one that is made after those in work, as
// far as they are of the same epoch: the order of the next one is not drawn before its time.
void Loader::Impl::announce(int64_t number, const Permutation& order) {
  const int64_t end = (number / per_epoch + 1) * per_epoch;
  const int64_t past = std::min(end, number + std::max<int64_t>(options.threads, 1) + 1);
  int64_t first = 0;
  {
    const std::lock_guard lock(mutex);
    first = std::max(to_announce, number);
    to_announce = std::max(to_announce, past);
  }
  for (; first < past; ++first) maker.announce(windows_of(first, order), stop);
}

Batch Loader::Impl::make(int64_t number) {
  const LoaderPosition position{number / per_epoch, number % per_epoch};
  const Permutation order = order_of(position.epoch);
  announce(number, order);
  const at::IntArrayRef windows = windows_of(number, order);
  Batch batch = maker.make(windows, {position.epoch, windows.data() - order->data()}, stop);
  batch.position = position;
  return batch;
}

void Loader::Impl::work() {
  for (;;) {
    int64_t number = 0;
    {
      std::unique_lock lock(mutex);
      room_made.wait(lock, [this] { return stop || to_make < to_deliver + options.queue; });
      if (stop) return;
      number = to_make++;
    }
    Shelved made;
    try {
      made.batch = make(number);
    } catch (...) {
      made.error = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex);
      if (stop) return;
      shelf.emplace(number, std::move(made));
    }
    shelf_filled.notify_one();
  }
}

Batch Loader::Impl::take(int64_t number) {
  Shelved made;
  {
    std::unique_lock lock(mutex);
    shelf_filled.wait(lock, [&] { return shelf.contains(number); });
    made = std::move(shelf.extract(number).mapped());
  }
  if (made.error) std::rethrow_exception(made.error);
  return std::move(made.batch);
}

Loader::Loader(std::shared_ptr<const FrameCache> frames, const WindowIndex& windows,
               const ActionSpace& actions, const LoaderOptions& options, const Shard& shard) {
  require_valid(options);
  require_valid(shard);
  require(options.batch % shard.count == 0, ErrorCategory::invalid_option,
          "LoaderOptions.batch = " + std::to_string(options.batch) +
              " must be a multiple of Shard.count = " + std::to_string(shard.count));
  require(shard.count == 1 || options.last_batch == LastBatch::drop, ErrorCategory::invalid_option,
          "LoaderOptions.last_batch = keep does not go with Shard.count = " +
              std::to_string(shard.count) + ": the last parts would differ in size");
  impl_ = std::make_unique<Impl>(std::move(frames), windows, actions, options, shard);
  const int64_t count = windows.size();
  const auto& window = windows.options();
  require(count > 0, ErrorCategory::invalid_argument,
          "Loader: no episode of the " + std::to_string(windows.episodes().size()) +
              " chosen has the " + std::to_string(window.rows()) +
              " rows that a window needs: WindowOptions.frames = " + std::to_string(window.frames) +
              " (history and predicted steps), stride = " + std::to_string(window.stride) +
              " rows apart; fewer or nearer ones (--windows.frames, --windows.stride) make it "
              "shorter");
  impl_->per_epoch = options.last_batch == LastBatch::drop
                         ? count / options.batch
                         : (count + options.batch - 1) / options.batch;
  require(impl_->per_epoch > 0, ErrorCategory::invalid_argument,
          "Loader: LoaderOptions.batch = " + std::to_string(options.batch) + " is more than the " +
              std::to_string(count) + " windows; take a smaller batch or last_batch = keep");
  impl_->start_workers();
}

Loader::~Loader() = default;

int64_t Loader::batches_per_epoch() const noexcept { return impl_->per_epoch; }

LoaderPosition Loader::position() const noexcept {
  return {impl_->to_deliver / impl_->per_epoch, impl_->to_deliver % impl_->per_epoch};
}

bool Loader::ready() const {
  if (impl_->epoch_ended) return true;
  const std::lock_guard lock(impl_->mutex);
  return impl_->shelf.contains(impl_->to_deliver);
}

std::optional<Batch> Loader::next() {
  if (impl_->epoch_ended) {
    impl_->epoch_ended = false;
    return std::nullopt;
  }
  const int64_t number = impl_->to_deliver;
  {
    // Also when making the batch fails: the next call then goes on with the following one.
    const std::lock_guard lock(impl_->mutex);
    ++impl_->to_deliver;
  }
  impl_->epoch_ended = impl_->to_deliver % impl_->per_epoch == 0;
  impl_->room_made.notify_all();
  return impl_->options.threads == 0 ? impl_->make(number) : impl_->take(number);
}

void Loader::seek(const LoaderPosition& position) {
  require(position.epoch >= 0 && position.epoch < (int64_t{1} << 40) && position.batch >= 0 &&
              position.batch < impl_->per_epoch,
          ErrorCategory::invalid_argument,
          "Loader: there is no batch " + std::to_string(position.batch) + " of epoch " +
              std::to_string(position.epoch) + ", an epoch has batches 0.." +
              std::to_string(impl_->per_epoch - 1));
  impl_->stop_workers();
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->shelf.clear();
    impl_->orders.clear();
    impl_->to_deliver = impl_->to_make = impl_->to_announce =
        position.epoch * impl_->per_epoch + position.batch;
  }
  impl_->epoch_ended = false;
  impl_->start_workers();
}

}  // namespace foresight::data
