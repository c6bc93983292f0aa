# SPDX-License-Identifier: GPL-3.0-or-later
"""The widget of the label display: draws a ``DisplayState``. The one module here that needs PyQt5."""

import math
from dataclasses import dataclass

import numpy as np
from PyQt5.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from PyQt5.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPalette
from PyQt5.QtWidgets import QApplication, QSizePolicy, QWidget

from .decide import UNKNOWN
from .display_state import COLUMNS, EMPTY, DisplayState, Frequency
from .report import frequency_unit
from .strips import is_dark, label_colours, long_runs

STALE_SECONDS = 2.0  # after which a label is drawn as one of the past
SMALLEST_FONT, READABLE_FONT, LARGEST_FONT = 8, 9.5, 22  # pixels, of all but the large label
_WARNING = QColor("#e5484d")  # readable on white and on black
_LEFT, _RIGHT, _CENTRE = (Qt.AlignVCenter | side for side in (Qt.AlignLeft, Qt.AlignRight, Qt.AlignHCenter))


def has_application() -> bool:
    """Whether a widget may be made; without a QApplication Qt would end the process."""
    return isinstance(QApplication.instance(), QApplication)


@dataclass(frozen=True)
class Places:
    """Where the parts of the display are."""

    title: QRectF
    label: QRectF
    bars: QRectF
    history: QRectF
    counters: QRectF


class LabelWidget(QWidget):
    """Draws ``state`` again whenever it has changed, at most once an update period."""

    def __init__(self, state: DisplayState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._title = ""
        self._strip_places: list[tuple[QRectF, Frequency]] = []
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()

    def sizeHint(self) -> QSize:
        return QSize(600, 400)

    def minimumSizeHint(self) -> QSize:
        return QSize(320, 180)

    def set_update_period(self, seconds: float) -> None:
        self._timer.setInterval(round(1000 * seconds))

    def set_title(self, title: str) -> None:
        self._title = title
        self.update()

    def refresh(self) -> None:
        """Takes in what was heard, and asks for a new picture if anything is different."""
        if self._state.update():
            self.update()

    def mousePressEvent(self, event) -> None:
        chosen = [frequency for place, frequency in self._strip_places if place.contains(event.localPos())]
        if chosen and len(self._strip_places) > 1:
            self._state.choose(chosen[0])
            self.refresh()

    # --- layout -----------------------------------------------------------------------------------

    @property
    def font_pixels(self) -> float:
        """Size of the small letters, which grows with the widget, but slower."""
        scale = math.sqrt(min(self.width() / 400, self.height() / 300))
        return min(max(11.5 * scale, SMALLEST_FONT), LARGEST_FONT)

    def places(self) -> Places:
        """The label above bars above strips, or, in a wide and low widget, the bars beside the others."""
        font = self.font_pixels
        margin = 0.8 * font
        whole = QRectF(self.rect()).adjusted(margin, margin, -margin, -margin)
        title = QRectF(whole.left(), whole.top(), whole.width(), 1.7 * font if self._title else 0)
        below = whole.adjusted(0, title.height(), 0, 0)
        wide = below.width() > 2 * below.height()
        left = QRectF(below)
        if wide:
            left.setWidth(0.5 * below.width() - font)
        rows = len(self._state.rows)
        strips = 2.1 * font * rows + 1.8 * font if rows > 1 else (6.5 if wide else 4.6) * font
        share = 0.3 if wide else 0.2
        label = QRectF(left.left(), left.top(), left.width(), min(max(share * left.height(), 3 * font), 8 * font))
        counters = QRectF(left.left(), left.bottom() - 1.4 * font, left.width(), 1.4 * font)
        bottom = counters.top() - 0.6 * font
        height = min(strips, (0.9 if wide else 0.45) * (bottom - label.bottom()))
        history = QRectF(left.left(), bottom - height, left.width(), height)
        if wide:
            above = QRectF(left.left(), left.top(), left.width(), history.top() - left.top() - 0.4 * font)
            label.setHeight(min(above.height(), 8 * font))
            label.moveCenter(above.center())
            bars = QRectF(left.right() + 2 * font, below.top(), below.right() - left.right() - 2 * font, below.height())
        else:
            top = label.bottom() + 0.4 * font
            bars = QRectF(left.left(), top, left.width(), history.top() - top - 0.8 * font)
        return Places(title, label, bars, history, counters)

    # --- drawing ----------------------------------------------------------------------------------

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        painter.setPen(Qt.NoPen)
        palette = self.palette()
        self._text, back = palette.color(QPalette.WindowText), palette.color(QPalette.Window)
        self._muted, self._trough = _blend(self._text, back, 0.6), _blend(self._text, back, 0.1)
        self._colours = label_colours(self._state.labels)
        places = self.places()
        if self._title:
            self._write(painter, places.title, _LEFT, self._title, self._text, self.font_pixels * 1.1, bold=True)
        self._draw_label(painter, places.label)
        self._draw_bars(painter, places.bars)
        self._draw_history(painter, places.history)
        self._draw_counters(painter, places.counters)
        painter.end()  # not left to the garbage collector

    def _write(self, painter, place, side, text, colour, pixels, bold=False) -> float:
        """Writes one line, smaller where it has no room, and returns its width."""
        font = self._sized_font(pixels, bold)
        width = QFontMetricsF(font).horizontalAdvance(text)
        while width > place.width() and pixels > SMALLEST_FONT:
            pixels = max(min(pixels - 1, pixels * place.width() / width), SMALLEST_FONT)
            font = self._sized_font(pixels, bold)
            width = QFontMetricsF(font).horizontalAdvance(text)
        if width > place.width():
            text = QFontMetricsF(font).elidedText(text, Qt.ElideRight, place.width())
            width = QFontMetricsF(font).horizontalAdvance(text)
        painter.setFont(font)
        painter.setPen(colour)
        painter.drawText(place, int(side) | Qt.TextSingleLine, text)
        painter.setPen(Qt.NoPen)
        return width

    def _sized_font(self, pixels: float, bold: bool = False) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(max(int(pixels), 1))
        font.setBold(bold)
        return font

    def _label_colour(self, label: str) -> QColor:
        labels = self._state.labels
        return QColor(*self._colours[labels.index(label)].tolist()) if label in labels else self._muted

    def _draw_label(self, painter: QPainter, place: QRectF) -> None:
        shown, font = self._state.shown, self.font_pixels
        stale = self._state.age > STALE_SECONDS
        label, said = _headline(self._state)
        block = QRectF(place.left(), place.top() + 0.12 * place.height(), 0.55 * font, 0.76 * place.height())
        colour = self._label_colour(label) if shown and label == shown.result.label and not stale else self._trough
        painter.setBrush(colour)
        painter.drawRoundedRect(block, 0.2 * font, 0.2 * font)

        lines = [text for text in (_frequency_text(shown), _age_text(self._state.age)) if text]
        aside = max((QFontMetricsF(self._sized_font(font)).horizontalAdvance(line) for line in lines), default=0)
        room = place.adjusted(1.3 * font, 0, -aside - font, 0)
        small = min(0.42 * place.height(), 2.6 * font)
        metrics = QFontMetricsF(self._sized_font(small))
        said_width = metrics.horizontalAdvance(said) + 0.8 * font if said else 0
        current = shown is not None and label == shown.result.label and label != UNKNOWN and not stale
        room.setRight(room.right() - said_width)
        ink = self._text if current else self._muted
        width = self._write(painter, room, _LEFT, label, ink, 0.72 * place.height(), bold=True)
        beside = QRectF(room.left() + width + 0.8 * font, place.top(), said_width, place.height())
        self._write(painter, beside, _LEFT, said, self._muted, small)
        height = 1.35 * font
        top = place.center().y() - 0.5 * height * len(lines)
        for number, line in enumerate(lines):
            line_place = QRectF(place.left(), top + number * height, place.width(), height)
            self._write(painter, line_place, _RIGHT, line, self._muted, font)

    def _draw_bars(self, painter: QPainter, place: QRectF) -> None:
        names, shown = self._state.names, self._state.shown
        if not names or place.height() <= 0:
            return
        values = np.zeros(len(names))
        if shown and not self._state.is_silent:
            values = np.clip(np.nan_to_num(shown.result.probabilities, nan=0, posinf=0, neginf=0), 0, 1)
        colours = self._colours if names == self._state.classes else label_colours(names)
        best = int(values.argmax()) if values.any() else -1
        columns, pixels, name_width = self._bar_columns(names, place)
        rows = -(-len(names) // columns)
        gap = 1.8 * pixels
        width = (place.width() - gap * (columns - 1)) / columns
        height = min(place.height() / rows, 2.4 * pixels)
        digits = QFontMetricsF(self._sized_font(pixels)).horizontalAdvance("100 %")
        if width - name_width - digits < 3 * pixels:
            digits = 0  # a bar says more
        stale = self._state.age > STALE_SECONDS
        for number, (name, value) in enumerate(zip(names, values.tolist(), strict=True)):
            column, row = divmod(number, rows)
            line = QRectF(place.left() + column * (width + gap), place.top() + row * height, width, height)
            is_best = number == best
            ink = self._text if is_best and not stale else self._muted
            self._write(painter, QRectF(line.left(), line.top(), name_width, height), _LEFT, name, ink, pixels, is_best)
            # On whole pixels, so that ends are sharp and narrow ones are seen.
            thick = max(round(min(0.62 * height, 0.9 * pixels)), 2)
            left, top = round(line.left() + name_width), round(line.center().y() - thick / 2)
            long = max(round(line.right() - digits - (0.5 * pixels if digits else 0)) - left, 0)
            painter.fillRect(left, top, long, thick, self._trough)
            colour = QColor(*colours[number].tolist())
            # A narrow end is always there: with it the bars are the key to the colours of the strips.
            filled = max(round(value * long), round(0.25 * pixels), 2)
            painter.fillRect(left, top, filled, thick, _blend(colour, self._trough, 0.45) if stale else colour)
            if digits and value >= 0.005:
                self._write(painter, line, _RIGHT, f"{100 * value:.0f} %", ink, pixels, False)

    def _bar_columns(self, names: tuple[str, ...], place: QRectF) -> tuple[int, float, float]:
        """(columns, size of the letters, width of a name): few columns, unless the letters get much smaller by it."""
        metrics = QFontMetricsF(self._sized_font(100, bold=True))
        relative = (max(metrics.horizontalAdvance(name) for name in names) + 60) / 100  # of the size of the letters
        relative = min(relative, 9.0)  # longer names are cut
        sizes = []
        for columns in range(1, 6):
            width, height = place.width() / columns, place.height() / -(-len(names) // columns)
            sizes.append(min(self.font_pixels, 0.46 * width / relative, height / 1.25))
        enough = max(0.8 * max(sizes), min(READABLE_FONT, max(sizes)))
        columns = next(number for number, size in enumerate(sizes, 1) if size >= enough)
        return columns, sizes[columns - 1], relative * sizes[columns - 1]

    def _draw_history(self, painter: QPainter, place: QRectF) -> None:
        rows, font = self._state.rows, self.font_pixels
        several = len(rows) > 1
        frequencies = _frequency_texts([frequency for frequency, _, _ in rows]) if several else [""] * len(rows)
        small = 0.9 * font
        metrics = QFontMetricsF(self._sized_font(small, bold=True))
        before = max((metrics.horizontalAdvance(text) for text in frequencies), default=0)
        before += font if several else 0
        after = max((metrics.horizontalAdvance(label) for _, label, _ in rows), default=0) + 0.7 * font
        after = min(after, 0.25 * place.width()) if several else 0
        axis = 1.5 * font
        strips = place.adjusted(before, 0, -after, -axis)
        height = strips.height() / max(len(rows), 1)
        gap = min(0.12 * height, 0.35 * font) if several else 0
        self._strip_places = []
        self._draw_axis(painter, strips, small)
        if not rows:
            painter.fillRect(strips, self._trough)
        for number, (row, text) in enumerate(zip(rows, frequencies, strict=True)):
            frequency, label, cells = row
            strip = QRectF(strips.left(), strips.top() + number * height + gap / 2, strips.width(), height - gap)
            self._strip_places.append((QRectF(place.left(), strip.top(), place.width(), strip.height()), frequency))
            self._draw_strip(painter, strip, cells, min(small, 0.75 * strip.height()))
            if several:
                large = self._state.shown is not None and frequency == self._state.shown.frequency
                ink = self._text if large else self._muted
                name = QRectF(place.left(), strip.top(), before - 0.7 * font, strip.height())
                self._write(painter, name, _RIGHT, text, ink, small, bold=large)
                newest = QRectF(strip.right() + 0.5 * font, strip.top(), after - 0.5 * font, strip.height())
                self._write(painter, newest, _LEFT, label if cells[-1] != EMPTY else "", ink, small, bold=large)

    def _draw_strip(self, painter: QPainter, place: QRectF, cells: np.ndarray, pixels: float) -> None:
        table = np.concatenate((self._colours, [self._trough.getRgb()[:3]])).astype(np.uint32)  # EMPTY is the last
        pixel_row = (0xFF << 24 | table[:, 0] << 16 | table[:, 1] << 8 | table[:, 2])[cells]
        data = pixel_row.astype(np.uint32).tobytes()
        painter.drawImage(place, QImage(data, COLUMNS, 1, 4 * COLUMNS, QImage.Format_RGB32))
        metrics, scale = QFontMetricsF(self._sized_font(pixels)), place.width() / COLUMNS
        for number, begin, end in long_runs(cells, COLUMNS // 80):
            if number == EMPTY:
                continue
            label = self._state.labels[number]
            if metrics.horizontalAdvance(label) + pixels < (end - begin) * scale:
                letters = Qt.white if is_dark(self._colours[number]) else Qt.black
                run = QRectF(place.left() + begin * scale, place.top(), (end - begin) * scale, place.height())
                self._write(painter, run, _CENTRE, label, QColor(letters), pixels)

    def _draw_axis(self, painter: QPainter, strips: QRectF, pixels: float) -> None:
        seconds = self._state.history
        room = max(strips.width() / (6 * pixels), 1)
        step = _round_step(seconds / room)
        top = strips.bottom() + 0.15 * pixels
        painter.setPen(self._muted)
        for number in range(int(seconds / step) + 1):
            x = strips.right() - number * step / seconds * strips.width()
            painter.drawLine(QPointF(x, strips.bottom()), QPointF(x, top + 0.15 * pixels))
        painter.setPen(Qt.NoPen)
        for number in range(int(seconds / step) + 1):
            x = strips.right() - number * step / seconds * strips.width()
            text = "now" if number == 0 else f"−{number * step:g} s"
            half = 3 * pixels
            label = QRectF(x - half, top + 0.2 * pixels, 2 * half, 1.3 * pixels)
            side = _CENTRE
            if label.right() > self.width() - pixels:
                label.moveRight(strips.right())
                side = _RIGHT
            elif x - strips.left() < half and x - half < 0:
                label.moveLeft(strips.left())
                side = _LEFT
            self._write(painter, label, side, text, self._muted, pixels)

    def _draw_counters(self, painter: QPainter, place: QRectF) -> None:
        counters, names = self._state.counters, self._state.names
        if not counters:
            parts = [("no status yet", self._muted)]
        else:
            parts = [(f"{_rate_text(self._state.rate)} windows/s", self._text)]
            for name in ("dropped", "ignored", "errors"):
                bad = counters[name] and name != "ignored"
                parts.append((f"{name} {counters[name]:,}", _WARNING if bad else self._muted))
        if names != self._state.classes:
            parts.append((f"{len(names)} probabilities, {len(self._state.classes)} names: give the classes", _WARNING))
        pixels = 0.95 * self.font_pixels
        metrics = QFontMetricsF(self._sized_font(pixels))
        between = 1.6 * pixels
        needed = sum(metrics.horizontalAdvance(text) for text, _ in parts) + between * (len(parts) - 1)
        shrink = min(place.width() / needed, 1)
        left = place.left()
        for text, colour in parts:
            room = QRectF(left, place.top(), max(place.right() - left, 1), place.height())
            left += self._write(painter, room, _LEFT, text, colour, max(pixels * shrink, SMALLEST_FONT))
            left += between * shrink


def _blend(colour: QColor, other: QColor, share: float) -> QColor:
    """``share`` of ``colour``, the rest of ``other``."""
    pairs = zip(colour.getRgb()[:3], other.getRgb()[:3], strict=True)
    return QColor(*(round(share * one + (1 - share) * two) for one, two in pairs))


def _headline(state: DisplayState) -> tuple[str, str]:
    """What stands in large letters, and what stands behind it."""
    if state.is_silent:
        return "no signal", ""
    if state.shown is None:
        return "no label yet", ""
    result = state.shown.result
    percent = f"{100 * result.confidence:.0f} %" if math.isfinite(result.confidence) else ""
    if result.label == UNKNOWN and len(result.probabilities) and percent:
        percent = f"{state.names[int(result.probabilities.argmax())]} {percent}"
    return result.label, percent


def _frequency_text(shown) -> str:
    return _frequency_texts([shown.frequency])[0] if shown else ""


def _frequency_texts(frequencies: list[Frequency]) -> list[str]:
    """Each in the unit of the largest, with as many digits as tell all of them apart to 1 Hz."""
    known = [frequency for frequency in frequencies if frequency is not None]
    unit, size = frequency_unit(max((abs(frequency) for frequency in known), default=0))
    places = round(math.log10(size))
    digits = max((places - _zeros(frequency, places) for frequency in known), default=0)
    return ["" if frequency is None else f"{frequency / size:.{digits}f} {unit}" for frequency in frequencies]


def _zeros(number: int, most: int) -> int:
    """How many of the last ``most`` decimal digits are zero, counted from the end."""
    return next(count for count in range(most, -1, -1) if number % 10**count == 0)


def _age_text(age: float) -> str:
    if not math.isfinite(age):
        return ""
    if age < 1:
        return "heard now"
    for unit, seconds in (("h", 3600), ("min", 60)):
        if age >= 2 * seconds:
            return f"heard {age / seconds:.0f} {unit} ago"
    return f"heard {int(age)} s ago"


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no less."""
    power = 10 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
