// SPDX-License-Identifier: GPL-3.0-or-later
//
// The layers before the linear ones, of several frames at once, laid out for code of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "code_room.h"
#include "layers.h"
#include "specialised.h"

namespace amc {

// A frame is cut into kSegments as long as each other. A stripe is a vector full of codes that are as far from the beginning
// of their segments: of each segment those of all frames side by side. A kernel, a stride or a pool then takes whole
// stripes, none of which crosses a cache line. All channels of a stripe lie one behind the other, then those of the next.
class Stripes {
public:
    static constexpr size_t kSegments = 8;

    // Working memory of one thread.
    struct Room {
        std::vector<CodeRoom> memories;  // of a tensor, then of others once nobody reads it any more
        std::vector<uint8_t*> tensors;   // where in these each one begins
        CodeRoom rows;                   // of the input, for each frame and in it for each channel
        std::vector<uint16_t> sums;
    };

    // For the first "count" layers, whose rows have taps and code already; both vectors must outlive it. Null where code of
    // their own does not make most of what they make, or where they do not cut all tensors into such segments.
    static std::unique_ptr<const Stripes> Of(const std::vector<Tensor>& tensors, const std::vector<Layer>& layers, size_t count);

    size_t FramesAtOnce() const { return frames_; }
    Room MakeRoom() const;
    // Where in "rows" a channel of a frame's input goes.
    uint8_t* InputRow(size_t frame, size_t channel, Room& room) const;
    // Makes a tensor of those before, one after the other, or the first one of the rows of the input.
    void MakeTensor(size_t number, Room& room) const;
    // columns[pitch * feature + frame] = code, features being channels x length of the tensor made last.
    void FillColumns(size_t number, const Room& room, size_t pitch, uint8_t* columns) const;

private:
    // How a tensor lies in memory, in vectors of codes.
    struct Form {
        size_t stripes;
        Margins margins;  // stripes before the first one and behind the last one, of what lies beside segments
        size_t pitch;     // from one stripe to the next

        size_t Vectors() const { return (margins.before + stripes + margins.behind) * pitch; }
    };

    // What makes a tensor of a convolution.
    struct Maker {
        std::vector<RowOutput> rows;
        std::unique_ptr<const SpecialisedRows> specialised;
        size_t tile = 0;  // stripes of some outputs before the next ones, so that what they read stays in the first cache
    };

    Stripes(const std::vector<Tensor>& tensors, const std::vector<Layer>& layers) : tensors_(tensors), layers_(layers) {}

    size_t InputPitch() const;
    bool FindForms(size_t count);
    bool AddMaker(const Layer& layer, size_t number);
    std::vector<size_t> LastReaders() const;
    uint8_t* Stripe(size_t number, size_t stripe, const Room& room) const;
    void TakeInput(Room& room) const;
    void Convolve(size_t number, Room& room) const;
    void AddTensors(size_t number, Room& room) const;
    void SumRows(size_t number, Room& room) const;
    void FillMargins(size_t number, Room& room) const;

    const std::vector<Tensor>& tensors_;
    const std::vector<Layer>& layers_;
    size_t vector_size_ = MachineVectorSize();
    size_t frames_ = vector_size_ / kSegments;
    std::vector<Form> forms_;    // of each tensor
    std::vector<Maker> makers_;  // of each tensor but the first
};

}  // namespace amc
