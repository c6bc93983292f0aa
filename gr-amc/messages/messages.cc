// SPDX-License-Identifier: GPL-3.0-or-later
//
// What is said of windows as PMT dictionaries, published a batch at a time. Made one by one in Python, messages take
// longer than the inference of a small network, and hold the interpreter's lock meanwhile.
#include <gnuradio/basic_block.h>
#include <gnuradio/block.h>
#include <gnuradio/block_registry.h>
#include <gnuradio/io_signature.h>
#include <pmt/pmt.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
// Whole seconds since 1970, and the rest.
using Time = std::optional<std::pair<uint64_t, double>>;

pmt::pmt_t Key(const char* name) { return pmt::intern(name); }

// As dict_add, which looks for the key first: those of a message are all different.
pmt::pmt_t Added(const pmt::pmt_t& dictionary, const pmt::pmt_t& key, const pmt::pmt_t& value) {
    return pmt::acons(key, value, dictionary);
}

// What messages of one batch have in common, made once: none of it is ever changed.
class Common {
public:
    Common(uint64_t length, const std::optional<double>& frequency)
        : length_(pmt::cons(Key("length"), pmt::from_uint64(length))),
          frequency_(frequency ? pmt::cons(Key("frequency"), pmt::from_double(*frequency)) : nullptr) {}

    // The dictionary that each message of a label goes on from.
    const pmt::pmt_t& Of(const std::string& label) {
        auto& begun = by_label_[label];
        if (!begun) begun = Added(pmt::make_dict(), Key("label"), pmt::intern(label));
        return begun;
    }
    const pmt::pmt_t& Length() const { return length_; }
    const pmt::pmt_t& Frequency() const { return frequency_; }  // or null

private:
    pmt::pmt_t length_;
    pmt::pmt_t frequency_;
    std::unordered_map<std::string, pmt::pmt_t> by_label_;
};

pmt::pmt_t Message(Common& common, const std::string& label, double confidence, const float* probabilities, size_t classes,
                   uint64_t offset, double power, const Time& time) {
    static const pmt::pmt_t kConfidence = Key("confidence"), kProbabilities = Key("probabilities"), kOffset = Key("offset"),
                            kPower = Key("power"), kTime = Key("time");
    pmt::pmt_t message = Added(common.Of(label), kConfidence, pmt::from_double(confidence));
    message = Added(message, kProbabilities, pmt::init_f32vector(classes, probabilities));
    message = Added(message, kOffset, pmt::from_uint64(offset));
    message = pmt::dcons(common.Length(), message);
    message = Added(message, kPower, pmt::from_double(power));
    if (time) message = Added(message, kTime, pmt::make_tuple(pmt::from_uint64(time->first), pmt::from_double(time->second)));
    return common.Frequency() ? pmt::dcons(common.Frequency(), message) : message;
}

// A block that is never started, so that nobody is woken for it.
class Nobody : public gr::block {
public:
    Nobody() : gr::block("amc_nobody", gr::io_signature::make(0, 0, 0), gr::io_signature::make(0, 0, 0)) {}
    int general_work(int, gr_vector_int&, gr_vector_const_void_star&, gr_vector_void_star&) override { return 0; }
};

// While it lives, GNU Radio wakes nobody for messages to `subscriber`; at its end it wakes it, whoever sent what came.
// Woken for each message, a subscriber takes turns at the locks of its queue with the thread that fills it: for 128
// messages the two were put to sleep some 50 times, which took longer than making the messages did.
class OneWake {
public:
    explicit OneWake(gr::block& subscriber) : subscriber_(subscriber) {
        static const auto kNobody = std::make_shared<Nobody>();
        global_block_registry.register_primitive(subscriber_.symbol_name(), kNobody.get());
    }
    ~OneWake() {
        global_block_registry.register_primitive(subscriber_.symbol_name(), &subscriber_);
        global_block_registry.notify_blk(subscriber_.symbol_name());
    }
    OneWake(const OneWake&) = delete;
    OneWake& operator=(const OneWake&) = delete;

private:
    gr::block& subscriber_;
};

// GNU Radio's queues have no end: where samples come faster than a subscriber takes messages, those of a long recording
// would fill the memory. Waits while many messages wait for the subscriber, but not for one that takes none: it may have
// been stopped, or have no handler for them. GNU Radio counts them without the lock of the queue: a count that is wrong
// makes one pause more, or one less.
void WaitFor(gr::basic_block& subscriber, const pmt::pmt_t& port) {
    constexpr size_t kMany = 1024;
    constexpr std::chrono::milliseconds kPatience(500), kPause(1);
    size_t fewest = subscriber.nmsgs(port);
    auto taken = std::chrono::steady_clock::now();
    while (fewest >= kMany && !subscriber.empty_handled_p(port) && std::chrono::steady_clock::now() - taken < kPatience) {
        std::this_thread::sleep_for(kPause);
        const size_t count = subscriber.nmsgs(port);
        if (count >= fewest) continue;
        fewest = count;
        taken = std::chrono::steady_clock::now();
    }
}

// As message_port_pub for each of the messages; `waits` for subscribers that are far behind.
void Post(gr::basic_block& block, const pmt::pmt_t& port, const std::vector<pmt::pmt_t>& messages, bool waits) {
    if (messages.empty()) return;  // nobody need wake
    for (pmt::pmt_t left = block.message_subscribers(port); pmt::is_pair(left); left = pmt::cdr(left)) {
        const pmt::pmt_t target = pmt::car(left);
        const gr::basic_block_sptr subscriber = global_block_registry.block_lookup(pmt::car(target));
        const pmt::pmt_t to = pmt::cdr(target);
        if (waits) WaitFor(*subscriber, to);
        std::optional<OneWake> one_wake;
        if (auto* const primitive = dynamic_cast<gr::block*>(subscriber.get())) one_wake.emplace(*primitive);
        for (const auto& message : messages) subscriber->_post(to, message);
    }
}

void Publish(const std::shared_ptr<gr::basic_block>& block, const pmt::pmt_t& port, const std::vector<std::string>& labels,
             const Array<double>& confidences, const Array<float>& probabilities, const Array<uint64_t>& offsets,
             uint64_t length, const Array<double>& powers, const std::vector<Time>& times,
             std::optional<double> frequency, bool waits) {
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
    std::vector<pmt::pmt_t> messages;
    messages.reserve(count);
    Common common(length, frequency);
    for (size_t n = 0; n < count; ++n) {
        messages.push_back(Message(common, labels[n], confidence[n], row + n * classes, classes, offset[n], power[n], times[n]));
    }
    Post(*block, port, messages, waits);
}

}  // namespace

PYBIND11_MODULE(_messages, module) {
    module.doc() = "PMT dictionaries of results; gnuradio.amc.classifier lists what is in them.";
    // They have the types of what is given.
    py::module_::import("pmt");
    py::module_::import("gnuradio.gr");

    module.def("publish", &Publish, py::arg("block").none(false), py::arg("port").none(false), py::arg("labels"), py::arg("confidences"),
               py::arg("probabilities"), py::arg("offsets"), py::arg("length"), py::arg("powers"), py::arg("times"),
               py::arg("frequency"), py::arg("waits"));
}
