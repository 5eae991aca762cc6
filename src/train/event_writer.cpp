// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/event_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/crc32c.hpp"
#include "foresight/io/files.hpp"

namespace foresight::train {
namespace {

using Json = nlohmann::json;

// ---- Protocol buffer wire format (protobuf.dev/programming-guides/encoding)
// ------------------------------------------

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_key(std::string& out, std::uint32_t field, WireType type) {
  append_varint(out, field << 3 | type);
}

template <class Unsigned>
void append_little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof(value); ++i)
    out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

void append_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  append_key(out, field, kBytes);
  append_varint(out, bytes.size());
  out.append(bytes);
}

/// Event {double wall_time = 1; int64 step = 2; ...}. Step 0 is the default and, as in proto3, not
/// written.
std::string event_head(double wall_time, std::int64_t step) {
  std::string out;
  append_key(out, 1, kFixed64);
  append_little_endian(out, std::bit_cast<std::uint64_t>(wall_time));
  if (step != 0) {
    append_key(out, 2, kVarint);
    append_varint(out, static_cast<std::uint64_t>(step));
  }
  return out;
}

/// A CRC stored next to the data that it covers is masked, since the CRC of data with its own CRC
/// is degenerate.
std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(io::crc32c(bytes), 15) + 0xa282ead8u;
}

// ---- metrics.jsonl
// ---------------------------------------------------------------------------------------------------

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

std::optional<double> number_of(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "NaN" || value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (value == "Infinity") return std::numeric_limits<double>::infinity();
  if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

std::string line_of(double wall_time, std::int64_t step, const Scalars& scalars) {
  std::string line = "{\"step\":";
  line.append(std::to_string(step)).append(",\"wall_time\":").append(Json(wall_time).dump());
  for (const auto& [name, value] : scalars) {
    line.push_back(',');
    line.append(Json(name).dump()).push_back(':');
    line.append(json_number(value).dump());
  }
  return line.append("}\n");
}

/// The row in one line, or why there is none.
struct ParsedLine {
  MetricsRow row;
  std::string problem;
};

ParsedLine parse_line(std::string_view line) {
  ParsedLine parsed;
  const auto object = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    parsed.problem = "is not a JSON object";
    return parsed;
  }
  const auto step = object.find("step");
  if (step == object.end() || !step->is_number_integer() || step->get<std::int64_t>() < 0) {
    parsed.problem = "has no \"step\" that is an integer >= 0";
    return parsed;
  }
  parsed.row.step = step->get<std::int64_t>();
  for (const auto& [name, value] : object.items()) {
    if (name == "step") continue;
    const auto scalar = number_of(Json(value));
    if (!scalar) {
      parsed.problem = "has a value for '" + name + "' that is not a number: " + value.dump();
      return parsed;
    }
    if (name == "wall_time")
      parsed.row.wall_time = *scalar;
    else
      parsed.row.scalars.emplace_back(name, *scalar);
  }
  return parsed;
}

/// Calls `visit(row, line)` for every good line. Only the last line may be damaged: a writer that
/// was killed leaves that behind, nothing else does.
template <class Visit>
void for_each_line(const std::filesystem::path& path, const std::string& text, Visit&& visit) {
  std::size_t begin = 0;
  for (std::int64_t line_number = 1; begin < text.size(); ++line_number) {
    const auto newline = text.find('\n', begin);
    const bool last = newline == std::string::npos || newline + 1 == text.size();
    const auto line = std::string_view(text).substr(
        begin, newline == std::string::npos ? std::string::npos : newline - begin);
    const auto parsed = parse_line(line);
    if (parsed.problem.empty()) {
      visit(parsed.row, line);
    } else if (!last) {
      throw Error(ErrorCategory::bad_file, path.string() + ": line " + std::to_string(line_number) +
                                               " " + parsed.problem +
                                               "; expected one JSON object of numbers per line");
    }
    if (last) break;
    begin = newline + 1;
  }
}

std::string read_metrics_text(const std::filesystem::path& path) {
  return io::read_text(path, std::uint64_t{4} << 30);  // a row a step of a month-long run fits
}

/// Leaves only the good lines with rows that `keeps` accepts; whether that changed the file.
template <class Keeps>
bool leave_rows(const std::filesystem::path& path, const Keeps& keeps) {
  const auto text = read_metrics_text(path);
  std::string kept;
  kept.reserve(text.size());
  for_each_line(path, text, [&](const MetricsRow& row, std::string_view line) {
    if (keeps(row)) kept.append(line).push_back('\n');
  });
  if (kept == text) return false;
  io::write_text(path, kept);
  return true;
}

/// Leaves only the good lines up to `resume_step` in an existing file.
void prepare_metrics(const std::filesystem::path& path, std::optional<std::int64_t> resume_step) {
  if (std::filesystem::exists(path))
    leave_rows(path,
               [&](const MetricsRow& row) { return !resume_step || row.step <= *resume_step; });
}

// ---- Files
// -----------------------------------------------------------------------------------------------------------

[[noreturn]] void throw_system(const std::filesystem::path& path, const char* what) {
  throw Error(ErrorCategory::io_failure, path.string() + ": " + what + ": " + std::strerror(errno));
}

/// "events.out.tfevents.<seconds>.<host>.<process>.<n>": TensorBoard reads the files of a folder in
/// name order.
std::string event_file_name() {
  static std::atomic<int> count{0};
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0')
    std::strcpy(host.data(), "localhost");
  auto seconds = std::to_string(static_cast<std::int64_t>(seconds_since_epoch()));
  seconds.insert(0, seconds.size() < 10 ? 10 - seconds.size() : 0, '0');
  return "events.out.tfevents." + seconds + "." + host.data() + "." + std::to_string(::getpid()) +
         "." + std::to_string(count++);
}

void check_names(const Scalars& scalars) {
  std::set<std::string_view> seen = {"step", "wall_time"};
  for (const auto& [name, value] : scalars) {
    bool utf8 = true;
    try {
      Json(name).dump();
    } catch (const Json::exception&) {
      utf8 = false;
    }
    require(!name.empty() && utf8, ErrorCategory::invalid_argument,
            "EventWriter.write: a scalar's name is empty or not UTF-8; expected a name like "
            "'train/loss'");
    require(
        seen.insert(name).second, ErrorCategory::invalid_argument,
        "EventWriter.write: scalar '" + name +
            "' appears twice or is reserved; names must differ from each other and from 'step', "
            "'wall_time'");
  }
}

}  // namespace

// An append-only file with a queue. What is known to be on the disk ends at `size`; behind it the
// file holds the first `handed` bytes of the queue.
struct EventWriter::Output {
  std::filesystem::path path;
  int descriptor = -1;
  off_t size = 0;
  std::string queue;
  std::size_t handed = 0;

  Output(std::filesystem::path where, int flags) : path(std::move(where)) {
    descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0666);
    if (descriptor < 0) throw_system(path, "cannot open for writing");
    size = ::lseek(descriptor, 0, SEEK_END);
    if (size < 0) {
      ::close(descriptor);
      throw_system(path, "cannot append");
    }
  }
  ~Output() { ::close(descriptor); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // Gives the system what is queued, without waiting for the disk. False: errno says why not.
  bool hand_over() noexcept {
    while (handed < queue.size()) {
      const auto count = ::write(descriptor, queue.data() + handed, queue.size() - handed);
      if (count < 0 && errno != EINTR) return false;
      if (count > 0) handed += static_cast<std::size_t>(count);
    }
    return true;
  }

  void flush() {
    if (!hand_over()) take_back("cannot write");
    if (::fsync(descriptor) != 0 && errno != EINVAL) take_back("cannot sync");  // EINVAL: a pipe
    size += static_cast<off_t>(queue.size());
    queue.clear();
    handed = 0;
  }

  [[noreturn]] void take_back(const char* what) {
    const int reason = errno;
    if (::ftruncate(descriptor, size) != 0)
      log(LogLevel::warning, path.string() + ": cannot remove a half-written record");
    handed = 0;
    errno = reason;
    throw_system(path, what);
  }
};

EventWriter::EventWriter(const std::filesystem::path& folder,
                         std::optional<std::int64_t> resume_step) {
  require(
      !resume_step || *resume_step >= 0, ErrorCategory::invalid_argument,
      "EventWriter: resume_step = " + std::to_string(resume_step.value_or(0)) + " must be >= 0");
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  require(std::filesystem::is_directory(folder), ErrorCategory::io_failure,
          folder.string() + ": cannot make this folder: " + failure.message());
  const auto metrics_path = folder / "metrics.jsonl";
  prepare_metrics(metrics_path, resume_step);
  metrics_ = std::make_unique<Output>(metrics_path, 0);
  events_ = std::make_unique<Output>(folder / event_file_name(), O_EXCL);
  const double now = seconds_since_epoch();
  events_->queue = tfrecord(version_event(now));
  if (resume_step) events_->queue += tfrecord(restart_event(now, *resume_step + 1));
}

EventWriter::EventWriter() = default;

EventWriter EventWriter::nowhere() { return EventWriter(); }

EventWriter::~EventWriter() {
  try {
    flush();
  } catch (const std::exception& error) {
    log(LogLevel::error, std::string("EventWriter: the last metrics are lost: ") + error.what());
  }
}

void EventWriter::write(std::int64_t step, const Scalars& scalars) {
  require(step >= 0, ErrorCategory::invalid_argument,
          "EventWriter.write: step = " + std::to_string(step) + " must be >= 0");
  check_names(scalars);
  if (!metrics_) return;
  const double now = seconds_since_epoch();
  metrics_->queue += line_of(now, step, scalars);
  events_->queue += tfrecord(scalar_event(now, step, scalars));
  // What cannot be written now stays queued, and flush() says so.
  metrics_->hand_over();
  events_->hand_over();
}

void EventWriter::drop(std::int64_t step, const std::vector<std::string>& names) {
  if (!metrics_ || names.empty()) return;
  flush();
  const auto is_named = [&](const auto& scalar) {
    return std::find(names.begin(), names.end(), scalar.first) != names.end();
  };
  const auto path = metrics_->path;
  const bool changed = leave_rows(path, [&](const MetricsRow& row) {
    return row.step != step || std::none_of(row.scalars.begin(), row.scalars.end(), is_named);
  });
  if (changed) metrics_ = std::make_unique<Output>(path, 0);  // the file is another one
}

void EventWriter::flush() {
  if (!metrics_) return;
  metrics_->flush();
  events_->flush();
}

const std::filesystem::path& EventWriter::event_file() const noexcept {
  static const std::filesystem::path kNone;
  return events_ ? events_->path : kNone;
}

std::vector<MetricsRow> read_metrics(const std::filesystem::path& path) {
  std::vector<MetricsRow> rows;
  for_each_line(path, read_metrics_text(path),
                [&](const MetricsRow& row, std::string_view) { rows.push_back(row); });
  return rows;
}

std::string tfrecord(std::string_view payload) {
  std::string record;
  record.reserve(payload.size() + 16);
  append_little_endian(record, static_cast<std::uint64_t>(payload.size()));
  append_little_endian(record, masked_crc(record));
  record.append(payload);
  append_little_endian(record, masked_crc(payload));
  return record;
}

std::string scalar_event(double wall_time, std::int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [name, value] : scalars) {
    std::string entry;  // Summary.Value {string tag = 1; float simple_value = 2;}
    append_bytes(entry, 1, name);
    append_key(entry, 2, kFixed32);
    append_little_endian(entry, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
    append_bytes(summary, 1, entry);
  }
  auto event = event_head(wall_time, step);
  append_bytes(event, 5, summary);
  return event;
}

std::string version_event(double wall_time) {
  auto event = event_head(wall_time, 0);
  append_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string restart_event(double wall_time, std::int64_t step) {
  auto event = event_head(wall_time, step);
  append_bytes(event, 7, std::string_view("\x08\x01", 2));  // SessionLog {status = 1 (START)}
  return event;
}

}  // namespace foresight::train
