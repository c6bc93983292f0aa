// SPDX-License-Identifier: GPL-3.0-or-later
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <complex>
#include <limits>
#include <optional>
#include <utility>

#include "centre.h"
#include "network.h"
#include "peak.h"
#include "phase.h"
#include "timing.h"

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
std::vector<T> Copied(const Array<T>& array) {
    return std::vector<T>(array.data(), array.data() + array.size());
}

void Require(bool condition, const std::string& message) {
    if (!condition) throw std::invalid_argument(message);
}

// What a network is given from Python, checked; keeps it alive. Float32 (N, channels, length); or, with a divisor for
// each frame, complex64 (N, length), whatever lies between one frame and the next, or is in both.
class Batch {
   public:
    using Divisors = std::optional<Array<float>>;

    Batch(const amc::Network& network, const py::array& frames, const Divisors& divisors) {
        const amc::Tensor& input = network.At(0);
        if (divisors) {
            Require(input.channels == 2, "complex frames need a network of two channels");
            TakeComplex(frames, *divisors, input.length);
        } else {
            TakeRows(frames, input);
        }
    }

    size_t Count() const { return static_cast<size_t>(frames_.shape(0)); }
    const amc::Frames& Frames() const { return view_; }

   private:
    void TakeRows(const py::array& frames, const amc::Tensor& input) {
        const auto rows = Array<float>::ensure(frames);
        Require(rows && rows.ndim() == 3 && static_cast<size_t>(rows.shape(1)) == input.channels &&
                    static_cast<size_t>(rows.shape(2)) == input.length,
                "frames must have the shape (N, " + std::to_string(input.channels) + ", " +
                    std::to_string(input.length) + ")");
        frames_ = rows;
        view_ = {rows.data(), static_cast<ptrdiff_t>(input.channels * input.length)};
    }

    void TakeComplex(const py::array& frames, const Array<float>& divisors, size_t length) {
        using Sample = std::complex<float>;
        Require(py::isinstance<py::array_t<Sample>>(frames) && frames.ndim() == 2 &&
                    static_cast<size_t>(frames.shape(1)) == length,
                "frames with divisors must be complex64 of the shape (N, " + std::to_string(length) + ")");
        const bool is_aligned = py::detail::check_flags(frames.ptr(), py::detail::npy_api::NPY_ARRAY_ALIGNED_);
        // numpy gives an array without frames any strides.
        Require(is_aligned && (length == 1 || frames.shape(0) == 0 || frames.strides(1) == sizeof(Sample)),
                "the samples of a frame must lie side by side, aligned");
        Require(divisors.ndim() == 1 && divisors.shape(0) == frames.shape(0), "there must be one divisor for each frame");
        const auto is_usable = [](float divisor) { return divisor > 0 && divisor <= std::numeric_limits<float>::max(); };
        Require(std::all_of(divisors.data(), divisors.data() + divisors.size(), is_usable),
                "divisors must be finite and above zero");
        frames_ = frames;
        divisors_ = divisors;
        const auto* values = static_cast<const float*>(frames.data());
        view_ = {values, frames.strides(0) / static_cast<ptrdiff_t>(sizeof(float)), divisors_.data()};
    }

    py::array frames_;
    Array<float> divisors_;
    amc::Frames view_;
};

// Frames on their way through a network; keeps alive all that its threads use.
class Pending {
   public:
    Pending(std::shared_ptr<const amc::Network> network, Batch batch, size_t threads)
        : network_(std::move(network)),
          batch_(std::move(batch)),
          logits_({batch_.Count(), network_->Classes()}),
          task_(network_->Start(batch_.Frames(), batch_.Count(), logits_.mutable_data(), threads)) {}
    ~Pending() {
        try {
            Wait();
        } catch (...) {
            // Nobody asked for the result.
        }
    }
    Pending(const Pending&) = delete;

    Array<float> Result() {
        Wait();
        return logits_;
    }

   private:
    void Wait() {
        const auto task = task_;
        if (!task) return;
        {
            const py::gil_scoped_release release;  // others may wait for the same meanwhile
            network_->Finish(*task);
        }
        task_ = nullptr;
    }

    std::shared_ptr<const amc::Network> network_;
    Batch batch_;
    Array<float> logits_;
    std::shared_ptr<amc::ThreadPool::Task> task_;
};

using Samples = Array<std::complex<float>>;

// What "make" makes of each row of ``frames`` (N, length): as many samples.
Samples EachFrame(const Samples& frames, void (*make)(const std::complex<float>*, size_t, std::complex<float>*)) {
    Require(frames.ndim() == 2, "frames must have the shape (N, length)");
    const auto count = static_cast<size_t>(frames.shape(0)), length = static_cast<size_t>(frames.shape(1));
    Samples made({count, length});
    const auto* from = frames.data();
    auto* to = made.mutable_data();
    {
        const py::gil_scoped_release release;
        for (size_t at = 0; at < count * length; at += length) make(from + at, length, to + at);
    }
    return made;
}

}  // namespace

PYBIND11_MODULE(_engine, module) {
    module.doc() = "Sparse integer inference; what it is given, gnuradio.amc.native makes of a model file.";

    py::class_<Pending>(module, "Pending").def("result", &Pending::Result);

    py::class_<amc::Network, std::shared_ptr<amc::Network>>(module, "Network")
        .def(py::init<size_t, size_t, float, int, int>(), py::kw_only(), py::arg("channels"), py::arg("length"),
             py::arg("scale"), py::arg("low"), py::arg("high"))
        .def(
            "add",
            [](amc::Network& network, size_t source, const Array<int16_t>& weights, size_t stride, std::pair<size_t, size_t> padding,
               size_t groups, size_t pool, const Array<int32_t>& thresholds, int zero) {
                if (weights.ndim() != 3) throw std::invalid_argument("weights must have the shape (outputs, inputs, kernel)");
                if (thresholds.ndim() != 2 || thresholds.shape(1) > 255) {
                    throw std::invalid_argument("thresholds must have the shape (outputs, codes)");
                }
                network.Add(amc::Convolution{source, Copied(weights), static_cast<size_t>(weights.shape(0)), static_cast<size_t>(weights.shape(2)),
                             stride, padding.first, padding.second, groups, pool, Copied(thresholds),
                             static_cast<int>(thresholds.shape(1)), zero});
            },
            py::kw_only(), py::arg("source"), py::arg("weights"), py::arg("stride"), py::arg("padding"), py::arg("groups"), py::arg("pool"),
            py::arg("thresholds"), py::arg("zero"))
        .def(
            "add_sum",
            [](amc::Network& network, size_t first, size_t second, std::pair<int, int> shifts,
               const Array<int32_t>& thresholds, int zero) {
                if (thresholds.ndim() != 1) throw std::invalid_argument("thresholds of a sum must have the shape (codes,)");
                network.Add(amc::Sum{first, second, shifts.first, shifts.second, Copied(thresholds), zero});
            },
            py::kw_only(), py::arg("first"), py::arg("second"), py::arg("shifts"), py::arg("thresholds"), py::arg("zero"))
        .def(
            "finish",
            [](amc::Network& network, const Array<int16_t>& weights, const Array<int32_t>& shift, const Array<float>& scale,
               const Array<float>& offset) {
                network.Finish({Copied(weights), Copied(shift), Copied(scale), Copied(offset)});
            },
            py::kw_only(), py::arg("weights"), py::arg("shift"), py::arg("scale"), py::arg("offset"))
        .def(
            "run",
            [](const amc::Network& network, const py::array& frames, size_t threads, const Batch::Divisors& divisors) {
                const Batch batch(network, frames, divisors);
                Array<float> logits({batch.Count(), network.Classes()});
                float* to = logits.mutable_data();
                {
                    py::gil_scoped_release release;
                    network.Run(batch.Frames(), batch.Count(), to, threads);
                }
                return logits;
            },
            py::arg("frames"), py::arg("threads") = 1, py::arg("divisors") = py::none())
        .def(
            "start",
            [](std::shared_ptr<amc::Network> network, const py::array& frames, size_t threads,
               const Batch::Divisors& divisors) {
                Batch batch(*network, frames, divisors);
                return std::make_unique<Pending>(std::move(network), std::move(batch), threads);
            },
            py::arg("frames"), py::arg("threads") = 1, py::arg("divisors") = py::none())
        .def(
            "codes",
            [](const amc::Network& network, const py::array& frames, size_t number, const Batch::Divisors& divisors) {
                const Batch batch(network, frames, divisors);
                const amc::Tensor tensor = network.At(number);
                Array<uint8_t> codes({batch.Count(), tensor.channels, tensor.length});
                network.Codes(batch.Frames(), batch.Count(), number, codes.mutable_data());
                return codes;
            },
            py::arg("frames"), py::arg("number"), py::arg("divisors") = py::none())
        .def(
            "profile",
            [](const amc::Network& network, const py::array& frames) {
                const Batch batch(network, frames, std::nullopt);
                return network.Profile(batch.Frames(), batch.Count());
            },
            py::arg("frames"))
        .def("rounded", &amc::Network::Rounded, py::arg("number"))
        .def("frames_in_stripes", &amc::Network::FramesInStripes)
        .def("specialised", &amc::Network::Specialised, py::arg("number"))
        .def("is_wide", &amc::Network::IsWide, py::arg("number"))
        .def("is_linear", &amc::Network::IsLinear, py::arg("number"))
        .def("takes_quads", &amc::Network::TakesQuads, py::arg("number"));

    module.def("centred", [](const Samples& frames) { return EachFrame(frames, amc::Centre); }, py::arg("frames"));
    module.def("turned", [](const Samples& frames) { return EachFrame(frames, amc::AlignPhase); }, py::arg("frames"));
    module.def("timed", [](const Samples& frames) { return EachFrame(frames, amc::AlignSymbols); }, py::arg("frames"));
    module.def(
        "interpolated", [](const Samples& frames) { return EachFrame(frames, amc::InterpolateSymbols); }, py::arg("frames"));

    module.def("measure_peak", [] {
        const amc::Peak peak = amc::MeasurePeak();
        return py::dict(py::arg("products") = peak.products, py::arg("quads") = peak.quads, py::arg("bytes") = peak.bytes,
                        py::arg("aligned_bytes") = peak.aligned_bytes);
    });
    module.def("targets", &amc::Targets);
    module.def("target_in_use", &amc::TargetInUse);
    module.def("use_target", &amc::UseTarget, py::arg("name"));
}
