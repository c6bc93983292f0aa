// SPDX-License-Identifier: GPL-3.0-or-later
#include "assembler.h"

#include <utility>

namespace amc {
namespace {

constexpr VectorInstruction kBroadcast{1, 2, 0x58}, kShiftWords{1, 1, 0x71}, kLowerBytes{2, 2, 0x30},
    kPermuteQuarters{1, 3, 0x00}, kExtractHalf{1, 3, 0x39};

// How the last operand of an instruction is given.
enum Mode : unsigned { kNoOffset = 0, kNearOffset = 1, kFarOffset = 2, kInRegister = 3 };
constexpr int kFromHere = 5;  // without an offset: counted from behind the instruction

unsigned ModRm(Mode mode, int reg, int last) {
    return static_cast<unsigned>(mode) << 6 | (static_cast<unsigned>(reg) & 7) << 3 | (static_cast<unsigned>(last) & 7);
}

}  // namespace

void Assembler::Prefix(VectorInstruction instruction, int reg, int other, Operand last, bool quarters) {
    const auto r = static_cast<unsigned>(reg), v = static_cast<unsigned>(other), b = static_cast<unsigned>(last.number);
    // Bits of registers lie there inverted, and what is not used is 1.
    const unsigned r3 = ~r >> 3 & 1, r4 = ~r >> 4 & 1, b3 = ~b >> 3 & 1, b4 = last.memory ? 1 : ~b >> 4 & 1;
    const unsigned rest = static_cast<unsigned>(quarters) << 7 | (~v & 15) << 3 | 1 << 2 | instruction.prefix;
    if (wide_) {
        const unsigned registers = r3 << 7 | b4 << 6 | b3 << 5 | r4 << 4 | instruction.map;
        for (const unsigned byte : {0x62u, registers, rest, 2u << 5 | (~v >> 4 & 1) << 3}) Byte(byte);
    } else {
        for (const unsigned byte : {0xc4u, r3 << 7 | 1u << 6 | b3 << 5 | instruction.map, rest}) Byte(byte);
    }
    Byte(instruction.opcode);
}

void Assembler::Memory(int reg, Register base, int32_t offset, int unit) {
    const int step = wide_ ? unit : 1, near = offset / step;
    if (offset == 0) {
        Byte(ModRm(kNoOffset, reg, static_cast<int>(base)));
    } else if (offset % step == 0 && near == static_cast<int8_t>(near)) {
        Byte(ModRm(kNearOffset, reg, static_cast<int>(base)));
        Byte(static_cast<unsigned>(near) & 0xff);
    } else {
        Byte(ModRm(kFarOffset, reg, static_cast<int>(base)));
        Number(static_cast<uint32_t>(offset));
    }
}

void Assembler::Vector(VectorInstruction instruction, int destination, int first, int second) {
    Prefix(instruction, destination, first, {second, false});
    Byte(ModRm(kInRegister, destination, second));
}

void Assembler::VectorMemory(VectorInstruction instruction, int destination, int first, Register base, int32_t offset) {
    Prefix(instruction, destination, first, {static_cast<int>(base), true});
    Memory(destination, base, offset, 64);
}

void Assembler::Broadcast(int destination, uint32_t number) {
    Prefix(kBroadcast, destination, 0, {0, true});
    Byte(ModRm(kNoOffset, destination, kFromHere));
    broadcast_[number].push_back(code_.size());
    Number(0);
}

void Assembler::ShiftRightWords(int destination, int source, int bits) {
    constexpr int kRight = 2;
    Prefix(kShiftWords, 0, destination, {source, false});
    Byte(ModRm(kInRegister, kRight, source));
    Byte(static_cast<unsigned>(bits));
}

void Assembler::StoreLowerBytes(int even, int odd, Register even_base, Register odd_base) {
    if (wide_) {
        for (const auto& [source, base] : {std::pair(even, even_base), std::pair(odd, odd_base)}) {
            Prefix(kLowerBytes, source, 0, {static_cast<int>(base), true});
            Memory(source, base, 0, 32);
        }
        return;
    }
    // Each half of the vector is packed on its own, so that the quarters in the middle have to change places.
    Vector(kPackUnsigned, even, even, odd);
    Prefix(kPermuteQuarters, even, 0, {even, false}, true);
    Byte(ModRm(kInRegister, even, even));
    Byte(0xd8);
    for (const bool upper : {false, true}) {
        const Register base = upper ? odd_base : even_base;
        Prefix(kExtractHalf, even, 0, {static_cast<int>(base), true});
        Memory(even, base, 0, 16);
        Byte(upper);
    }
}

void Assembler::Scalar(unsigned opcode, Register to, Register from) {
    const auto t = static_cast<unsigned>(to), f = static_cast<unsigned>(from);
    Byte(0x48 | (f >> 3) << 2 | t >> 3);
    Byte(opcode);
    Byte(ModRm(kInRegister, static_cast<int>(f), static_cast<int>(t)));
}

void Assembler::Add(Register to, int32_t number) {
    const auto t = static_cast<unsigned>(to);
    Byte(0x48 | t >> 3);
    Byte(0x81);
    Byte(ModRm(kInRegister, 0, static_cast<int>(t)));
    Number(static_cast<uint32_t>(number));
}

void Assembler::JumpIfBelow(Register first, Register second, size_t place) {
    Scalar(0x39, first, second);
    Byte(0x0f);
    Byte(0x82);
    Number(0);
    SetDistance(code_.size() - 4, place);
}

void Assembler::Enter() {
    // What a call by pointer may reach where the system checks that (endbr64).
    for (const unsigned byte : {0xf3u, 0x0fu, 0x1eu, 0xfau}) Byte(byte);
}

void Assembler::Leave() {
    // Code that knows nothing of them is slow while the upper halves of registers are in use (vzeroupper).
    for (const unsigned byte : {0xc5u, 0xf8u, 0x77u, 0xc3u}) Byte(byte);
}

void Assembler::Number(uint32_t number) {
    for (int byte = 0; byte < 4; ++byte) Byte(number >> (8 * byte) & 0xff);
}

void Assembler::SetDistance(size_t at, size_t place) {
    const auto distance = static_cast<uint32_t>(place - (at + 4));
    for (size_t byte = 0; byte < 4; ++byte) code_[at + byte] = static_cast<uint8_t>(distance >> (8 * byte));
}

std::vector<uint8_t> Assembler::Finish() {
    for (const auto& [number, distances] : broadcast_) {
        for (const size_t at : distances) SetDistance(at, code_.size());
        Number(number);
    }
    broadcast_.clear();
    return std::move(code_);
}

}  // namespace amc
