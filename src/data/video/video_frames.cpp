// SPDX-License-Identifier: Apache-2.0
#include "video_frames.hpp"

#include <cmath>
#include <exception>
#include <mutex>
#include <set>

#include "film_pool.hpp"
#include "packet_decoder.hpp"

namespace foresight::data {
namespace {

class VideoFrames final : public FrameSource {
 public:
  VideoFrames(std::vector<EpisodeClip> clips, FrameLookup lookup, const VideoReaderOptions& options,
              Unreadable unreadable)
      : clips_(std::move(clips)),
        lookup_(std::move(lookup)),
        pool_(options, [this](const std::string& file, const FrameTable& table,
                              int64_t end) { return shows_rows(file, table, end); }),
        decoders_(options) {
    for (auto& clip : clips_)
      if (const auto file = clip.file.string(); !file.empty()) {
        pool_.add(file, std::move(clip.table));
      }
    if (lookup_.shared) pool_.look_at_ends(lookup_.threads);
    find_size(unreadable);
  }

  ImageSize size() const override { return size_; }

  Tensor read(int64_t episode, at::IntArrayRef rows) const override {
    const EpisodeClip& clip = clips_[static_cast<std::size_t>(episode)];
    const auto file = clip.file.string();
    for (;;) {  // until the film is the same before and after
      const auto film = pool_.known(file);
      try {
        Tensor pictures = read_film(clip, *film.table, rows);
        if (file_stamp(file) == film.stamp) return pictures;
      } catch (const Error&) {
        if (file_stamp(file) == film.stamp) throw;
      }
    }
  }

  void identify(Fnv1a& hash) const override {
    for (const auto& clip : clips_) {
      hash.add(clip.file.filename().string());
      hash.add(&clip.start, sizeof clip.start);
      hash.add(clip.first_row);
      hash.add(clip.stride);
      for (const int64_t frame : clip.frames) hash.add(frame);
      if (clip.file.empty()) continue;
      const auto stamp = pool_.stamp(clip.file.string());
      hash.add(&stamp, sizeof stamp);
    }
  }

  bool identify_pictures(int64_t episode, int64_t length, PictureEvidence evidence,
                         Fnv1a& hash) const override {
    const EpisodeClip& clip = clips_[static_cast<std::size_t>(episode)];
    const auto file = clip.file.string();
    if (file.empty()) return false;
    if (lookup_.shared) return identify_part(clip, length, evidence, hash);
    const auto stamp = pool_.stamp(file);
    hash.add(stamp.bytes);
    return evidence == PictureEvidence::sizes || add_sample(hash, file, stamp);
  }

  void announce(int64_t episode, at::IntArrayRef rows) const override {
    const EpisodeClip& clip = clips_[static_cast<std::size_t>(episode)];
    const auto file = clip.file.string();
    const auto table = pool_.known(file).table;
    std::vector<int64_t> frames;
    for (const int64_t row : rows) frames.push_back(frame_of(*table, clip, row));
    announce_packets(*table, file, std::move(frames));
  }

 private:
  void find_size(Unreadable unreadable) {
    std::set<std::filesystem::path> looked_at = {""};
    std::exception_ptr first_problem;
    for (auto& clip : clips_) {
      if (!looked_at.insert(clip.file).second) continue;
      try {
        if (lookup_.shared)  // it may have grown since its state was noted
          pool_.known(clip.file.string());
        auto reader = pool_.take(clip.file.string());
        size_ = {reader->info().height, reader->info().width};
        size_of_ = clip.file.string();
        pool_.give_back(std::move(reader));
        return;
      } catch (const Error& problem) {
        if (unreadable == Unreadable::fail || !is_unreadable(problem)) throw;
        if (!first_problem) first_problem = std::current_exception();
      }
    }
    if (first_problem) std::rethrow_exception(first_problem);
    throw Error(ErrorCategory::bad_file, "there is no film that can be read");
  }

  Tensor read_film(const EpisodeClip& clip, const FrameTable& table, at::IntArrayRef rows) const {
    const auto file = clip.file.string();
    std::vector<int64_t> frames;
    for (const int64_t row : rows) frames.push_back(frame_of(table, clip, row));
    if (Tensor pictures = read_packets(table, file, frames); pictures.defined()) return pictures;
    auto reader = pool_.take(file);
    const ImageSize found{reader->info().height, reader->info().width};
    require(found == size_, ErrorCategory::bad_file,
            file + ": frames are " + std::to_string(found.width) + "x" +
                std::to_string(found.height) + ", but those of " + size_of_ + " are " +
                std::to_string(size_.width) + "x" + std::to_string(size_.height) +
                "; choose one size with DatasetOptions.video.height and .width "
                "(--reading.video.height and .width)");
    Tensor pictures = reader->frames(frames);
    pool_.give_back(std::move(reader));
    return pictures;
  }

  // The quick way, undefined where it does not go.
  Tensor read_packets(const FrameTable& table, const std::string& file,
                      const std::vector<int64_t>& frames) const {
    if (table.packets.empty() || frames.empty()) return {};
    auto decoder = decoders_.take(table, file, frames.front());
    if (decoder->height() != size_.height || decoder->width() != size_.width) return {};
    Tensor pictures =
        at::empty({static_cast<int64_t>(frames.size()), size_.height, size_.width, 3}, at::kByte);
    if (!decoder->read(table, file, frames, pictures.mutable_data_ptr<std::uint8_t>())) return {};
    decoders_.give_back(std::move(decoder));
    return pictures;
  }

  // The packets of an episode in a film that may hold several, so that it is known again when the
  // film has taken up others.
  bool identify_part(const EpisodeClip& clip, int64_t length, PictureEvidence evidence,
                     Fnv1a& hash) const try {
    const auto file = clip.file.string();
    const auto [table, stamp] = pool_.known(file);
    if (table->packets.empty()) return false;
    const auto first = frame_of(*table, clip, 0), last = frame_of(*table, clip, length - 1);
    for (int64_t frame = first; frame <= last; ++frame)
      hash.add(static_cast<int64_t>(packet_of(*table, frame).size));
    if (evidence == PictureEvidence::sizes) return true;
    for (const auto frame : {first, first + (last - first) / 2, last}) {
      const auto& packet = packet_of(*table, frame);
      if (!add_piece(hash, file, stamp, packet.offset, packet.size)) return false;
    }
    return true;
  } catch (const Error& problem) {
    if (!is_unreadable(problem) && problem.category() != ErrorCategory::non_finite) throw;
    return false;
  }

  static const PacketPlace& packet_of(const FrameTable& table, int64_t frame) {
    const auto number = table.packet_of.at(static_cast<std::size_t>(frame));
    return table.packets.at(static_cast<std::size_t>(number));
  }

  // Whether all rows of the episodes in a film have a frame, in a packet before byte `end`.
  bool shows_rows(const std::string& file, const FrameTable& table, int64_t end) const {
    if (table.packets.empty()) return false;
    if (lookup_.times) read_times();  // what is wrong with them is not the film's fault
    const std::filesystem::path film(file);
    try {
      for (const auto& clip : clips_) {
        if (clip.file != film) continue;
        for (int64_t row = 0; row < clip.rows; ++row) {
          const auto& packet = packet_of(table, frame_of(table, clip, row));
          if (packet.offset + packet.size > end) return false;
        }
      }
    } catch (const Error&) {  // no frame at the time of a row
      return false;
    }
    return true;
  }

  void read_times() const {
    std::call_once(times_read_, [this] { times_ = lookup_.times(); });
  }

  int64_t frame_of(const FrameTable& table, const EpisodeClip& clip, int64_t row) const {
    if (!lookup_.times) {
      const int64_t frame =
          clip.frames.empty() ? row * clip.stride : clip.frames.at(static_cast<std::size_t>(row));
      const auto available = static_cast<int64_t>(table.pts.size());
      if (frame >= 0 && frame < available) return frame;
      throw Error(ErrorCategory::bad_file,
                  clip.file.string() + ": has " + std::to_string(available) + " frames, row " +
                      std::to_string(row) + " needs frame " + std::to_string(frame));
    }
    read_times();
    // In double: at 1000 s the steps of float32 are as large as the tolerance.
    const double time = clip.start + times_.at(static_cast<std::size_t>(clip.first_row + row));
    if (!std::isfinite(time))
      throw Error(ErrorCategory::non_finite, clip.file.string() + ": the time of row " +
                                                 std::to_string(row) +
                                                 " of its episode is not a finite number");
    const int64_t frame = table.nearest(time);
    if (std::abs(table.time(frame) - time) > lookup_.tolerance_s)
      throw Error(
          ErrorCategory::bad_file,
          clip.file.string() + ": no frame within " + std::to_string(lookup_.tolerance_s) +
              " s of t = " + std::to_string(time) + " s (row " + std::to_string(row) +
              " of its episode), nearest is " + std::to_string(table.time(frame)) +
              " s; widen DatasetOptions.tolerance_s (--reading.tolerance_s), at most to half a "
              "frame, or encode the file again");
    return frame;
  }

  std::vector<EpisodeClip> clips_;  // by episode
  FrameLookup lookup_;
  mutable FilmPool pool_;
  mutable PacketDecoders decoders_;
  ImageSize size_;
  std::string size_of_;  // the file that has it
  mutable std::once_flag times_read_;
  mutable std::vector<double> times_;
};

}  // namespace

std::shared_ptr<const FrameSource> video_frames(std::vector<EpisodeClip> clips, FrameLookup lookup,
                                                const VideoReaderOptions& options,
                                                Unreadable unreadable) {
  return std::make_shared<VideoFrames>(std::move(clips), std::move(lookup), options, unreadable);
}

}  // namespace foresight::data
