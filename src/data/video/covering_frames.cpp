// SPDX-License-Identifier: Apache-2.0
#include "covering_frames.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "picture.hpp"

namespace foresight::data {

ImageSize covering(const std::string& file, const ImageSize& size, const ImageSize& wanted) {
  const auto ratio = [](int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(b);
  };
  const double scale = std::max(ratio(wanted.height, size.height), ratio(wanted.width, size.width));
  const auto scaled = [&](int64_t side, int64_t least) {
    return std::max<int64_t>(least, std::llround(scale * static_cast<double>(side)));
  };
  const ImageSize covers{scaled(size.height, wanted.height), scaled(size.width, wanted.width)};
  if (decodable(covers)) return covers;
  const auto told = [](const ImageSize& one) {
    return std::to_string(one.width) + "x" + std::to_string(one.height);
  };
  throw Error(ErrorCategory::bad_file, file + ": is " + told(size) + " and would be " +
                                           told(covers) + " pixels large to cover " + told(wanted) +
                                           ", more than the " + std::to_string(kLargestPicture) +
                                           " of a picture");
}

namespace {

namespace fs = std::filesystem;

Tensor centre_of(const Tensor& frames, const ImageSize& wanted) {
  const auto top = (frames.size(1) - wanted.height) / 2, left = (frames.size(2) - wanted.width) / 2;
  return frames.narrow(1, top, wanted.height).narrow(2, left, wanted.width).contiguous();
}

// Pictures of many sizes at one: scaled until they cover it, and cut about the centre.
class CoveringFrames final : public FrameSource {
 public:
  CoveringFrames(const std::vector<Shown>& episodes, const ImageSize& size,
                 const VideoReaderOptions& options)
      : size_(size), options_(options) {
    std::map<std::pair<int64_t, int64_t>, std::vector<EpisodeClip>> clips;  // by native size
    std::vector<std::vector<fs::path>> photos;
    PictureFiles::Stamps stamps;
    for (const auto& shown : episodes) {
      auto& place = places_.emplace_back();
      place.native = shown.size;
      photos.push_back(shown.film ? std::vector<fs::path>{} : shown.files);
      stamps.push_back(shown.stamps);
      if (!shown.film) continue;
      auto& same = clips[{shown.size.height, shown.size.width}];
      place.clip = static_cast<int64_t>(same.size());
      same.push_back({.file = shown.files.front(), .table = shown.table});
    }
    std::map<std::pair<int64_t, int64_t>, std::shared_ptr<const FrameSource>> films;
    for (auto& [native, same] : clips) {
      const auto scaled = at_size(same.front().file.string(), {native.first, native.second});
      films[native] = video_frames(std::move(same), {}, scaled);
    }
    for (std::size_t e = 0; e < places_.size(); ++e)
      if (auto& place = places_[e]; photos[e].empty())
        place.films = films.at({place.native.height, place.native.width});
    const auto path = [photos = std::move(photos)](int64_t episode, int64_t row) {
      return photos[static_cast<std::size_t>(episode)][static_cast<std::size_t>(row)].string();
    };
    photos_ = std::make_shared<const PictureFiles>(path, std::move(stamps));
  }

  ImageSize size() const override { return size_; }

  Tensor read(int64_t episode, at::IntArrayRef rows) const override {
    const auto& place = places_[static_cast<std::size_t>(episode)];
    if (place.films) return centre_of(place.films->read(place.clip, rows), size_);
    std::vector<Tensor> frames;
    for (const auto row : rows) {
      const auto name = photos_->path(episode, row);
      const auto scaled = [&](const ImageSize& stored) { return at_size(name, stored); };
      frames.push_back(centre_of(picture_at(photos_->read(episode, row), name, scaled), size_));
    }
    return at::cat(frames);
  }

  void identify(Fnv1a& hash) const override {
    photos_->identify(hash);
    for (const auto& place : places_)
      if (place.films && place.clip == 0) place.films->identify(hash);
  }

  bool identify_pictures(int64_t episode, int64_t length, PictureEvidence evidence,
                         Fnv1a& hash) const override {
    const auto& place = places_[static_cast<std::size_t>(episode)];
    if (place.films) return place.films->identify_pictures(place.clip, length, evidence, hash);
    return photos_->identify_pictures(episode, evidence, hash);
  }

  void announce(int64_t episode, at::IntArrayRef rows) const override {
    const auto& place = places_[static_cast<std::size_t>(episode)];
    if (place.films) return place.films->announce(place.clip, rows);
    for (const auto row : rows) photos_->announce(episode, row);
  }

 private:
  struct Place {
    std::shared_ptr<const FrameSource> films = {};  // or it is pictures
    int64_t clip = 0;
    ImageSize native;
  };

  VideoReaderOptions at_size(const std::string& file, const ImageSize& native) const {
    auto options = options_;
    const auto scaled = covering(file, native, size_);
    const bool same = scaled == native;
    options.height = same ? 0 : scaled.height;
    options.width = same ? 0 : scaled.width;
    return options;
  }

  ImageSize size_;
  VideoReaderOptions options_;
  std::vector<Place> places_;
  std::shared_ptr<const PictureFiles> photos_;
};

}  // namespace

std::shared_ptr<const FrameSource> covering_frames(const std::vector<Shown>& episodes,
                                                   const ImageSize& size,
                                                   const VideoReaderOptions& options) {
  return std::make_shared<CoveringFrames>(episodes, size, options);
}

}  // namespace foresight::data
