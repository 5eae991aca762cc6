// SPDX-License-Identifier: Apache-2.0
// Where a training run's scalars go: metrics.jsonl for programs and people, TensorBoard event files
// for live curves.
//
// TensorBoard's format is small enough to write by hand: TFRecord framing (length, masked CRC-32C,
// payload, masked CRC-32C; tensorflow/core/lib/io/record_writer.h) around Event messages
// (tensorflow/core/util/event.proto).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/core/export.hpp"

namespace foresight::train {

/// Named values of one step, e.g. {{"train/loss", 0.31}, {"train/sigreg", 0.02}}.
using Scalars = std::vector<std::pair<std::string, double>>;

/// One line of metrics.jsonl.
struct MetricsRow {
  std::int64_t step = 0;
  double wall_time = 0;  ///< seconds since 1970-01-01 UTC
  Scalars scalars;
};

/// Appends scalars to `folder`/metrics.jsonl and to a TensorBoard event file in `folder`.
///
/// An existing metrics.jsonl is continued: a half-written last line, as a power cut leaves it, is
/// cut off, and lines after `resume_step` (the step of the checkpoint that training continues from)
/// are dropped, because they will be written again. The new event file tells TensorBoard to drop
/// them too.
class FORESIGHT_API EventWriter {
 public:
  /// Throws Error(io_failure) when the folder cannot be made or written, Error(bad_file) naming the
  /// line when an existing metrics.jsonl has a damaged line before its last.
  explicit EventWriter(const std::filesystem::path& folder,
                       std::optional<std::int64_t> resume_step = std::nullopt);
  /// One that writes nothing, for processes that leave the metrics to another one.
  static EventWriter nowhere();
  ~EventWriter();  ///< flushes; a failure is logged
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  /// Appends one row: a line {"step":..,"wall_time":..,"name":value,...} and one Event. Readers see
  /// it at once and it outlives this process; a power cut it survives after flush() only. What the
  /// files do not take is queued, and left to flush(). NaN and infinities are kept: as the strings
  /// "NaN", "Infinity", "-Infinity" in JSON. Throws Error(invalid_argument) for step < 0, a name
  /// that is empty, repeated, or "step" or "wall_time".
  void write(std::int64_t step, const Scalars& scalars);

  /// Removes from metrics.jsonl the rows of `step` that hold one of these scalars, to be written
  /// again; TensorBoard's files keep theirs. Throws Error(io_failure).
  void drop(std::int64_t step, const std::vector<std::string>& names);

  /// Waits until all rows are on the disk (fsync). Throws Error(io_failure); the rows since the
  /// last flush() are then taken back from the file and kept, so that a later one can succeed.
  void flush();

  /// TensorBoard's file; empty for one that writes nowhere.
  const std::filesystem::path& event_file() const noexcept;

 private:
  struct Output;
  EventWriter();
  std::unique_ptr<Output> metrics_, events_;
};

/// Reads metrics.jsonl. A half-written last line is ignored; any other damage is Error(bad_file)
/// naming the line.
FORESIGHT_API std::vector<MetricsRow> read_metrics(const std::filesystem::path& path);

/// One TFRecord: uint64 length, masked CRC of it, payload, masked CRC of it; all little-endian.
FORESIGHT_API std::string tfrecord(std::string_view payload);

/// Event message with scalar summaries.
FORESIGHT_API std::string scalar_event(double wall_time, std::int64_t step, const Scalars& scalars);

/// First Event of every file: file_version "brain.Event:2".
FORESIGHT_API std::string version_event(double wall_time);

/// Event that makes TensorBoard forget earlier events with a step >= `step` (SessionLog START).
FORESIGHT_API std::string restart_event(double wall_time, std::int64_t step);

}  // namespace foresight::train
