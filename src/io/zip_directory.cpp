// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/zip_directory.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "foresight/core/error.hpp"

namespace foresight::io {

namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;    // "PK\3\4"
constexpr std::uint32_t kEntrySignature = 0x02014b50;    // "PK\1\2"
constexpr std::uint32_t kEndSignature = 0x06054b50;      // "PK\5\6"
constexpr std::uint32_t kWideEndSignature = 0x06064b50;  // "PK\6\6", zip64
constexpr std::uint32_t kLocatorSignature = 0x07064b50;  // "PK\6\7", zip64
constexpr std::uint64_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22, kWideEndBytes = 56,
                        kLocatorBytes = 20;
constexpr std::uint64_t kLongestComment = 0xffff;
constexpr std::uint32_t kIsWide = 0xffffffff;  // "see the zip64 field"
constexpr std::uint16_t kWideField = 1, kEncrypted = 1, kStored = 0;

/// Little-endian numbers of a record at a checked place.
class Record {
 public:
  explicit Record(std::string_view bytes) : bytes_(bytes) {}
  std::uint16_t u16(std::uint64_t at) const { return number<std::uint16_t>(at); }
  std::uint32_t u32(std::uint64_t at) const { return number<std::uint32_t>(at); }
  std::uint64_t u64(std::uint64_t at) const { return number<std::uint64_t>(at); }

 private:
  template <class Number>
  Number number(std::uint64_t at) const {
    Number value = 0;
    std::memcpy(&value, bytes_.data() + at, sizeof value);
    return value;
  }
  std::string_view bytes_;
};

/// Where the list of entries lies and how many there are.
struct DirectoryPlace {
  std::uint64_t begin = 0, size = 0, count = 0;
};

class Reader {
 public:
  Reader(std::string_view file, const std::string& name) : file_(file), name_(name) {}

  ZipDirectory read() {
    const auto place = find_directory();
    directory_begin_ = place.begin;
    std::uint64_t at = place.begin;
    for (std::uint64_t i = 0; i < place.count; ++i) at = read_entry(at, place.begin + place.size);
    check(at == place.begin + place.size,
          "its directory holds more than its " + std::to_string(place.count) + " entries");
    check_overlaps();
    return std::move(directory_);
  }

 private:
  void check(bool holds, const std::string& problem) const {
    require(holds, ErrorCategory::bad_file, name_ + ": damaged zip archive: " + problem);
  }

  void supported(bool holds, const std::string& problem) const {
    require(holds, ErrorCategory::unsupported, name_ + ": " + problem);
  }

  bool fits(std::uint64_t at, std::uint64_t size) const {
    return at <= file_.size() && size <= file_.size() - at;
  }

  std::optional<Record> record(std::uint64_t at, std::uint64_t size,
                               std::uint32_t signature) const {
    if (!fits(at, size)) return std::nullopt;
    const Record found(file_.substr(at, size));
    if (found.u32(0) != signature) return std::nullopt;
    return found;
  }

  /// The end record is the last thing in the file but for a comment whose length it states.
  std::uint64_t find_end() const {
    check(file_.size() >= kEndBytes, "it is too short");
    const std::uint64_t last = file_.size() - kEndBytes;
    for (std::uint64_t back = 0; back <= std::min(last, kLongestComment); ++back) {
      const auto end = record(last - back, kEndBytes, kEndSignature);
      if (end && end->u16(20) == back) return last - back;
    }
    throw Error(ErrorCategory::bad_file,
                name_ +
                    ": a zip archive without its directory at the end: the file is truncated, "
                    "or still being written");
  }

  DirectoryPlace find_directory() const {
    const auto at = find_end();
    const Record end(file_.substr(at, kEndBytes));
    const auto locator = at >= kLocatorBytes
                             ? record(at - kLocatorBytes, kLocatorBytes, kLocatorSignature)
                             : std::nullopt;
    DirectoryPlace place{end.u32(16), end.u32(12), end.u16(10)};
    std::uint64_t limit = at, volumes = end.u16(4) | end.u16(6);
    if (locator) {
      const auto wide = record(locator->u64(8), kWideEndBytes, kWideEndSignature);
      check(wide.has_value(), "its zip64 record is missing");
      place = {wide->u64(48), wide->u64(40), wide->u64(32)};
      limit = locator->u64(8);
      volumes = wide->u32(16) | wide->u32(20) | locator->u32(4);
    }
    supported(volumes == 0, "an archive of several volumes, expected a single file");
    check(place.begin <= limit && place.size <= limit - place.begin,
          "its directory lies outside the file");
    check(place.count <= place.size / kEntryBytes, "it claims " + std::to_string(place.count) +
                                                       " entries in a directory of " +
                                                       std::to_string(place.size) + " bytes");
    return place;
  }

  /// Reads one line of the directory; returns where the next one begins.
  std::uint64_t read_entry(std::uint64_t at, std::uint64_t end) {
    check(end - at >= kEntryBytes && record(at, kEntryBytes, kEntrySignature).has_value(),
          "its directory has no entry at byte " + std::to_string(at));
    const Record entry(file_.substr(at, kEntryBytes));
    const std::uint64_t name_size = entry.u16(28), extra_size = entry.u16(30);
    const std::uint64_t next = at + kEntryBytes + name_size + extra_size + entry.u16(32);
    check(next <= end, "an entry of its directory is cut off");
    const std::string entry_name(file_.substr(at + kEntryBytes, name_size));
    const std::string which = "entry '" + entry_name + "' ";

    supported((entry.u16(8) & kEncrypted) == 0, which + "is encrypted");
    Sizes sizes{entry.u32(24), entry.u32(20), entry.u32(42)};
    widen(sizes, file_.substr(at + kEntryBytes + name_size, extra_size), which);
    const auto method = entry.u16(10);
    check(method != kStored || sizes.stored == sizes.original,
          which + "is stored in " + std::to_string(sizes.stored) + " bytes but has " +
              std::to_string(sizes.original));
    const ZipEntry found{data_begin(sizes.local, entry_name, which), sizes.stored, method};
    check(found.begin <= directory_begin_ && found.size <= directory_begin_ - found.begin,
          which + "ends outside the file, at byte " + std::to_string(found.begin) + " + " +
              std::to_string(found.size));
    check(directory_.emplace(entry_name, found).second, which + "appears twice");
    return next;
  }

  struct Sizes {
    std::uint64_t original, stored, local;
  };

  /// Replaces the numbers that do not fit 32 bits by those of the zip64 field, which holds only
  /// these, in this order.
  void widen(Sizes& sizes, std::string_view extra, const std::string& which) const {
    std::string_view wide;
    while (extra.size() >= 4) {
      const Record field(extra);
      const std::uint64_t size = field.u16(2);
      check(size <= extra.size() - 4, which + "has a damaged extra field");
      if (field.u16(0) == kWideField) wide = extra.substr(4, size);
      extra.remove_prefix(4 + size);
    }
    for (std::uint64_t* number : {&sizes.original, &sizes.stored, &sizes.local}) {
      if (*number != kIsWide) continue;
      check(wide.size() >= 8, which + "lacks its zip64 field");
      *number = Record(wide).u64(0);
      wide.remove_prefix(8);
    }
  }

  /// The data follows the local header, whose own name and extra field it comes after.
  std::uint64_t data_begin(std::uint64_t local, const std::string& entry_name,
                           const std::string& which) const {
    const auto header = record(local, kLocalBytes, kLocalSignature);
    check(header.has_value(), which + "has no header at byte " + std::to_string(local));
    const std::uint64_t name_size = header->u16(26);
    check(fits(local + kLocalBytes, name_size) &&
              file_.substr(local + kLocalBytes, name_size) == entry_name,
          which + "has another name in its own header");
    return local + kLocalBytes + name_size + header->u16(28);
  }

  void check_overlaps() const {
    using Item = std::pair<const std::string, ZipEntry>;
    std::vector<const Item*> order;
    for (const auto& item : directory_) order.push_back(&item);
    std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
      return std::pair(a->second.begin, a->second.size) <
             std::pair(b->second.begin, b->second.size);
    });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const auto& [name, entry] = *order[i - 1];
      check(entry.begin + entry.size <= order[i]->second.begin,
            "entries '" + name + "' and '" + order[i]->first + "' overlap");
    }
  }

  std::string_view file_;
  const std::string& name_;
  std::uint64_t directory_begin_ = 0;
  ZipDirectory directory_;
};

}  // namespace

bool starts_like_zip(std::string_view file) {
  return file.starts_with("PK\x03\x04") || file.starts_with("PK\x05\x06");
}

ZipDirectory read_zip_directory(std::string_view file, const std::string& name) {
  return Reader(file, name).read();
}

void require_stored(const ZipDirectory& directory, const std::string& name) {
  for (const auto& [entry_name, entry] : directory)
    require(entry.method == kStored, ErrorCategory::unsupported,
            name + ": entry '" + entry_name + "' is compressed (method " +
                std::to_string(entry.method) + "), expected a stored one, as torch.save writes it");
}

}  // namespace foresight::io
