// SPDX-License-Identifier: Apache-2.0
// Damaged, hostile and foreign files are refused with a message that says what is wrong, and
// nothing in them is executed or allocated.
#include <filesystem>
#include <string>

#include "catch.hpp"
#include "child_process.hpp"
#include "error_message.hpp"
#include "foresight/io/torch_checkpoint.hpp"
#include "raw_file.hpp"
#include "stored_zip.hpp"
#include "temporary_folder.hpp"

namespace foresight::torch_checkpoint_malformed_test {

using foresight::io::TorchCheckpoint;
using namespace std::string_literals;

namespace {

const std::filesystem::path kFolder = FORESIGHT_TEST_DATA "/torch";

const TemporaryFolder& folder() {
  static const TemporaryFolder shared;
  return shared;
}

/// Whether a file of these bytes is refused as `category` with all `words` in the message.
template <class... Words>
bool refused(const std::string& bytes, ErrorCategory category, const Words&... words) {
  const auto path = folder() / "damaged.pt";
  write_bytes(path, bytes);
  const auto open = [&] { TorchCheckpoint::open(path); };
  INFO(error_message(category, open));
  CHECK(fails_with(category, open, "damaged.pt", words...));
  return fails_with(category, open, words...);
}

template <class... Words>
bool bad(const std::string& bytes, const Words&... words) {
  return refused(bytes, ErrorCategory::bad_file, words...);
}

template <class... Words>
bool unsupported(const std::string& bytes, const Words&... words) {
  return refused(bytes, ErrorCategory::unsupported, words...);
}

/// A pickle of protocol 2 with this body.
std::string pickle(const std::string& body) { return "\x80\x02"s + body + "."; }

std::string text(const std::string& value) { return "X" + little_endian(value.size(), 4) + value; }
std::string integer(std::int64_t value) {
  return "\x8a\x08"s + little_endian(static_cast<std::uint64_t>(value), 8);
}
std::string tuple(const std::string& items) { return "(" + items + "t"; }

/// A reference to storage "0" of `count` elements.
std::string storage(const std::string& type, std::int64_t count, const std::string& key = "0") {
  return tuple(text("storage") + "c" + type + "\n" + text(key) + text("cpu") + integer(count)) +
         "Q";
}
std::string tensor(const std::string& from, std::int64_t offset, const std::string& sizes,
                   const std::string& strides, const std::string& rest = "") {
  return "ctorch._utils\n_rebuild_tensor_v2\n" +
         tuple(from + integer(offset) + tuple(sizes) + tuple(strides) + "\x89}" + rest) + "R";
}
/// {"w": value}
std::string dictionary(const std::string& value) { return pickle("}" + text("w") + value + "s"); }

const auto kFloats = [](std::int64_t count) { return storage("torch\nFloatStorage", count); };

std::string replaced(std::string bytes, const std::string& what, const std::string& by) {
  const auto at = bytes.find(what);
  REQUIRE(at != std::string::npos);
  return bytes.replace(at, what.size(), by);
}

}  // namespace

TEST_CASE("the hand-made checkpoint of these tests is a good one") {
  write_bytes(
      folder() / "good.pt",
      torch_file(
          dictionary(tensor(kFloats(6), 1, integer(2) + integer(2), integer(2) + integer(1))), 24));
  const auto file = TorchCheckpoint::open(folder() / "good.pt");
  CHECK(file.at("w").sizes() == at::IntArrayRef{2, 2});
}

TEST_CASE("a checkpoint cut off anywhere is refused") {
  for (const char* name : {"state_dict_protocol_2.pt", "state_dict_protocol_5.pt"}) {
    const auto whole = read_bytes(kFolder / name);
    const auto path = folder() / "cut.pt";
    for (std::size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 7) {
      INFO(name << " cut to " << size << " bytes");
      write_bytes(path, whole.substr(0, size));
      CHECK(fails_with(
          ErrorCategory::bad_file, [&] { TorchCheckpoint::open(path); }, "cut.pt"));
    }
  }
}

TEST_CASE("a name that could run code is refused, and nothing runs") {
  const auto command = kFolder / "command.pt";
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { TorchCheckpoint::open(command); }, "'posix.system'",
      "nothing was executed"));
  CHECK_FALSE(std::filesystem::exists("pwned"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [] { TorchCheckpoint::open(kFolder / "whole_module.pt"); },
      "'torch.nn.modules.container.Sequential'", "state_dict"));
  for (const auto* global :
       {"os\nsystem", "builtins\neval", "torch\nload", "torch._utils\n_rebuild_qtensor",
        "torch.storage\n_load_from_bytes", "collections\ndefaultdict"}) {
    auto name = std::string(global);
    name.replace(name.find('\n'), 1, ".");
    CHECK(unsupported(torch_file(pickle("c"s + global + "\n" + tuple(text("x")) + "R")), name));
  }
  // By the newer instruction, whose names come from the stack.
  CHECK(unsupported(torch_file(pickle(text("os") + text("system") + "\x93")), "'os.system'"));
  // Objects of classes, extension codes, and old persistent names have no instruction here.
  for (const auto& body :
       {"c__main__\nA\n)\x81"s, "\x82\x01"s, "P0\n"s, "(i__main__\nA\n"s, "\x8f"s})
    CHECK(unsupported(torch_file(pickle(body)), body[0] == 'c' ? "__main__.A" : "instruction"));
}

TEST_CASE("other formats are named") {
  CHECK(fails_with(
      ErrorCategory::unsupported, [] { TorchCheckpoint::open(kFolder / "legacy.pt"); },
      "before 1.6", "torch.save(torch.load("));
  CHECK(fails_with(
      ErrorCategory::unsupported, [] { TorchCheckpoint::open(kFolder / "script.pt"); },
      "TorchScript"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [] { TorchCheckpoint::open(kFolder / "compressed.pt"); },
      "entry 'state_dict_protocol_2/", "compressed (method 8)"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [] { TorchCheckpoint::open(kFolder / "expected.safetensors"); },
      "safetensors"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [] { TorchCheckpoint::open(kFolder / "conjugated.pt"); },
      "resolve_conj"));
  CHECK(bad("", "empty"));
  CHECK(bad("nonsense", "not a zip archive"));
  CHECK(bad("\x1f\x8b rest", "gzip"));
  CHECK(unsupported("\x80\x04N.", "bare pickle"));
  CHECK(unsupported(std::string(257, '\0') + "ustar", "tar archive"));
  CHECK(bad(stored_zip({{"x.npy", "abc"}}), "without data.pkl", "x.npy"));
  CHECK(bad(stored_zip({{"a/data.pkl", "x"}, {"b/data.pkl", "x"}}), "both"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [] { TorchCheckpoint::open(folder().path()); }, "is a folder"));
  CHECK(fails_with(
      ErrorCategory::not_found, [] { TorchCheckpoint::open(folder() / "absent.pt"); },
      "absent.pt"));
}

TEST_CASE("a checkpoint of a big-endian machine is refused by the name of its byte order") {
  const auto of_order = [](const std::string& order) {
    return stored_zip({{"a/data.pkl", pickle("}")}, {"a/byteorder", order}});
  };
  CHECK(unsupported(of_order("big"), "byte order 'big'", "expected little"));
  for (const auto* nonsense : {"", "middle", "little\n"})
    CHECK(bad(of_order(nonsense), "byte order '"s + nonsense + "'"));
  // Without the record numbers are little-endian: torch before 2.1 wrote no others.
  for (const auto& bytes : {of_order("little"), stored_zip({{"a/data.pkl", pickle("}")}})}) {
    write_bytes(folder() / "order.pt", bytes);
    CHECK_NOTHROW(TorchCheckpoint::open(folder() / "order.pt"));
  }
}

TEST_CASE("an archive that contradicts itself is refused") {
  const auto good = torch_file(pickle("}"), 8);
  const auto end = good.size() - 22;
  const auto with = [&](std::size_t at, std::uint64_t value, int bytes) {
    return std::string(good).replace(at, static_cast<std::size_t>(bytes),
                                     little_endian(value, bytes));
  };
  const auto directory = good.find("PK\1\2");
  CHECK(bad(with(end + 10, 4, 2), "4 entries in a directory of"));
  CHECK(bad(with(directory, 0, 4), "no entry at byte"));
  CHECK(bad(with(end + 10, 60000, 2), "60000 entries"));
  CHECK(bad(with(end + 10, 2, 2), "more than its 2 entries"));
  CHECK(bad(with(end + 16, good.size(), 4), "outside the file"));
  CHECK(bad(with(end + 12, 0xfffffff0, 4), "outside the file"));
  CHECK(bad(with(directory + 42, 7, 4), "no header at byte 7"));
  CHECK(bad(with(directory + 42, 0xfffffffe, 4), "no header at byte"));
  CHECK(bad(with(directory + 20, 5, 4), "stored in 5 bytes"));
  CHECK(bad(with(directory + 20, 0xffffffff, 4), "zip64"));
  CHECK(bad(with(directory + 28, 60000, 2), "cut off"));
  CHECK(bad(with(directory + 46, 'x', 1), "another name"));
  CHECK(unsupported(with(directory + 8, 1, 2), "encrypted"));
  CHECK(unsupported(with(end + 4, 1, 2), "several volumes"));
  CHECK(bad(stored_zip({{"a/data.pkl", pickle("}")}, {"a/data.pkl", pickle("}")}}), "twice"));
  // An entry that claims the bytes of the next one as its own.
  const auto larger = little_endian(pickle("}").size() + 50, 4);
  CHECK(bad(std::string(good).replace(directory + 20, 8, larger + larger), "overlap"));
  const auto beyond = little_endian(100000, 4);
  CHECK(bad(std::string(good).replace(directory + 20, 8, beyond + beyond), "outside the file"));
}

TEST_CASE("a pickle that contradicts itself is refused") {
  CHECK(bad(torch_file(""), "protocol 2"));
  CHECK(bad(torch_file("(lp0\n."), "protocol 2"));
  CHECK(unsupported(torch_file("\x80\x06."), "protocol 6"));
  CHECK(bad(torch_file("\x80\x02"), "cut off"));
  CHECK(bad(torch_file(pickle("")), "0 values"));
  CHECK(bad(torch_file(pickle("NN")), "2 values"));
  CHECK(bad(torch_file(pickle("N") + "N"), "after its end"));
  CHECK(bad(torch_file(pickle("t")), "not opened"));
  CHECK(bad(torch_file(pickle("0")), "where there is none"));
  CHECK(bad(torch_file(pickle("}NN(s")), "where there is none"));
  CHECK(bad(torch_file(pickle("h\x05")), "value 5"));
  CHECK(bad(torch_file(pickle("X\xff\xff\xff\xff")), "cut off"));
  CHECK(bad(torch_file(pickle("\x8e"s + std::string(8, '\xff'))), "cut off"));
  CHECK(bad(torch_file(pickle("\x95"s + std::string(8, '\x7f') + "N")), "frame"));
  CHECK(bad(torch_file(pickle("cos")), "cut off"));
  CHECK(bad(torch_file(pickle("}(NNNu")), "key without a value"));
  CHECK(bad(torch_file(pickle("NNNs")), "expected a dictionary"));
  CHECK(bad(torch_file(pickle(")Na")), "tuple"));
  CHECK(bad(torch_file(pickle("N)R")), "expected a function"));
  CHECK(bad(torch_file(pickle("ctorch\nfloat32\n)R")), "calls torch.float32"));
  CHECK(bad(torch_file(pickle("N}b")), "OrderedDict"));
  CHECK(unsupported(torch_file(pickle("\x8a\x09"s + std::string(9, '\1'))), "9 bytes"));
  CHECK(unsupported(torch_file(pickle("\x8b\xff\xff\xff\x7f")), "2147483647 bytes"));
  CHECK(unsupported(torch_file(pickle("})Ns")), "as a key"));
  CHECK(bad(torch_file(pickle("}" + text("a") + "Ns" + text("a") + "K\1s" + text("a") + "K\1s")),
            "two values are called 'a'"));
}

TEST_CASE("a storage or tensor outside its data is refused") {
  const auto two = integer(2), one = integer(1), huge = integer(INT64_MAX);
  const auto file = [](const std::string& value) { return torch_file(dictionary(value), 24); };
  CHECK(bad(file(tensor(kFloats(6), 0, integer(7), one)), "ends at element 7", "storage of 6"));
  CHECK(bad(file(tensor(kFloats(6), 5, two, one)), "outside its storage"));
  CHECK(bad(file(tensor(kFloats(6), 0, two + two, integer(6) + one)), "outside its storage"));
  CHECK(bad(file(tensor(kFloats(6), 7, integer(0), one)), "outside its storage"));
  CHECK(bad(file(tensor(kFloats(6), -1, two, one)), "makes no sense"));
  CHECK(bad(file(tensor(kFloats(6), 0, integer(-2), one)), "negative"));
  CHECK(bad(file(tensor(kFloats(6), 0, two, integer(-1))), "negative"));
  CHECK(bad(file(tensor(kFloats(6), 0, two + two, one)), "makes no sense"));
  CHECK(bad(file(tensor(kFloats(6), 0, huge + huge, one + one)), "overflows"));
  CHECK(bad(file(tensor(kFloats(6), 0, two, huge)), "overflows"));
  CHECK(bad(file(tensor(kFloats(6), INT64_MAX, one, one)), "overflows"));
  CHECK(bad(file(tensor(kFloats(6), 0, integer(0) + huge + huge, one + one + one)), "overflows"));
  CHECK(bad(file(tensor(kFloats(6), 0, integer(int64_t{1} << 40), integer(0))), "contiguous()"));
  CHECK(bad(file(tensor(kFloats(7), 0, one, one)), "has 24 bytes", "7 elements"));
  CHECK(bad(file(tensor(kFloats(5), 0, one, one)), "has 24 bytes", "5 elements"));
  CHECK(bad(file(tensor(kFloats(INT64_MAX), 0, one, one)), "a storage of"));
  CHECK(bad(file(tensor(kFloats(-1), 0, one, one)), "a storage of -1"));
  CHECK(bad(file(tensor(storage("torch\nFloatStorage", 6, "1"), 0, one, one)), "'data/1'",
            "not in the archive"));
  CHECK(bad(file(tensor(storage("torch\nfloat32", 6), 0, one, one)), "torch.float32"));
  CHECK(bad(file(tensor("N", 0, one, one)), "found None", "storage"));
  CHECK(bad(file(tensor(kFloats(6), 0, text("x"), one)), "found a text"));
  std::string axes;
  for (int i = 0; i < 65; ++i) axes += one;
  CHECK(bad(file(tensor(kFloats(6), 0, axes, axes)), "65 axes"));
}

TEST_CASE("a bool tensor with other bytes than 0 and 1 is refused when it is read") {
  auto bytes = torch_file(
      dictionary(tensor(storage("torch\nBoolStorage", 3), 1, integer(2), integer(1))), 3);
  bytes = replaced(bytes, "a/data/0"s + std::string(3, '\0'), "a/data/0"s + "\2\0\1"s);
  write_bytes(folder() / "bool.pt", bytes);
  CHECK(TorchCheckpoint::open(folder() / "bool.pt").at("w").sum().item<int64_t>() == 1);
  bytes = replaced(bytes, "a/data/0"s + "\2\0\1"s, "a/data/0"s + "\1\0\2"s);
  write_bytes(folder() / "bool.pt", bytes);
  const auto file = TorchCheckpoint::open(folder() / "bool.pt");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { file.at("w"); }, "bool tensor 'w'"));
}

TEST_CASE("deep, circular and exploding nesting ends in an error") {
  CHECK(bad(torch_file(pickle(std::string(100'000, ']') + std::string(99'999, 'a'))),
            "nested deeper"));
  CHECK(bad(torch_file(pickle("]q\1h\1a")), "nested deeper"));  // a list inside itself
  CHECK(bad(torch_file(pickle("}q\1" + text("a") + "h\1s")), "nested deeper"));
  std::string body = "K\1q" + std::string(1, '\0');  // each level holds the one before it ten times
  for (int level = 1; level < 20; ++level) {
    const auto below = "h" + std::string(1, static_cast<char>(level - 1));
    body += "(";
    for (int i = 0; i < 10; ++i) body += below;
    body += "lq" + std::string(1, static_cast<char>(level));
  }
  CHECK(bad(torch_file("\x80\x02(" + body + "t."), "values are read"));
  // A long name that every level repeats.
  body = "K\1q" + std::string(1, '\0') + text(std::string(100'000, 'k')) + "q\1";
  for (int level = 2; level < 20; ++level) {
    const auto below = "h" + std::string(1, static_cast<char>(level == 2 ? 0 : level - 1));
    body += "}(h\1" + below + "K\1" + below + "K\2" + below + "uq" +
            std::string(1, static_cast<char>(level));
  }
  CHECK(bad(torch_file("\x80\x02(" + body + "t."), "longer than a state dict"));
  CHECK(bad(torch_file(pickle(std::string(1'100'000, 'N'))), "a million values"));
  CHECK(bad(torch_file(pickle(std::string(1'100'000, '('))), "too many open groups"));
}

}  // namespace foresight::torch_checkpoint_malformed_test
