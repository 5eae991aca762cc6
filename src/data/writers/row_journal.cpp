// SPDX-License-Identifier: Apache-2.0
#include "row_journal.hpp"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "foresight/core/fnv1a.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLongestRecord = int64_t{1} << 32;  // some hundred full-HD cameras

struct RecordHead {
  int64_t bytes = 0;
  std::uint64_t hash = 0;
};

std::uint64_t hash_of_record(const std::string& bytes) {
  Fnv1a hash;
  hash.add(bytes);
  return hash.value();
}

bool read_whole(int file, void* to, std::size_t size) {
  auto* next = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t count = ::read(file, next, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    next += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

// The next record; nothing where it is cut or damaged, as the last one of a killed process may be.
std::optional<std::string> read_record(int file, int64_t left) {
  RecordHead head;
  if (!read_whole(file, &head, sizeof head)) return std::nullopt;
  const bool sound = head.bytes >= 0 && head.bytes <= kLongestRecord && head.bytes <= left;
  if (!sound) return std::nullopt;
  std::string bytes(static_cast<std::size_t>(head.bytes), '\0');
  if (!read_whole(file, bytes.data(), bytes.size())) return std::nullopt;
  if (hash_of_record(bytes) != head.hash) return std::nullopt;
  return bytes;
}

void put_number(std::string& bytes, int64_t number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void put_tensor(std::string& bytes, const Tensor& values) {
  bytes.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
}

// Takes a record apart. Its hash was right, so that it is what add() wrote; sizes are checked all
// the same.
class RowParts {
 public:
  explicit RowParts(const std::string& bytes) : rest_(bytes) {}

  bool take(void* to, std::size_t size) {
    if (rest_.size() < size) return false;
    std::memcpy(to, rest_.data(), size);
    rest_.remove_prefix(size);
    return true;
  }
  int64_t number() {
    int64_t value = -1;
    return take(&value, sizeof value) ? value : -1;
  }
  bool take_tensor(Tensor& values) { return take(values.mutable_data_ptr(), values.nbytes()); }
  std::optional<Tensor> frame() {
    const int64_t height = number(), width = number();
    constexpr int64_t kMostPixels = 1 << 16;
    if (height < 1 || width < 1 || height > kMostPixels || width > kMostPixels ||
        height * width * 3 > static_cast<int64_t>(rest_.size()))
      return std::nullopt;
    Tensor pixels = at::empty({height, width, 3}, at::kByte);
    if (!take_tensor(pixels)) return std::nullopt;
    return pixels;
  }
  std::optional<std::string> text() {
    const int64_t size = number();
    if (size < 0 || size > static_cast<int64_t>(rest_.size())) return std::nullopt;
    std::string words(rest_.substr(0, static_cast<std::size_t>(size)));
    rest_.remove_prefix(words.size());
    return words;
  }

 private:
  std::string_view rest_;
};

std::optional<RecordedRow> parse_row(const std::string& bytes, const RecordingOptions& options) {
  RowParts parts(bytes);
  RecordedRow row;
  for (const auto& camera : options.cameras) {
    auto pixels = parts.frame();
    if (!pixels) return std::nullopt;
    row.frames[camera] = std::move(*pixels);
  }
  for (const auto& feature : options.features) {
    Tensor values = at::empty({static_cast<int64_t>(feature.columns.size())}, feature.type);
    if (!parts.take_tensor(values)) return std::nullopt;
    row.values[feature.name] = std::move(values);
  }
  for (const auto& column : options.texts) {
    auto words = parts.text();
    if (!words) return std::nullopt;
    row.texts[column] = std::move(*words);
  }
  return row;
}

}  // namespace

RowJournal::RowJournal(const fs::path& folder, const RecordingOptions& options)
    : options_(options) {
  path_ = fs::absolute(folder).lexically_normal();  // "." is a folder with a name, too
  if (!path_.has_filename()) path_ = path_.parent_path();
  path_ += ".unfinished";
  std::error_code code;
  fs::create_directories(path_.parent_path(), code);
  require(!code, ErrorCategory::io_failure,
          path_.parent_path().string() + ": cannot be created: " + code.message());
  file_ = io::Descriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file_) throw io::system_error(path_, "open");
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
    throw Error(ErrorCategory::invalid_argument,
                path_.string() + ": another process is recording here");
}

std::string RowJournal::description() const {
  nlohmann::ordered_json rows;
  rows["fps"] = options_.video.fps;
  rows["cameras"] = options_.cameras;
  rows["texts"] = options_.texts;
  for (const auto& feature : options_.features)
    rows["features"].push_back({feature.name, feature.columns, c10::toString(feature.type)});
  return rows.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

int64_t RowJournal::size_of_file() const {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) throw io::system_error(path_, "read");
  return status.st_size;
}

// The file is read on from behind it.
std::optional<RowJournal::Head> RowJournal::read_head() const {
  if (::lseek(file_.get(), 0, SEEK_SET) < 0) throw io::system_error(path_, "read");
  const auto text = read_record(file_.get(), size_of_file());
  if (!text) return std::nullopt;
  const auto newline = text->find('\n');
  if (newline == std::string::npos) return std::nullopt;
  Head head{-1, text->substr(newline + 1)};
  std::from_chars(text->data(), text->data() + newline, head.episode);
  return head;
}

std::optional<int64_t> RowJournal::episode() const {
  const auto head = read_head();
  return head ? std::optional(head->episode) : std::nullopt;
}

int64_t RowJournal::recover(int64_t episode,
                            const std::function<void(RecordedRow row)>& take) const {
  const auto head = read_head();
  if (!head) return 0;
  if (head->episode < episode) return 0;  // it was finished; only forgetting its rows was not
  const int64_t size = size_of_file();
  std::optional<std::string> record = read_record(file_.get(), size);
  require(!record || head->description == description(), ErrorCategory::invalid_argument,
          path_.string() +
              ": holds rows of an unfinished episode with other features, cameras or rate; record "
              "with the same to keep them, or remove the file");
  int64_t rows = 0;
  for (; record; record = read_record(file_.get(), size)) {
    auto row = parse_row(*record, options_);
    if (!row) break;
    take(std::move(*row));
    ++rows;
  }
  return rows;
}

void RowJournal::restart(int64_t episode) {
  if (::ftruncate(file_.get(), 0) != 0) throw io::system_error(path_, "empty it");
  size_ = 0;
  write_record(std::to_string(episode) + "\n" + description());
}

void RowJournal::write_record(const std::string& bytes) {
  const RecordHead head{static_cast<int64_t>(bytes.size()), hash_of_record(bytes)};
  std::string record(reinterpret_cast<const char*>(&head), sizeof head);
  record += bytes;
  int64_t written = 0;
  while (written < static_cast<int64_t>(record.size())) {
    const ssize_t count =
        ::pwrite(file_.get(), record.data() + written,
                 record.size() - static_cast<std::size_t>(written), size_ + written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int code = errno;
      [[maybe_unused]] const int cut = ::ftruncate(file_.get(), size_);
      throw io::system_error(path_, "write", code);
    }
    written += count;
  }
  size_ += written;
}

void RowJournal::add(const RecordedRow& row) {
  std::string bytes;
  for (const auto& camera : options_.cameras) {
    const Tensor pixels = row.frames.at(camera).to(at::kCPU).contiguous();
    put_number(bytes, pixels.size(0));
    put_number(bytes, pixels.size(1));
    put_tensor(bytes, pixels);
  }
  for (const auto& feature : options_.features)
    put_tensor(bytes, row.values.at(feature.name).detach().to(at::kCPU, feature.type).contiguous());
  for (const auto& column : options_.texts) {
    put_number(bytes, static_cast<int64_t>(row.texts.at(column).size()));
    bytes += row.texts.at(column);
  }
  write_record(bytes);
}

void RowJournal::close() { file_ = io::Descriptor(); }

void RowJournal::remove() {
  ::unlink(path_.c_str());
  close();
}

}  // namespace foresight::data
