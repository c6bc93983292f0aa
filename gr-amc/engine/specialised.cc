// SPDX-License-Identifier: GPL-3.0-or-later
#include "specialised.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "assembler.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#define AMC_HAS_PAGES 1
#endif

namespace amc {

std::unique_ptr<const MachineCode> MachineCode::Of(const std::vector<uint8_t>& code) {
#if AMC_HAS_PAGES
    if (code.empty()) return nullptr;
    void* room = mmap(nullptr, code.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return nullptr;
    std::unique_ptr<const MachineCode> made(new MachineCode(room, code.size()));
    std::memcpy(room, code.data(), code.size());
    if (mprotect(room, code.size(), PROT_READ | PROT_EXEC) != 0) return nullptr;
    return made;
#else
    (void)code;
    return nullptr;
#endif
}

MachineCode::~MachineCode() {
#if AMC_HAS_PAGES
    munmap(room_, size_);
#endif
}

namespace {

constexpr int kLargestByte = 255;
// Of a layer with more the code, some 25 bytes for each, would not stay in the second cache.
constexpr size_t kMostTaps = size_t{1} << 17;
// Of 32 KiB that a first cache of instructions has.
constexpr size_t kPartSize = size_t{20} << 10;

// Taps with the same weight, or its negative: their codes are added in bytes, or subtracted, before they are multiplied. To
// stay a byte without a sign the sum begins at "start".
struct Group {
    int weight;
    std::vector<Tap> subtracted;
    std::vector<Tap> added;
    int start;

    // The farthest that its product goes from zero, of codes up to "largest".
    int Reach(int largest) const { return weight * largest * static_cast<int>(subtracted.size() + added.size()); }
};

// With no more than "most" taps each.
std::vector<Group> GroupsOf(const std::vector<Tap>& taps, size_t most, int largest) {
    std::map<int, std::vector<Tap>> by_size;
    for (const Tap& tap : taps) by_size[std::abs(tap.weight)].push_back(tap);
    std::vector<Group> groups;
    for (const auto& [size, same] : by_size) {
        for (size_t begin = 0; begin < same.size(); begin += most) {
            Group group{size, {}, {}, 0};
            for (size_t i = begin; i < std::min(begin + most, same.size()); ++i) {
                (same[i].weight < 0 ? group.subtracted : group.added).push_back(same[i]);
            }
            // A load is enough for the first one where none is subtracted.
            if (group.added.empty()) {
                group.weight = -size;
                std::swap(group.subtracted, group.added);
            }
            group.start = static_cast<int>(group.subtracted.size()) * largest;
            groups.push_back(std::move(group));
        }
    }
    return groups;
}

// By how many bits weights may be moved up with which products of two groups still fit 16 bits; less than none where they
// do not as they are.
int RoomOf(const std::vector<Group>& groups, int largest) {
    int room = 7;
    const auto fits = [&room](int64_t number, int least, int most) {
        return number * (1 << room) >= least && number * (1 << room) <= most;
    };
    for (size_t i = 0; i < groups.size(); i += 2) {
        int64_t least = 0, most = 0;
        for (size_t j = i; j < std::min(i + 2, groups.size()); ++j) {
            const int reach = groups[j].Reach(largest);
            (reach < 0 ? least : most) += reach;
            while (room >= 0 && !fits(groups[j].weight, -128, 127)) --room;
        }
        constexpr int kLeast = std::numeric_limits<int16_t>::min(), kMost = std::numeric_limits<int16_t>::max();
        while (room >= 0 && (!fits(least, kLeast, kMost) || !fits(most, kLeast, kMost))) --room;
    }
    return room;
}

// Nothing where some weights do not fit bytes, or some products of two of them 16 bits.
std::optional<std::vector<Group>> FittingGroups(const std::vector<Tap>& taps, int largest) {
    for (const size_t most : {static_cast<size_t>(kLargestByte / largest), size_t{1}}) {
        auto groups = GroupsOf(taps, most, largest);
        if (RoomOf(groups, largest) >= 0) return groups;
    }
    return std::nullopt;
}

// Vector registers: sums of both halves of every block of 16 codes, of each sum of a pool; two groups, their products; the
// constants, of which the first one changes where there are more than registers.
constexpr int kLow = 0, kHigh = 1, kPerPlace = 2, kFirst = 4, kSecond = 5, kLowProduct = 6, kHighProduct = 7, kConstants = 8;

uint32_t FourTimes(int byte) { return static_cast<uint32_t>(byte & 0xff) * 0x01010101u; }

uint32_t Twice(int word) { return static_cast<uint32_t>(word & 0xffff) * 0x00010001u; }

// What the function is given: where codes begin, where those that it makes do, how many of these there are in a row, how far
// one output's are from the last one's, and how far odd ones are from even ones. The two pointers and the end of a row move.
constexpr Register kCodes = Register::kFirst, kMade = Register::kSecond, kPlaces = Register::kThird, kStep = Register::kFourth,
                   kOdd = Register::kFifth, kFrom = Register::kScratch0, kEven = Register::kScratch1,
                   kOddEven = Register::kScratch2, kEnd = Register::kScratch3;
using Function = void (*)(const uint8_t* codes, uint8_t* made, size_t places, size_t step, size_t odd);

// Half way between the first offset and the last one, in whole vectors.
int32_t MiddleOf(const std::vector<RowOutput>& outputs, size_t pool, int32_t vector_size) {
    int32_t least = std::numeric_limits<int32_t>::max(), most = std::numeric_limits<int32_t>::min();
    for (const RowOutput& output : outputs) {
        for (const Tap& tap : output.taps) {
            least = std::min(least, tap.offsets[0]);
            most = std::max(most, tap.offsets[pool - 1]);
        }
    }
    return least > most ? 0 : (least + (most - least) / 2) / vector_size * vector_size;
}

// Writes functions that make row after row.
class Writer {
public:
    // Taps begin "middle" bytes behind the codes, or before, so that as many offsets as can be are short ones.
    Writer(size_t vector_size, const RowWalk& walk, int32_t middle)
        : assembler_(vector_size), vector_size_(vector_size), walk_(walk), middle_(middle) {}

    size_t Place() const { return assembler_.Place(); }

    void Begin() {
        assembler_.Enter();
        assembler_.Add(kCodes, middle_);
    }

    void End() { assembler_.Leave(); }

    void Row(const std::vector<Group>& groups, const PackedRounding& rounding) {
        int start = rounding.start;
        for (const Group& group : groups) start -= group.start * group.weight * (1 << rounding.shift);
        LoadConstants(groups, rounding, start);
        assembler_.Move(kFrom, kCodes);
        assembler_.Move(kEven, kMade);
        assembler_.Move(kOddEven, kMade);
        assembler_.Add(kOddEven, kOdd);
        assembler_.Move(kEnd, kMade);
        assembler_.Add(kEnd, kPlaces);
        const size_t loop = assembler_.Place();
        for (size_t i = 0; i < groups.size(); i += 2) {
            const Group* second = i + 1 < groups.size() ? &groups[i + 1] : nullptr;
            for (size_t place = 0; place < walk_.pool; ++place) {
                AddProducts(groups[i], second, place, rounding.shift, i == 0 ? std::optional<int>(start) : std::nullopt);
            }
        }
        for (const int sum : {kLow, kHigh}) {
            const int same = Constant(Twice(start));
            if (groups.empty()) {
                assembler_.Vector(kMaximumWords, sum, same, same);
            } else if (walk_.pool == 2) {
                assembler_.Vector(kMaximumWords, sum, sum, kPerPlace + sum);
            }
        }
        StoreCodes(rounding);
        const auto made = static_cast<int32_t>(vector_size_ * walk_.made / (walk_.splits ? 2 : 1));
        assembler_.Add(kFrom, static_cast<int32_t>(vector_size_ * walk_.read));
        assembler_.Add(kEven, made);
        if (walk_.splits) assembler_.Add(kOddEven, made);
        assembler_.JumpIfBelow(kEven, kEnd, loop);
        SkipRow();
    }

    void SkipRow() { assembler_.Add(kMade, kStep); }

    std::vector<uint8_t> Finish() { return assembler_.Finish(); }

private:
    static uint32_t Weights(const Group& first, const Group* second, int shift) {
        const int lower = first.weight * (1 << shift) & 0xff, upper = second ? second->weight * (1 << shift) & 0xff : 0;
        return Twice(lower | upper << 8);
    }

    uint32_t Mask(const PackedRounding& rounding) const {
        const int largest = kLargestByte >> rounding.fraction;
        return walk_.splits ? Twice(largest) : FourTimes(largest);
    }

    // Of a row, into registers as long as there are any.
    void LoadConstants(const std::vector<Group>& groups, const PackedRounding& rounding, int start) {
        std::vector<uint32_t> numbers = {Twice(start), Twice(rounding.factor), Mask(rounding)};
        for (size_t i = 0; i < groups.size(); i += 2) {
            numbers.push_back(Weights(groups[i], i + 1 < groups.size() ? &groups[i + 1] : nullptr, rounding.shift));
        }
        for (const Group& group : groups) {
            if (group.start > 0) numbers.push_back(FourTimes(group.start));
        }
        registers_.clear();
        int next = kConstants + 1;
        const int behind = vector_size_ == 64 ? 32 : 16;
        for (const uint32_t number : numbers) {
            if (next == behind) return;
            if (registers_.emplace(number, next).second) assembler_.Broadcast(next++, number);
        }
    }

    int Constant(uint32_t number) {
        const auto found = registers_.find(number);
        if (found != registers_.end()) return found->second;
        assembler_.Broadcast(kConstants, number);
        return kConstants;
    }

    void AddCodes(const Group& group, size_t place, int sum) {
        bool first = true;
        for (const Tap& tap : group.subtracted) {
            const int before = first ? Constant(FourTimes(group.start)) : sum;
            assembler_.VectorMemory(kSubtractBytes, sum, before, kFrom, tap.offsets[place] - middle_);
            first = false;
        }
        for (const Tap& tap : group.added) {
            assembler_.VectorMemory(first ? kLoad : kAddBytes, sum, first ? 0 : sum, kFrom, tap.offsets[place] - middle_);
            first = false;
        }
    }

    // To the sums of one of a pool; or to "start".
    void AddProducts(const Group& first, const Group* second, size_t place, int shift, std::optional<int> start) {
        AddCodes(first, place, kFirst);
        if (second) AddCodes(*second, place, kSecond);
        const int other = second ? kSecond : kFirst;
        assembler_.Vector(kInterleaveLower, kLowProduct, kFirst, other);
        assembler_.Vector(kInterleaveUpper, kHighProduct, kFirst, other);
        const int weights = Constant(Weights(first, second, shift));
        assembler_.Vector(kMultiplyAddBytes, kLowProduct, kLowProduct, weights);
        assembler_.Vector(kMultiplyAddBytes, kHighProduct, kHighProduct, weights);
        const int sums = kPerPlace * static_cast<int>(place);
        assembler_.Vector(kAddWords, sums + kLow, start ? Constant(Twice(*start)) : sums + kLow, kLowProduct);
        assembler_.Vector(kAddWords, sums + kHigh, start ? Constant(Twice(*start)) : sums + kHigh, kHighProduct);
    }

    void StoreCodes(const PackedRounding& rounding) {
        for (const int sum : {kLow, kHigh}) assembler_.Vector(kMultiplyHighWords, sum, sum, Constant(Twice(rounding.factor)));
        assembler_.Vector(kPackUnsigned, kLow, kLow, kHigh);
        if (walk_.splits) assembler_.ShiftRightWords(kHigh, kLow, 8 + rounding.fraction);
        assembler_.ShiftRightWords(kLow, kLow, rounding.fraction);
        assembler_.Vector(kAnd, kLow, kLow, Constant(Mask(rounding)));
        if (walk_.splits) {
            assembler_.StoreLowerBytes(kLow, kHigh, kEven, kOddEven);
        } else {
            assembler_.VectorMemory(kStore, kLow, 0, kEven, 0);
        }
    }

    Assembler assembler_;
    size_t vector_size_;
    RowWalk walk_;
    int32_t middle_;
    std::map<uint32_t, int> registers_;  // of numbers of this row
};

}  // namespace

std::unique_ptr<const SpecialisedRows> SpecialisedRows::Of(std::vector<RowOutput>& outputs, const std::vector<SumRange>& reached,
                                                           int largest, const RowWalk& walk) {
    const size_t vector_size = MachineVectorSize();
    size_t taps = 0;
    for (const RowOutput& output : outputs) taps += output.taps.size();
    if (vector_size == 0 || taps * walk.pool > kMostTaps) return nullptr;
    Writer writer(vector_size, walk, MiddleOf(outputs, walk.pool, static_cast<int32_t>(vector_size)));
    std::vector<bool> written;
    std::vector<Part> parts;
    for (size_t o = 0; o < outputs.size(); ++o) {
        if (parts.empty() || writer.Place() - parts.back().place > kPartSize) {
            if (!parts.empty()) writer.End();
            parts.push_back({writer.Place(), o});
            writer.Begin();
        }
        const auto groups = FittingGroups(outputs[o].taps, largest);
        const int room = groups ? RoomOf(*groups, largest) : 0;
        const auto rounding = FindPackedRounding(outputs[o].limits16, reached[o].least, reached[o].most, room);
        written.push_back(groups && rounding);
        if (written.back()) {
            writer.Row(*groups, *rounding);
        } else {
            writer.SkipRow();
        }
    }
    const auto count = std::count(written.begin(), written.end(), true);
    if (count == 0) return nullptr;
    writer.End();
    auto code = MachineCode::Of(writer.Finish());
    if (!code) return nullptr;
    for (size_t o = 0; o < outputs.size(); ++o) outputs[o].specialised = written[o];
    const bool complete = static_cast<size_t>(count) == outputs.size();
    return std::unique_ptr<const SpecialisedRows>(new SpecialisedRows(std::move(code), std::move(parts), walk.made, complete));
}

void SpecialisedRows::Make(size_t part, const uint8_t* codes, size_t length, const MadeRows& made) const {
    const size_t places = made.odd == 0 ? length * step_ : (length + 1) / 2;
    const auto function = reinterpret_cast<Function>(reinterpret_cast<uintptr_t>(code_->Begin()) + parts_[part].place);
    function(codes, made.codes + parts_[part].output * made.step, places, made.step, made.odd);
}

}  // namespace amc
