// SPDX-License-Identifier: Apache-2.0
#include "picture_files.hpp"

#include "foresight/io/files.hpp"
#include "picture.hpp"

namespace foresight::data {

PictureFiles::Open PictureFiles::announced(const Place& place) const {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(place);
  if (found == open_.end()) return {};
  auto open = std::move(found->second);
  open_.erase(found);
  return open;
}

std::string PictureFiles::read(int64_t episode, int64_t row) const {
  auto open = announced({episode, row});
  struct stat status {};
  if (!open.file || ::fstat(open.file.get(), &status) != 0) {
    open.path = path_(episode, row);
    open.file = io::open_regular(AT_FDCWD, open.path, open.path, status);
  }
  require_same(open.path,
               stamps_.at(static_cast<std::size_t>(episode)).at(static_cast<std::size_t>(row)),
               file_stamp(status));
  return io::read_all(open.file, status, open.path, io::kTextLimit);
}

void PictureFiles::identify(Fnv1a& hash) const {
  for (std::size_t e = 0; e < stamps_.size(); ++e)
    for (std::size_t t = 0; t < stamps_[e].size(); ++t) {
      const std::filesystem::path path = path_(static_cast<int64_t>(e), static_cast<int64_t>(t));
      hash.add(path.filename().string());
      hash.add(&stamps_[e][t], sizeof(FileStamp));
    }
}

bool PictureFiles::identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const {
  const auto& stamps = stamps_.at(static_cast<std::size_t>(episode));
  for (const auto& stamp : stamps) {
    if (stamp == FileStamp{}) return false;  // it was not there
    hash.add(stamp.bytes);
  }
  if (evidence == PictureEvidence::sizes || stamps.empty()) return !stamps.empty();
  const auto rows = static_cast<int64_t>(stamps.size());
  for (const int64_t row : {int64_t{0}, rows / 2, rows - 1})
    if (!add_sample(hash, path_(episode, row), stamps[static_cast<std::size_t>(row)])) return false;
  return true;
}

void PictureFiles::announce(int64_t episode, int64_t row) const {
  const Place place{episode, row};
  {
    const std::lock_guard lock(mutex_);
    if (open_.contains(place)) return;
  }
  Open open{path_(episode, row)};
  open.file = io::Descriptor(::open(open.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!open.file || ::fstat(open.file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
  ::posix_fadvise(open.file.get(), 0, 0, POSIX_FADV_WILLNEED);
  Open oldest;  // closed outside the lock
  const std::lock_guard lock(mutex_);
  if (!open_.emplace(place, std::move(open)).second) return;
  order_.push_back(place);
  if (order_.size() <= kMostOpen) return;
  if (const auto found = open_.find(order_.front()); found != open_.end()) {
    oldest = std::move(found->second);
    open_.erase(found);
  }
  order_.pop_front();
}

std::shared_ptr<const FrameSource> picture_file_frames(
    std::function<std::string(int64_t, int64_t)> path, std::vector<std::vector<FileStamp>> stamps,
    const VideoReaderOptions& options, Unreadable unreadable) {
  std::vector<int64_t> shown;  // episodes
  for (std::size_t e = 0; e < stamps.size(); ++e)
    if (!stamps[e].empty()) shown.push_back(static_cast<int64_t>(e));
  const auto files = std::make_shared<const PictureFiles>(path, std::move(stamps));
  EncodedPictures pictures = {
      .read = [files](int64_t episode, int64_t row) { return files->read(episode, row); },
      .name = std::move(path),
      .announce = [files](int64_t episode, int64_t row) { files->announce(episode, row); },
      .identify = [files](Fnv1a& hash) { files->identify(hash); },
      .identify_pictures =
          [files](int64_t episode, int64_t, PictureEvidence evidence, Fnv1a& hash) {
            return files->identify_pictures(episode, evidence, hash);
          }};
  return first_that_shows(shown, unreadable, [&](int64_t episode) {
    pictures.first = episode;
    return picture_frames(pictures, options);
  });
}

}  // namespace foresight::data
