// SPDX-License-Identifier: Apache-2.0
// Frames that need no decoder of pictures: arrays in HDF5 files, tensors saved by torch.
#include "frame_pieces.hpp"
#include "picture.hpp"

namespace foresight::data {
namespace {

class TensorFrames final : public FrameSource {
 public:
  using Read = std::function<Tensor(int64_t, at::IntArrayRef)>;
  TensorFrames(Read read, const VideoReaderOptions& options, int64_t first)
      : read_(std::move(read)), options_(options), first_(first) {
    const Tensor frame = read_(first, {0});
    require(frame.numel() > 0 && decodable({frame.size(1), frame.size(2)}), ErrorCategory::bad_file,
            "frames of episode " + std::to_string(first) + " have shape " +
                shape_string(frame.sizes().slice(1)) + ", which is no picture");
    frame_bytes_ = frame.numel();
    const Tensor resized = resized_pictures(frame, options_);
    size_ = {resized.size(1), resized.size(2)};
  }

  ImageSize size() const override { return size_; }

  Tensor read(int64_t episode, at::IntArrayRef rows) const override {
    return in_pieces(
        static_cast<int64_t>(rows.size()), frame_bytes_, [&](int64_t first, int64_t count) {
          const auto piece =
              rows.slice(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
          Tensor frames = resized_pictures(read_(episode, piece), options_);
          check_size(episode, {frames.size(1), frames.size(2)});
          return frames;
        });
  }

  // Pixels as they are stored: a file that holds other columns too says nothing by its size.
  bool identify_pictures(int64_t episode, int64_t length, PictureEvidence evidence,
                         Fnv1a& hash) const override {
    if (evidence == PictureEvidence::sizes) return true;
    return add_three_rows(length, [&](int64_t row) {
      const Tensor frame = read_(episode, {row}).contiguous();
      for (const int64_t side : frame.sizes()) hash.add(side);
      hash.add(frame.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(frame.numel()));
    });
  }

 private:
  // Who asked has room for frames of that size.
  void check_size(int64_t episode, const ImageSize& found) const {
    require(found == size_, ErrorCategory::bad_file,
            "frames of episode " + std::to_string(episode) + " are " + std::to_string(found.width) +
                "x" + std::to_string(found.height) + ", but those of episode " +
                std::to_string(first_) + " are " + std::to_string(size_.width) + "x" +
                std::to_string(size_.height) +
                "; choose one size with DatasetOptions.video.height and .width "
                "(--reading.video.height and .width)");
  }

  Read read_;
  VideoReaderOptions options_;
  int64_t first_ = 0;        // the episode that told the size
  int64_t frame_bytes_ = 0;  // as they are stored
  ImageSize size_;
};

}  // namespace

std::shared_ptr<const FrameSource> tensor_frames(
    std::function<Tensor(int64_t, at::IntArrayRef)> read, const VideoReaderOptions& options,
    const std::vector<int64_t>& shown, Unreadable unreadable) {
  return first_that_shows(shown, unreadable, [&](int64_t episode) {
    return std::make_shared<TensorFrames>(read, options, episode);
  });
}

}  // namespace foresight::data
