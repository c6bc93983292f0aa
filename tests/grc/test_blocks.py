# SPDX-License-Identifier: GPL-3.0-or-later
"""The block descriptions say what the Python code takes, and what they generate runs."""

import inspect
import re

import pytest
from gnuradio import amc

from tests.grc.flowgraphs import BLOCKS, open_platform
from tests.helpers.tiny_models import write_model


@pytest.fixture(scope="module")
def platform():
    return open_platform()


@pytest.fixture
def block(platform):
    """A Modulation Classifier as it is when dragged onto the canvas."""
    flowgraph = platform.make_flow_graph()
    block = flowgraph.new_block("amc_classifier")
    block.params["id"].set_value("classifier")
    yield block  # not returned: the block alone does not keep its flowgraph alive


@pytest.fixture
def build(block, tmp_path):
    """Builds the block by its own generated line, with a small model where none is given, and other values if asked."""

    def build(**values):
        values = {"model": str(write_model(tmp_path / "model.onnx")), **values}
        for name, value in values.items():
            block.params[name].set_value(value)
        assert errors(block) == []
        namespace = {}
        exec(block.templates.render("imports"), namespace)
        return eval(block.templates.render("make"), namespace)

    return build


def errors(block):
    block.parent_flowgraph.rewrite()
    block.rewrite()
    block.validate()
    return [message for message in block.get_error_messages() if "not connected" not in message]


def own_parameters(platform, key):
    return {data["id"]: data for data in platform.blocks[key].parameters_data if data["id"] in SIGNATURES[key]}


def signature(block):
    """Parameters of a Python block, less the ``parent`` that GNU Radio Companion leaves to the layout."""
    return {name: known for name, known in inspect.signature(block).parameters.items() if name != "parent"}


PYTHON_BLOCKS = {
    "amc_classifier": amc.classifier,
    "amc_conditioner": amc.conditioner,
    "amc_label_display": amc.label_display,
    "amc_receiver_watch": amc.receiver_watch,
    "amc_sigmf_annotator": amc.sigmf_annotator,
}
SIGNATURES = {key: signature(block) for key, block in PYTHON_BLOCKS.items()}
SIGNATURE = SIGNATURES["amc_classifier"]
EVERY_PARAMETER = [(key, name) for key, names in SIGNATURES.items() for name in names]
EVERY_DEFAULT = [
    (key, name) for key, name in EVERY_PARAMETER if SIGNATURES[key][name].default is not inspect.Parameter.empty
]


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.name)
def test_every_block_loads_in_our_category(platform, path):
    key = path.name.removesuffix(".block.yml")
    assert platform.blocks[key].loaded_from == str(path)
    assert platform.blocks[key].category == ["AMC"]


def test_every_block_is_compared_with_its_python_block():
    assert sorted(SIGNATURES) == [path.name.removesuffix(".block.yml") for path in BLOCKS]


@pytest.mark.parametrize("key", SIGNATURES)
def test_parameters_are_those_of_the_python_block_in_the_same_order(platform, key):
    every_block_has = {"id", "alias", "affinity", "minoutbuf", "maxoutbuf", "comment", "gui_hint"}
    ids = [data["id"] for data in platform.blocks[key].parameters_data]
    assert [name for name in ids if name not in every_block_has] == list(SIGNATURES[key])


@pytest.mark.parametrize(("key", "name"), EVERY_DEFAULT)
def test_default_is_that_of_the_python_block(platform, key, name):
    data = own_parameters(platform, key)[name]
    default = data["default"]
    if (key, name) == ("amc_sigmf_annotator", "sample_rate"):
        assert default == "samp_rate"  # the variable that every new flowgraph has
        return
    is_text = data["dtype"] in ("enum", "file_open", "string")
    assert (default if is_text else eval(str(default))) == SIGNATURES[key][name].default


@pytest.mark.parametrize(("key", "name"), EVERY_PARAMETER)
def test_documentation_explains_the_parameter_under_its_label(platform, key, name):
    parameters = platform.blocks[key].documentation[""].partition("Parameters:")[2]
    label = re.sub(r" \((Samples.*|Windows|dBFS|Hz|s)\)$", "", own_parameters(platform, key)[name]["label"])
    explained = [item for line in parameters.splitlines() for item in line.partition(":")[0].strip().split(", ")]
    assert label in explained


def test_options_are_those_the_python_block_accepts(platform, build):
    for name in ("overload", "runtime", "publish", "normalise"):
        data = own_parameters(platform, "amc_classifier")[name]
        assert len(data["options"]) == len(data["option_labels"])
        for option in data["options"]:
            try:
                build(**{name: option})
            except amc.AmcError as error:
                # The model here is a float one, which the engine does not take; nothing else may be refused.
                assert option == "native" and "the engine cannot take the model" in str(error)
        build(**{name: data["default"]})


def test_a_block_with_default_values_is_built(build):
    assert isinstance(build(), amc.classifier)


@pytest.mark.skipif(not amc.released_models(), reason="no released model is installed")
def test_a_block_with_default_values_is_built_with_the_released_model(build):
    assert len(build(model="").classes) == 24


def test_values_reach_the_parameter_of_their_name(build, monkeypatch):
    given = {
        "model": "a model", "hop": 7, "average": 3, "threshold": 0.25, "squelch": -12.5, "overload": "drop",
        "batch": 5, "runtime": "native", "publish": "change", "threads": 2, "classes": ("A", "B"), "window": 512,
        "normalise": "unit_power", "temperature": 1.5, "status_interval": 0.125,
    }  # fmt: skip
    assert list(given) == list(SIGNATURE)
    taken = {}
    monkeypatch.setattr(amc, "classifier", lambda **values: taken.update(values))
    build(**{name: str(value) for name, value in given.items()})
    assert taken == given


@pytest.mark.parametrize("hop", ["2048", "None"])
def test_callbacks_are_the_setters_of_the_python_block(platform, block, build, hop):
    built = build(hop=hop, average="4", threshold="0.75", squelch="-30", overload="drop", publish="change")
    callbacks = block.get_callbacks()
    assert all(callback.startswith("self.classifier.set_") for callback in callbacks)
    owner = type("top_block", (), {"classifier": built})()
    for callback in callbacks:
        exec(callback, {"self": owner})
    setters = {name for name in vars(amc.classifier) if name.startswith("set_")}
    assert {callback.partition("(")[0].removeprefix("self.classifier.") for callback in callbacks} == setters


def test_ports_are_a_complex_stream_in_and_two_optional_message_ports_out(block):
    assert errors(block) == []
    assert [(port.domain, port.dtype, bool(port.optional)) for port in block.sinks] == [("stream", "complex", False)]
    assert [(port.key, port.domain, bool(port.optional)) for port in block.sources] == [
        ("labels", "message", True),
        ("status", "message", True),
    ]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"hop": "1"}, {"hop": "0"}),
        ({"hop": "None"}, {"hop": "-1"}),
        ({"hop": "512"}, {"hop": '"512"'}),
        ({"average": "1"}, {"average": "0"}),
        ({"threshold": "0"}, {"threshold": "-0.01"}),
        ({"threshold": "1"}, {"threshold": "1.01"}),
        ({"batch": "1"}, {"batch": "0"}),
        ({"threads": "1"}, {"threads": "0"}),
        ({"window": "0"}, {"window": "-1"}),
        ({"temperature": "0"}, {"temperature": "-0.5"}),
        ({"status_interval": "0"}, {"status_interval": "-1"}),
        ({"model": "my.onnx", "classes": '["A", "B"]'}, {"model": "my.onnx", "classes": '["A", "A"]'}),
        ({"model": "my.onnx", "classes": '("A", "B")'}, {"model": "my.onnx", "classes": '"AB"'}),
        ({"model": "my.onnx", "classes": '("A", "B")'}, {"model": "", "classes": '("A", "B")'}),
        ({"model": "my.onnx", "window": "512"}, {"model": "", "window": "512"}),
    ],
)
def test_assert_lets_the_right_value_pass_and_marks_the_wrong_one(block, right, wrong):
    for values, is_right in ((right, True), (wrong, False)):
        for name, value in values.items():
            block.params[name].set_value(value)
        assert (errors(block) == []) is is_right


def test_rare_parameters_show_on_the_canvas_only_once_set(block):
    assert errors(block) == []
    shown = {name for name in SIGNATURE if block.params[name].hide == "none"}
    assert shown == {"average", "threshold", "overload"}
    for name, value in {"model": "my.onnx", "hop": "99", "squelch": "-40", "publish": "change", "threads": "2"}.items():
        block.params[name].set_value(value)
        assert errors(block) == []
        assert block.params[name].hide == "none"


# --- the display ----------------------------------------------------------------------------------


@pytest.fixture
def display(platform):
    """A QT GUI Modulation Label as it is when dragged onto the canvas."""
    flowgraph = platform.make_flow_graph()
    block = flowgraph.new_block("amc_label_display")
    block.params["id"].set_value("display")
    yield block


class Window:
    """Stands for the top block of a QT GUI flowgraph: keeps what was put into its layout."""

    def __init__(self):
        self.top_layout = self
        self.added = []

    def addWidget(self, widget):  # noqa: N802  # Qt's name
        self.added.append(widget)


def made(display, **values):
    """What the generated lines made of the values: the window, with the block as its attribute ``display``."""
    for name, value in values.items():
        display.params[name].set_value(value)
    assert errors(display) == []
    window = Window()
    # As GNU Radio Companion's own template does.
    lines = "self.display = " + display.templates.render("make")
    exec(display.templates.render("imports") + "\n" + lines, {"self": window})
    return window


def test_display_is_built_by_its_generated_lines_and_put_into_the_window(application, display):
    window = made(display, classes='("A", "B")')
    assert isinstance(window.display, amc.label_display)
    assert window.added == [window.display.qwidget()]


def test_values_reach_the_display_and_its_callbacks_are_its_setters(application, display, monkeypatch):
    given = {"model": "a model", "classes": ("A", "B"), "history": 12.5, "update_period": 0.25, "title": "Radio 1"}
    assert list(given) == list(SIGNATURES["amc_label_display"])
    real, taken = amc.label_display, {}

    def build(**values):
        taken.update(values)
        return real(**values)

    monkeypatch.setattr(amc, "label_display", build)
    window = made(display, **{name: str(value) for name, value in given.items()})
    assert taken == {**given, "parent": None}
    callbacks = display.get_callbacks()
    for callback in callbacks:
        exec(callback, {"self": window})
    setters = {name for name in vars(real) if name.startswith("set_")}
    assert {callback.partition("(")[0].removeprefix("self.display.") for callback in callbacks} == setters


def test_ports_of_the_display_are_those_of_the_classifier(display, block):
    assert errors(display) == [] and list(display.sources) == []
    ports = [(port.key, port.domain, bool(port.optional)) for port in display.sinks]
    assert ports == [("labels", "message", True), ("status", "message", True)]
    assert [port.key for port in block.sources] == [key for key, _, _ in ports]


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("history", "1", "0.9"),
        ("update_period", "0.01", "0.009"),
        ("classes", '["A", "B"]', '["A", "A"]'),
        ("classes", '("A", "B")', '"AB"'),
    ],
)
def test_assert_of_the_display_marks_the_wrong_value(display, name, right, wrong):
    for value, is_right in ((right, True), (wrong, False)):
        display.params[name].set_value(value)
        assert (errors(display) == []) is is_right


# --- the receiver watch ---------------------------------------------------------------------------


def test_the_receiver_watch_is_built_of_its_values_and_follows_the_frequency(platform):
    flowgraph = platform.make_flow_graph()
    block = flowgraph.new_block("amc_receiver_watch")
    values = {"id": "watch", "frequency": "100e6", "settle": "7", "patience": "2.5", "end_process": "True"}
    for name, value in values.items():
        block.params[name].set_value(value)
    assert errors(block) == []
    namespace = {}
    exec(block.templates.render("imports"), namespace)
    built = eval(block.templates.render("make"), namespace)
    assert (built.frequency, built.settle, built.patience, built.end_process) == (100e6, 7, 2.5, True)
    block.params["frequency"].set_value("200e6")
    assert errors(block) == []
    (callback,) = block.get_callbacks()
    exec(callback, {"self": type("top_block", (), {"watch": built})()})
    assert built.frequency == 200e6


@pytest.mark.parametrize(("name", "wrong"), [("settle", "-1"), ("patience", "0")])
def test_the_receiver_watch_marks_wrong_values(platform, name, wrong):
    flowgraph = platform.make_flow_graph()
    block = flowgraph.new_block("amc_receiver_watch")
    block.params["id"].set_value("watch")
    block.params["frequency"].set_value("100e6")
    assert errors(block) == []
    block.params[name].set_value(wrong)
    assert errors(block) != []


# --- SigMF Annotator ------------------------------------------------------------------------------


@pytest.fixture
def annotator(platform, tmp_path):
    """A SigMF Annotator on the canvas, with what must be given."""
    flowgraph = platform.make_flow_graph()
    block = flowgraph.new_block("amc_sigmf_annotator")
    for name, value in {"id": "annotator", "file": str(tmp_path / "a.sigmf-meta"), "sample_rate": "1e6"}.items():
        block.params[name].set_value(value)
    yield block


def built(block, **values):
    for name, value in values.items():
        block.params[name].set_value(value)
    assert errors(block) == []
    namespace = {}
    exec(block.templates.render("imports"), namespace)
    return eval(block.templates.render("make"), namespace)


def test_an_annotator_has_one_message_port(annotator):
    assert errors(annotator) == []
    assert [(port.key, port.domain, bool(port.optional)) for port in annotator.sinks] == [("labels", "message", False)]
    assert list(annotator.sources) == []


def test_values_reach_the_annotators_parameter_of_their_name(annotator, monkeypatch):
    given = {
        "file": "b.sigmf-meta", "dataset": "b.cs16", "sample_rate": 48e3, "frequency": 7e6, "datatype": "ci16_le",
        "description": "it's \"mine\"", "author": "me", "merge": False, "interval": 0.25,
    }  # fmt: skip
    assert list(given) == list(SIGNATURES["amc_sigmf_annotator"])
    taken = {}
    monkeypatch.setattr(amc, "sigmf_annotator", lambda **values: taken.update(values))
    built(annotator, **{name: str(value) for name, value in given.items()})
    assert taken == given


def test_every_datatype_of_the_annotator_is_one_the_python_block_accepts(platform, annotator):
    data = own_parameters(platform, "amc_sigmf_annotator")["datatype"]
    assert len(data["options"]) == len(data["option_labels"])
    for option in data["options"]:
        assert isinstance(built(annotator, datatype=option), amc.sigmf_annotator)


def test_callback_of_the_annotator_is_its_setter(annotator):
    owner = type("top_block", (), {"annotator": built(annotator, frequency="5e6")})()
    (callback,) = annotator.get_callbacks()
    assert callback.startswith("self.annotator.set_frequency(")
    exec(callback, {"self": owner})


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"file": "a.sigmf-meta"}, {"file": "a.sigmf"}),
        ({"file": "a.sigmf-meta"}, {"file": ""}),
        ({"dataset": "a.cs16"}, {"dataset": "b/a.cs16"}),
        ({"sample_rate": "None"}, {"sample_rate": "0"}),
        ({"frequency": "-1e12"}, {"frequency": "1.1e12"}),
        ({"datatype": "ci16_be"}, {"datatype": "ri16_be"}),
        ({"interval": "0"}, {"interval": "-0.1"}),
    ],
)
def test_assert_of_the_annotator_lets_the_right_value_pass_and_marks_the_wrong_one(annotator, right, wrong):
    for values, is_right in ((right, True), (wrong, False)):
        for name, value in values.items():
            annotator.params[name].set_value(value)
        assert (errors(annotator) == []) is is_right


# --- Signal Conditioner ---------------------------------------------------------------------------


@pytest.fixture
def conditioner(platform):
    """A Signal Conditioner on the canvas, with what must be given."""
    flowgraph = platform.make_flow_graph()
    block = flowgraph.new_block("amc_conditioner")
    for name, value in {"id": "conditioner", "sample_rate": "1e6"}.items():
        block.params[name].set_value(value)
    yield block


def test_a_conditioner_has_an_output_for_each_signal(conditioner):
    assert errors(conditioner) == []
    conditioner.params["signals"].set_value("3")
    assert errors(conditioner) == []
    assert [(port.key, port.domain, bool(port.optional)) for port in conditioner.sources] == [
        ("0", "stream", False),
        ("1", "stream", False),
        ("2", "stream", False),
        ("signals", "message", True),
    ]


def test_values_reach_the_conditioners_parameter_of_their_name(conditioner, monkeypatch):
    given = {
        "sample_rate": 2e6, "frequency": 100e6, "signals": 1, "interval": 0.5, "samples_per_symbol": 4.0,
        "centre": 100.1e6, "bandwidth": 30e3, "symbol_rate": 25e3,
    }  # fmt: skip
    assert list(given) == list(SIGNATURES["amc_conditioner"])
    taken = {}
    monkeypatch.setattr(amc, "conditioner", lambda **values: taken.update(values))
    built(conditioner, **{name: str(value) for name, value in given.items()})
    assert taken == given


def test_callbacks_of_the_conditioner_are_its_setters(conditioner):
    block = built(conditioner, centre="5e3", bandwidth="1e3", symbol_rate="1e3")
    assert isinstance(block, amc.conditioner)
    owner = type("top_block", (), {"conditioner": block})()
    callbacks = conditioner.get_callbacks()
    for callback in callbacks:
        exec(callback, {"self": owner})
    setters = {name for name in vars(amc.conditioner) if name.startswith("set_")}
    assert {callback.partition("(")[0].removeprefix("self.conditioner.") for callback in callbacks} == setters


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"sample_rate": "1e6"}, {"sample_rate": "0"}),
        ({"frequency": "-1e12"}, {"frequency": "1.1e12"}),
        ({"signals": "8"}, {"signals": "9"}),
        ({"signals": "1"}, {"signals": "0"}),
        ({"interval": "0.001536"}, {"interval": "0.001535"}),
        ({"samples_per_symbol": "2"}, {"samples_per_symbol": "1.9"}),
        ({"samples_per_symbol": "64"}, {"samples_per_symbol": "65"}),
        ({"interval": "60"}, {"interval": "61"}),
        ({"centre": "1e3", "signals": "1"}, {"centre": "1e3", "signals": "2"}),
        ({"bandwidth": "1e6"}, {"bandwidth": "-1"}),
        ({"bandwidth": "100"}, {"bandwidth": "99"}),
        ({"symbol_rate": "1e6"}, {"symbol_rate": "1.1e6"}),
    ],
)
def test_assert_of_the_conditioner_marks_what_the_python_block_refuses(conditioner, right, wrong):
    assert isinstance(built(conditioner, **right), amc.conditioner)
    for name, value in wrong.items():
        conditioner.params[name].set_value(value)
    assert errors(conditioner) != []
    with pytest.raises(amc.AmcError):
        amc.conditioner(**{"sample_rate": 1e6, **{name: eval(value) for name, value in wrong.items()}})
