// SPDX-License-Identifier: GPL-3.0-or-later
//
// What is said of windows as PMT dictionaries, published a batch at a time. Made one by one in Python, messages take
// longer than the inference of a small network, and hold the interpreter's lock meanwhile.
#include <gnuradio/basic_block.h>
#include <pmt/pmt.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
// Whole seconds since 1970, and the rest.
using Time = std::optional<std::pair<uint64_t, double>>;

pmt::pmt_t Key(const char* name) { return pmt::intern(name); }

// "length" and "frequency" are PMT already, the same ones for all windows of a batch; the latter is null where unknown.
pmt::pmt_t Message(const pmt::pmt_t& label, double confidence, const float* probabilities, size_t classes, uint64_t offset,
                   const pmt::pmt_t& length, double power, const Time& time, const pmt::pmt_t& frequency) {
    static const pmt::pmt_t kLabel = Key("label"), kConfidence = Key("confidence"), kProbabilities = Key("probabilities"),
                            kOffset = Key("offset"), kLength = Key("length"), kPower = Key("power"), kTime = Key("time"),
                            kFrequency = Key("frequency");
    pmt::pmt_t message = pmt::make_dict();
    // As dict_add, which looks for each key first: these are all different.
    const auto add = [&message](const pmt::pmt_t& key, const pmt::pmt_t& value) { message = pmt::acons(key, value, message); };
    add(kLabel, label);
    add(kConfidence, pmt::from_double(confidence));
    add(kProbabilities, pmt::init_f32vector(classes, probabilities));
    add(kOffset, pmt::from_uint64(offset));
    add(kLength, length);
    add(kPower, pmt::from_double(power));
    if (time) add(kTime, pmt::make_tuple(pmt::from_uint64(time->first), pmt::from_double(time->second)));
    if (frequency) add(kFrequency, frequency);
    return message;
}

void Publish(const std::shared_ptr<gr::basic_block>& block, const pmt::pmt_t& port, const std::vector<std::string>& labels,
             const Array<double>& confidences, const Array<float>& probabilities, const Array<uint64_t>& offsets,
             uint64_t length, const Array<double>& powers, const std::vector<Time>& times,
             std::optional<double> frequency) {
    const size_t count = labels.size();
    const auto is_column = [count](const auto& array) {
        return array.ndim() == 1 && static_cast<size_t>(array.size()) == count;
    };
    if (!is_column(confidences) || !is_column(offsets) || !is_column(powers) || times.size() != count ||
        probabilities.ndim() != 2 || static_cast<size_t>(probabilities.shape(0)) != count) {
        throw std::invalid_argument("each column must have one entry for each label");
    }
    const auto classes = static_cast<size_t>(probabilities.shape(1));
    const double *confidence = confidences.data(), *power = powers.data();
    const float* row = probabilities.data();
    const uint64_t* offset = offsets.data();
    const py::gil_scoped_release release;
    // All are made before the first is published: a subscriber that wakes up for it finds the others there, and need not
    // be woken for each.
    std::vector<pmt::pmt_t> messages;
    messages.reserve(count);
    const pmt::pmt_t same_length = pmt::from_uint64(length);
    const pmt::pmt_t same_frequency = frequency ? pmt::from_double(*frequency) : nullptr;
    pmt::pmt_t label;
    for (size_t n = 0; n < count; ++n) {
        if (n == 0 || labels[n] != labels[n - 1]) label = pmt::intern(labels[n]);
        messages.push_back(Message(label, confidence[n], row + n * classes, classes, offset[n], same_length,
                                   power[n], times[n], same_frequency));
    }
    for (const auto& message : messages) block->message_port_pub(port, message);
}

}  // namespace

PYBIND11_MODULE(_messages, module) {
    module.doc() = "PMT dictionaries of results; gnuradio.amc.classifier lists what is in them.";
    // They have the types of what is given.
    py::module_::import("pmt");
    py::module_::import("gnuradio.gr");

    module.def("publish", &Publish, py::arg("block").none(false), py::arg("port").none(false), py::arg("labels"), py::arg("confidences"),
               py::arg("probabilities"), py::arg("offsets"), py::arg("length"), py::arg("powers"), py::arg("times"),
               py::arg("frequency"));
}
