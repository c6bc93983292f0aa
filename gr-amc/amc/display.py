# SPDX-License-Identifier: GPL-3.0-or-later
"""The GNU Radio block that shows the classifier's messages in a Qt window."""

import sys

import pmt
from gnuradio import gr

from .block import LABELS, STATUS
from .display_state import DisplayState
from .errors import AmcError
from .model import load_model
from .word_to_end import forget_words_to_end

DEFAULT_HISTORY = 30.0
DEFAULT_UPDATE_PERIOD = 0.05
LONGEST_SECONDS = 1e6  # Qt's timers count to 2^31 ms


def _checked_seconds(name: str, seconds: float, least: float) -> float:
    if not least <= seconds <= LONGEST_SECONDS:
        raise AmcError(f"{name} is {seconds}; it must be from {least} to {LONGEST_SECONDS:g} seconds.")
    return float(seconds)


class label_display(gr.basic_block):
    """Shows the messages of ``gnuradio.amc.classifier``: the label, the probability of every class as a bar, the
    labels of the last seconds as a strip, one for each ``frequency`` in the messages, and the counts of ``status``.

    Input, message ports ``labels`` and ``status``, as the classifier publishes them; ``status`` of one classifier
    only. ``qwidget()`` is the widget, to be put into a layout. Time is that of arrival. The strip shows a label until
    the next one, a gap where none came for half a second and four times as long as usual. A click on one of
    several strips keeps the large label and the bars with its frequency, a second click sets them free.

    Parameters
    ----------
    model : as given to the classifier, for the names of its classes
    classes : names in the order of ``probabilities``; the model is not opened where they are given
    history : seconds that the strips cover
    update_period : seconds between two updates of the screen, at least
    title : a line above all, or ""
    parent : the QWidget that owns the widget, or None

    Messages are kept until the next update, the newest 256 of them; a slow screen never holds up the flowgraph.
    Made and set in the thread of the QApplication. Raises AmcError where there is no QApplication or no PyQt5, for
    settings out of range, and for a model that cannot be used. What is shown is in ``state``, a DisplayState.
    """

    def __init__(
        self,
        model: str = "",
        classes: tuple[str, ...] = (),
        history: float = DEFAULT_HISTORY,
        update_period: float = DEFAULT_UPDATE_PERIOD,
        title: str = "",
        parent=None,
    ) -> None:
        gr.basic_block.__init__(self, name="amc_label_display", in_sig=None, out_sig=None)
        try:
            # Not above: all else of gnuradio.amc works without it.
            from .display_widget import LabelWidget, has_application
        except ImportError as error:
            raise AmcError(
                f"the label display needs PyQt5, which {sys.executable} cannot import ({error}); install it for that "
                "Python (python3-pyqt5 on Debian and Ubuntu)."
            ) from None
        if not has_application():
            raise AmcError("the label display needs a QApplication; make one before, as a QT GUI flowgraph does.")
        names = tuple(classes) or load_model(model).classes
        self.state = DisplayState(names, _checked_seconds("history", history, least=1.0), warn=self.logger.warn)
        self._widget = LabelWidget(self.state, parent)
        self.set_update_period(update_period)
        self.set_title(title)
        for port, handler in ((LABELS, self._hear_label), (STATUS, self._hear_status)):
            self.message_port_register_in(pmt.intern(port))
            self.set_msg_handler(pmt.intern(port), handler)

    def start(self) -> bool:
        forget_words_to_end(self)
        return True

    def _hear_label(self, message) -> None:
        self.state.hear_label(message)

    def _hear_status(self, message) -> None:
        self.state.hear_status(message)

    def qwidget(self):
        """The QWidget."""
        return self._widget

    def set_history(self, history: float) -> None:
        """Begins the strips anew."""
        self.state.history = _checked_seconds("history", history, least=1.0)

    def set_update_period(self, update_period: float) -> None:
        self._widget.set_update_period(_checked_seconds("update_period", update_period, least=0.01))

    def set_title(self, title: str) -> None:
        self._widget.set_title(str(title))
