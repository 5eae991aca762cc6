// SPDX-License-Identifier: Apache-2.0
// The instructions of Python's pickle format that state dicts use; Lib/pickletools.py of Python
// describes each.
#pragma once

namespace foresight::io {

/// An instruction's byte.
enum Instruction : unsigned char {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDuplicate = '2',
  kNone = 'N',
  kTrue = 0x88,
  kFalse = 0x89,
  kInt32 = 'J',
  kUInt8 = 'K',
  kUInt16 = 'M',
  kLong = 0x8a,
  kWideLong = 0x8b,
  kReal = 'G',
  kText = 'X',
  kShortText = 0x8c,
  kWideText = 0x8d,
  kOldText = 'T',
  kShortOldText = 'U',
  kBytes = 'B',
  kShortBytes = 'C',
  kWideBytes = 0x8e,
  kEmptyTuple = ')',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kEmptyList = ']',
  kList = 'l',
  kAppend = 'a',
  kAppends = 'e',
  kEmptyDictionary = '}',
  kDictionary = 'd',
  kSetItem = 's',
  kSetItems = 'u',
  kPut = 'q',
  kWidePut = 'r',
  kMemoize = 0x94,
  kGet = 'h',
  kWideGet = 'j',
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kBuild = 'b',
  kPersistentId = 'Q',
  kProtocol = 0x80,
  kFrame = 0x95,
};

}  // namespace foresight::io
