// SPDX-License-Identifier: Apache-2.0
#include "picture.hpp"

#include <array>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>

#include <jpeglib.h>

#include "foresight/data/picture_file.hpp"
#include "foresight/io/files.hpp"
#include "frame_pieces.hpp"

namespace foresight::data {
namespace {

constexpr std::string_view kJpegStart = "\xFF\xD8\xFF", kPngStart = "\x89PNG\r\n\x1A\n";

// libjpeg reports errors by calling back, and must not be returned to.
struct JpegError {
  jpeg_error_mgr manager;
  std::jmp_buf escape;
  char text[JMSG_LENGTH_MAX];
};

void fail_jpeg(j_common_ptr decoder) {
  auto* error = reinterpret_cast<JpegError*>(decoder->err);
  (*decoder->err->format_message)(decoder, error->text);
  std::longjmp(error->escape, 1);
}

void keep_quiet(j_common_ptr, int) {}

// A side of `length` pixels at 1/reduction of its size, as libjpeg rounds it.
int64_t reduced(int64_t length, int64_t reduction) { return (length + reduction - 1) / reduction; }

// Where a picture goes at 1/reduction (1, 2, 4 or 8) of its size; null: it is too large.
struct JpegPlace {
  std::uint8_t* pixels = nullptr;
  int64_t reduction = 1;
};

// No object with a destructor may live in here: longjmp() skips it. Returns false with error.text
// set; `allocate` is called with the stored size once it is known, and does not throw.
bool decode_jpeg_to(const unsigned char* bytes, std::size_t size, JpegError& error,
                    JpegPlace (*allocate)(void* owner, int64_t height, int64_t width),
                    void* owner) {
  jpeg_decompress_struct decoder;
  decoder.err = jpeg_std_error(&error.manager);
  error.manager.error_exit = fail_jpeg;
  error.manager.emit_message = keep_quiet;
  if (setjmp(error.escape) != 0) {
    jpeg_destroy_decompress(&decoder);
    return false;
  }
  jpeg_create_decompress(&decoder);
  jpeg_mem_src(&decoder, const_cast<unsigned char*>(bytes), size);
  jpeg_read_header(&decoder, TRUE);
  const JpegPlace place = allocate(owner, decoder.image_height, decoder.image_width);
  if (place.pixels == nullptr) {
    std::snprintf(error.text, sizeof error.text, "it is too large");
    jpeg_destroy_decompress(&decoder);
    return false;
  }
  decoder.out_color_space = JCS_RGB;
  decoder.scale_num = 1;
  decoder.scale_denom = static_cast<unsigned>(place.reduction);
  jpeg_start_decompress(&decoder);
  while (decoder.output_scanline < decoder.output_height) {
    constexpr JDIMENSION kRows = 16;  // as many as a block of halved colour is high
    JSAMPROW next[kRows];
    const JDIMENSION first = decoder.output_scanline;
    const JDIMENSION count =
        decoder.output_height - first < kRows ? decoder.output_height - first : kRows;
    for (JDIMENSION r = 0; r < count; ++r)
      next[r] = place.pixels + static_cast<std::size_t>(first + r) * decoder.output_width * 3;
    jpeg_read_scanlines(&decoder, next, count);
  }
  jpeg_finish_decompress(&decoder);
  const bool damaged = error.manager.num_warnings > 0;
  if (damaged) std::snprintf(error.text, sizeof error.text, "its data is damaged or cut");
  jpeg_destroy_decompress(&decoder);
  return !damaged;
}

// Where pictures of one stored size go, one after the other.
struct JpegTarget {
  JpegPlace place = {};
  int64_t height = 0, width = 0;
};

// Straight to its place; false if the picture has another size.
bool decode_jpeg_to_place(std::string_view bytes, JpegError& error, JpegTarget target) {
  const auto place = [](void* owner, int64_t height, int64_t width) -> JpegPlace {
    const auto& wanted = *static_cast<JpegTarget*>(owner);
    return height == wanted.height && width == wanted.width ? wanted.place : JpegPlace{};
  };
  return decode_jpeg_to(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), error,
                        place, &target);
}

// By how much a JPEG picture of a stored size is reduced while it is decoded.
using Reduction = std::function<int64_t(const ImageSize& stored)>;

struct JpegTensor {
  const Reduction& reduction;
  Tensor picture = {};
  std::exception_ptr failure = {};
};

JpegPlace allocate_tensor(void* owner, int64_t height, int64_t width) {
  auto& made = *static_cast<JpegTensor*>(owner);
  try {
    if (!decodable({height, width})) return {};
    const auto reduction = made.reduction({height, width});
    made.picture = at::empty({reduced(height, reduction), reduced(width, reduction), 3}, at::kByte);
    return {made.picture.mutable_data_ptr<std::uint8_t>(), reduction};
  } catch (const Error&) {
    made.failure = std::current_exception();
  } catch (...) {  // no memory
  }
  return {};
}

Tensor decode_jpeg(std::string_view bytes, const std::string& name, const Reduction& reduction) {
  JpegError error{};
  JpegTensor made{reduction};
  const bool read = decode_jpeg_to(reinterpret_cast<const unsigned char*>(bytes.data()),
                                   bytes.size(), error, allocate_tensor, &made);
  if (made.failure) std::rethrow_exception(made.failure);
  require(read, ErrorCategory::bad_file, name + ": is no whole JPEG picture: " + error.text);
  return made.picture;
}

// How much smaller a JPEG picture may be decoded so that it is still as large as asked for.
int64_t jpeg_reduction(ImageSize stored, const VideoReaderOptions& options) {
  if (options.jpeg_reduction == JpegReduction::after_decoding || options.height == 0) return 1;
  for (const int64_t reduction : {8, 4, 2})
    if (reduced(stored.height, reduction) >= options.height &&
        reduced(stored.width, reduction) >= options.width)
      return reduction;
  return 1;
}

class PictureFrames final : public FrameSource {
 public:
  PictureFrames(EncodedPictures pictures, const VideoReaderOptions& options)
      : pictures_(std::move(pictures)), options_(options) {
    const std::string bytes = pictures_.read(pictures_.first, 0);
    const Tensor first = decode_picture(bytes, pictures_.name(pictures_.first, 0));
    stored_ = {first.size(0), first.size(1)};
    size_ = options.height == 0 ? stored_ : ImageSize{options.height, options.width};
    if (bytes.starts_with(kJpegStart)) reduction_ = jpeg_reduction(stored_, options);
    decoded_ = {reduced(stored_.height, reduction_), reduced(stored_.width, reduction_)};
  }
  ImageSize size() const override { return size_; }

  Tensor read(int64_t episode, at::IntArrayRef rows) const override {
    return in_pieces(static_cast<int64_t>(rows.size()), decoded_.height * decoded_.width * 3,
                     [&](int64_t first, int64_t count) {
                       return read_piece(episode, rows.slice(static_cast<std::size_t>(first),
                                                             static_cast<std::size_t>(count)));
                     });
  }

  void announce(int64_t episode, at::IntArrayRef rows) const override {
    if (!pictures_.announce) return;
    for (const int64_t row : rows) pictures_.announce(episode, row);
  }
  void identify(Fnv1a& hash) const override {
    if (pictures_.identify) pictures_.identify(hash);
  }
  bool identify_pictures(int64_t episode, int64_t length, PictureEvidence evidence,
                         Fnv1a& hash) const override {
    if (pictures_.identify_pictures)
      return pictures_.identify_pictures(episode, length, evidence, hash);
    if (evidence == PictureEvidence::sizes) return true;  // there are no files to measure
    return add_three_rows(length, [&](int64_t row) { hash.add(pictures_.read(episode, row)); });
  }

 private:
  Tensor read_piece(int64_t episode, at::IntArrayRef rows) const {
    Tensor pictures = at::empty(
        {static_cast<int64_t>(rows.size()), decoded_.height, decoded_.width, 3}, at::kByte);
    auto* place = pictures.mutable_data_ptr<std::uint8_t>();
    for (const int64_t row : rows) {
      const std::string bytes = pictures_.read(episode, row);
      // Messages are put together where they are needed: a name costs as much as a small file.
      if (JpegError error{};
          !std::string_view(bytes).starts_with(kJpegStart) ||
          !decode_jpeg_to_place(bytes, error, {{place, reduction_}, stored_.height, stored_.width}))
        read_otherwise(bytes, pictures_.name(episode, row), place);
      place += decoded_.height * decoded_.width * 3;
    }
    return resized_pictures(pictures, options_);
  }

  // A PNG among JPEG pictures, or the error that says what is wrong.
  void read_otherwise(std::string_view bytes, const std::string& name, std::uint8_t* place) const {
    Tensor picture = decode_picture(bytes, name).unsqueeze(0);
    require(picture.size(1) == stored_.height && picture.size(2) == stored_.width,
            ErrorCategory::bad_file,
            name + ": has shape " + shape_string(picture.sizes().slice(1)) +
                ", but the first picture has " + shape_string({stored_.height, stored_.width, 3}));
    picture = resized_pictures(picture, {.height = decoded_.height,
                                         .width = decoded_.width,
                                         .scaling = options_.scaling,
                                         .conversion = options_.conversion});
    std::memcpy(place, picture.const_data_ptr<std::uint8_t>(),
                static_cast<std::size_t>(picture.numel()));
  }

  EncodedPictures pictures_;
  VideoReaderOptions options_;
  int64_t reduction_ = 1;  // of JPEG pictures while they are decoded
  ImageSize stored_, decoded_, size_;
};

Tensor decoded(std::string_view bytes, const std::string& name, const Reduction& reduction) {
  require(
      bytes.size() < (std::size_t{1} << 30), ErrorCategory::bad_file,
      name + ": has " + std::to_string(bytes.size()) + " bytes, expected a picture below 1 GiB");
  if (bytes.starts_with(kJpegStart)) return decode_jpeg(bytes, name, reduction);
  if (bytes.starts_with(kPngStart)) return decode_png_picture(bytes, name);
  throw Error(ErrorCategory::bad_file, name + ": is neither a PNG nor a JPEG picture");
}

// The next `count` bytes as a number, the largest first.
int64_t big_endian(std::istream& file, int count) {
  int64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | (file.get() & 0xFF);
  return value;
}

// From where the start-of-image marker ends: walks the segments up to the one that begins a frame
// (ITU T.81, table B.1). Zero where there is none.
ImageSize jpeg_size(std::istream& file) {
  while (file.get() == 0xFF) {
    int marker = 0xFF;
    while (marker == 0xFF) marker = file.get();  // fill bytes may come before it (B.1.1.2)
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;  // no segment follows
    const auto length = big_endian(file, 2);
    if (!file || length < 2) break;
    const bool frame =
        marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (!frame) {
      file.seekg(length - 2, std::ios::cur);
      continue;
    }
    file.get();  // bits a sample
    const auto height = big_endian(file, 2), width = big_endian(file, 2);
    return file ? ImageSize{height, width} : ImageSize{};
  }
  return {};
}

ImageSize png_size(std::istream& file) {
  file.seekg(16);  // the first chunk is the header
  const auto width = big_endian(file, 4), height = big_endian(file, 4);
  return file ? ImageSize{height, width} : ImageSize{};
}

}  // namespace

Tensor decode_picture(std::string_view bytes, const std::string& name) {
  return decoded(bytes, name, [](const ImageSize&) { return int64_t{1}; });
}

bool begins_as_picture(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, 8> start{};
  if (!file.read(start.data(), start.size())) return false;
  const std::string_view bytes(start.data(), start.size());
  return bytes == kPngStart || bytes.starts_with(kJpegStart);
}

Tensor read_picture_file(const std::filesystem::path& path) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;  // above any picture
  return decode_picture(io::read_text(path, kMostBytes), path.string());
}

ImageSize picture_size(const std::filesystem::path& path) {
  const auto name = path.string();
  std::ifstream file(path, std::ios::binary);
  require(file.is_open(), ErrorCategory::io_failure,
          name + ": cannot be opened: " + std::strerror(errno));
  std::array<char, 8> start{};
  ImageSize size;
  if (file.read(start.data(), start.size())) {
    const std::string_view bytes(start.data(), start.size());
    if (bytes == kPngStart) {
      require_png_decoder(name);
      size = png_size(file);
    }
    if (bytes.starts_with(kJpegStart)) size = jpeg_size(file.seekg(2));
  }
  require(size.height > 0 && size.width > 0, ErrorCategory::bad_file,
          name + ": is no PNG or JPEG picture, or is cut off");
  require(decodable(size), ErrorCategory::bad_file,
          name + ": claims " + std::to_string(size.width) + "x" + std::to_string(size.height) +
              " pixels, more than the " + std::to_string(kLargestPicture) + " that are decoded");
  return size;
}

Tensor resized_pictures(const Tensor& pictures, const VideoReaderOptions& options) {
  const int64_t height = pictures.size(1), width = pictures.size(2);
  if (options.height == 0 || (options.height == height && options.width == width))
    return pictures.contiguous();
  return scaled_pictures(pictures.contiguous(), options);
}

Tensor picture_at(std::string_view bytes, const std::string& name,
                  const std::function<VideoReaderOptions(const ImageSize& stored)>& options_for) {
  VideoReaderOptions options;
  bool chosen = false;
  const auto choose = [&](const ImageSize& stored) {
    options = options_for(stored);
    chosen = true;
    return jpeg_reduction(stored, options);
  };
  const Tensor picture = decoded(bytes, name, choose).unsqueeze(0);
  if (!chosen) options = options_for({picture.size(1), picture.size(2)});  // PNG
  return resized_pictures(picture, options);
}

std::shared_ptr<const FrameSource> picture_frames(EncodedPictures pictures,
                                                  const VideoReaderOptions& options) {
  return std::make_shared<PictureFrames>(std::move(pictures), options);
}

}  // namespace foresight::data
