// SPDX-License-Identifier: Apache-2.0
// PNG against files that Python wrote with zlib (tests/data/images), and layers over images.
#include "foresight/viz/image.hpp"

#include <filesystem>
#include <functional>
#include <limits>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"
#include "markup_checker.hpp"

namespace foresight::viz::image_test {

using foresight::Error;
using foresight::ErrorCategory;
using foresight::Tensor;
using foresight::test::attribute_values;
using foresight::test::markup_problem;
using foresight::test::numbers_in;

namespace {

std::vector<std::uint8_t> fixture(const std::string& name) {
  const auto text =
      foresight::io::read_text(std::filesystem::path(FORESIGHT_TEST_DATA) / "images" / name);
  return {text.begin(), text.end()};
}

Tensor random_image(int64_t height, int64_t width) {
  at::manual_seed(height * 1000 + width);
  return at::randint(0, 256, {height, width, 3}, at::kByte);
}

ErrorCategory category_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.category();
  }
  FAIL("no Error was thrown");
  return ErrorCategory::unsupported;
}

std::vector<std::uint8_t> from_base64(const std::string& text) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::uint8_t> bytes;
  unsigned bits = 0, value = 0;
  for (const char c : text) {
    if (c == '=') break;
    value = value << 6 | static_cast<unsigned>(alphabet.find(c));
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<std::uint8_t>(value >> bits & 0xff));
    }
  }
  return bytes;
}

ImagePanel panel_with(Tensor points) {
  ImagePanel panel{"frame", random_image(64, 64)};
  panel.width = 640;
  panel.paths = {{"path", std::move(points), Ink::candidate}};
  return panel;
}

std::vector<double> path_numbers(const Svg& figure) {
  return numbers_in(attribute_values(figure.markup, "path", "d").at(0));
}

}  // namespace

TEST_CASE("PNG files written by others are read exactly") {
  const auto rgb = decode_png(fixture("rgb.png"), "rgb.png");
  const auto grey = decode_png(fixture("grey.png"), "grey.png");
  const auto alpha = decode_png(fixture("alpha.png"), "alpha.png");
  REQUIRE(rgb.sizes() == at::IntArrayRef({9, 13, 3}));
  for (int64_t y = 0; y < 9; ++y) {
    for (int64_t x = 0; x < 13; ++x) {
      const auto red = (37 * x + 11 * y) % 256;
      CHECK(rgb[y][x][0].item<int64_t>() == red);
      CHECK(rgb[y][x][1].item<int64_t>() == 255 - 5 * x);
      CHECK(rgb[y][x][2].item<int64_t>() == 9 * y);
      CHECK(grey[y][x][2].item<int64_t>() == red);
    }
  }
  CHECK(at::equal(alpha, rgb));
}

TEST_CASE("an encoded image is an 8-bit RGB PNG of its size and decodes to the same pixels") {
  for (const auto& [height, width] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 5}, {64, 64}, {224, 300}}) {
    const auto image = random_image(height, width);
    const auto bytes = encode_png(image);
    const std::vector<std::uint8_t> signature = {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a};
    REQUIRE(bytes.size() > 33);
    CHECK(std::equal(signature.begin(), signature.end(), bytes.begin()));
    CHECK(std::string(bytes.begin() + 12, bytes.begin() + 16) == "IHDR");
    auto word = [&](std::size_t at) {
      return bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
    };
    CHECK(word(16) == width);
    CHECK(word(20) == height);
    CHECK(bytes[24] == 8);  // bits per channel
    CHECK(bytes[25] == 2);  // RGB
    CHECK(at::equal(decode_png(bytes, "test"), image));
  }
}

TEST_CASE("views with strides encode as what they show") {
  const auto image = random_image(20, 30);
  CHECK(at::equal(decode_png(encode_png(image.transpose(0, 1)), "test"),
                  image.transpose(0, 1).contiguous()));
  CHECK(at::equal(decode_png(encode_png(image.flip(1)), "test"), image.flip(1)));
}

TEST_CASE("a data URI is the PNG file in base64") {
  for (int64_t width = 1; width <= 4; ++width) {  // every padding occurs
    const auto image = random_image(3, width);
    const auto uri = png_data_uri(image);
    const std::string head = "data:image/png;base64,";
    REQUIRE(uri.substr(0, head.size()) == head);
    CHECK((uri.size() - head.size()) % 4 == 0);
    CHECK(from_base64(uri.substr(head.size())) == encode_png(image));
  }
}

TEST_CASE("tensors that are not images are refused") {
  for (const auto& bad : {at::zeros({4, 4}, at::kByte), at::zeros({3, 4, 4}, at::kByte),
                          at::zeros({4, 4, 3}), at::zeros({0, 4, 3}, at::kByte)})
    CHECK(category_of([&] { encode_png(bad); }) == ErrorCategory::invalid_argument);
}

TEST_CASE("damaged PNG files are refused") {
  const auto whole = fixture("rgb.png");
  CHECK(category_of([&] { decode_png({}, "x"); }) == ErrorCategory::bad_file);
  CHECK(category_of([&] {
          decode_png({1, 2, 3, 4, 5, 6, 7, 8, 9}, "x");
        }) == ErrorCategory::bad_file);
  auto cut = whole;
  cut.resize(60);
  CHECK(category_of([&] { decode_png(cut, "x"); }) == ErrorCategory::bad_file);
  auto flipped = whole;
  flipped[80] ^= 0x10;  // inside IDAT: its checksum no longer holds
  CHECK(category_of([&] { decode_png(flipped, "x"); }) == ErrorCategory::bad_file);
}

TEST_CASE("nearest upscaling repeats pixels") {
  const auto image = random_image(3, 2);
  const auto large = upscale_nearest(image, 4);
  REQUIRE(large.sizes() == at::IntArrayRef({12, 8, 3}));
  for (int64_t y = 0; y < 12; ++y)
    for (int64_t x = 0; x < 8; ++x) CHECK(at::equal(large[y][x], image[y / 4][x / 4]));
  CHECK(category_of([&] { upscale_nearest(image, 0); }) == ErrorCategory::invalid_argument);
}

TEST_CASE("a path point at (x, y) lies at the centre of that pixel") {
  const auto figure = draw(panel_with(at::tensor({0.0, 0.0, 63.0, 31.0}).view({2, 2})));
  CHECK(markup_problem(figure.markup) == "");
  CHECK(path_numbers(figure) == std::vector<double>{5, 5, 635, 315});  // 10 CSS pixels a pixel
}

TEST_CASE("layers of many paths start each path anew, and non-finite points break a path") {
  const auto two = draw(panel_with(at::zeros({2, 3, 2}))).markup;
  const auto data = attribute_values(two, "path", "d").at(0);
  CHECK(std::count(data.begin(), data.end(), 'M') == 2);
  auto broken = at::zeros({5, 2});
  broken[2][1] = std::numeric_limits<float>::quiet_NaN();
  const auto pieces = attribute_values(draw(panel_with(broken)).markup, "path", "d").at(0);
  CHECK(std::count(pieces.begin(), pieces.end(), 'M') == 2);
  CHECK(pieces.find("nan") == std::string::npos);
}

TEST_CASE("layers of a wrong shape are refused by name") {
  try {
    draw(panel_with(at::zeros({4, 3})));
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("layer 'path' has shape [4, 3]") != std::string::npos);
  }
  CHECK(category_of([] { draw(panel_with(Tensor())); }) == ErrorCategory::invalid_argument);
}

TEST_CASE("an image panel embeds its image, title and legend safely") {
  auto panel = panel_with(at::zeros({3, 2}));
  panel.title = "<frame>";
  panel.paths[0].name = "a & b";
  panel.circles = {{"goal", at::full({1, 2}, 10.0), 3, Ink::goal}};
  const auto markup = draw(panel).markup;
  CHECK(markup_problem(markup) == "");
  CHECK(markup.find(">&lt;frame&gt;<") != std::string::npos);
  CHECK(markup.find(">a &amp; b<") != std::string::npos);
  CHECK(attribute_values(markup, "image", "href").at(0) == png_data_uri(panel.image));
  CHECK(attribute_values(markup, "circle", "cx").at(0) == "105");
}

}  // namespace foresight::viz::image_test
