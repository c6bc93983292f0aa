// SPDX-License-Identifier: GPL-3.0-or-later
//
// Writes the few instructions of x86-64 that specialised code is made of, of AVX2 in the encoding VEX, of AVX-512 in EVEX:
// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace amc {

// General registers by their numbers in the encoding: the arguments of a function by the System V ABI, and others that
// it may change.
enum class Register : uint8_t {
    kFirst = 7,
    kSecond = 6,
    kThird = 2,
    kFourth = 1,
    kFifth = 8,
    kScratch0 = 0,
    kScratch1 = 9,
    kScratch2 = 10,
    kScratch3 = 11
};

// An instruction of vectors: its prefix (1 is 66, 2 is F3), its map (1 is 0F, 2 is 0F38, 3 is 0F3A) and its code.
struct VectorInstruction {
    uint8_t prefix;
    uint8_t map;
    uint8_t opcode;
};

constexpr VectorInstruction kAddBytes{1, 1, 0xfc}, kSubtractBytes{1, 1, 0xf8}, kAddWords{1, 1, 0xfd}, kMaximumWords{1, 1, 0xee},
    kMultiplyHighWords{1, 1, 0xe5}, kAnd{1, 1, 0xdb}, kPackUnsigned{1, 1, 0x67}, kInterleaveLower{1, 1, 0x60},
    kInterleaveUpper{1, 1, 0x68}, kMultiplyAddBytes{1, 2, 0x04}, kLoad{2, 1, 0x6f}, kStore{2, 1, 0x7f};

class Assembler {
public:
    // Vectors have 32 bytes or 64.
    explicit Assembler(size_t vector_size) : wide_(vector_size == 64) {}

    // destination = first (instruction) second, numbers of vector registers.
    void Vector(VectorInstruction instruction, int destination, int first, int second);
    // destination = first (instruction) the vector "offset" bytes behind "base". Of a load "first" is 0; of a store it is
    // too, and "destination" is stored.
    void VectorMemory(VectorInstruction instruction, int destination, int first, Register base, int32_t offset);
    // All numbers of 32 bits of a vector are this one.
    void Broadcast(int destination, uint32_t number);
    // destination = the words of source, unsigned, moved down by so many bits.
    void ShiftRightWords(int destination, int source, int bits);
    // Stores the lower bytes of the words of "even" and those of "odd", half a vector at each place. Changes "even".
    void StoreLowerBytes(int even, int odd, Register even_base, Register odd_base);

    void Move(Register to, Register from) { Scalar(0x89, to, from); }
    void Add(Register to, Register from) { Scalar(0x01, to, from); }
    void Add(Register to, int32_t number);
    // Goes back to "place" in the code where first < second.
    void JumpIfBelow(Register first, Register second, size_t place);
    // Begins a function, and ends it.
    void Enter();
    void Leave();

    size_t Place() const { return code_.size(); }
    // The code, and behind it the numbers that it broadcasts, each once.
    std::vector<uint8_t> Finish();

private:
    // The last one of an instruction: a vector register, or a general one that says where in memory.
    struct Operand {
        int number;
        bool memory;
    };
    void Byte(unsigned byte) { code_.push_back(static_cast<uint8_t>(byte)); }
    void Number(uint32_t number);
    // From behind the number that says so, at "at", to "place".
    void SetDistance(size_t at, size_t place);
    void Scalar(unsigned opcode, Register to, Register from);
    void Prefix(VectorInstruction instruction, int reg, int other, Operand last, bool quarters = false);
    // "unit": what a short offset is a multiple of in EVEX.
    void Memory(int reg, Register base, int32_t offset, int unit);

    bool wide_;
    std::vector<uint8_t> code_;
    std::map<uint32_t, std::vector<size_t>> broadcast_;  // where the code says how far a number is
};

}  // namespace amc
