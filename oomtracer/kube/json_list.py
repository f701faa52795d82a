"""A JSON list of the API server read while it arrives: never more of it in memory than one item and one chunk."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Generator
from typing import Final

from oomtracer.kube.lines import MAX_LINE_BYTES

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_AFTER_VALUE: Final = frozenset(" \t\r\n:,]}")


class MalformedError(Exception):
    """No JSON, or not what an API server sends; the message is short and printable."""


class JsonListReader:
    """Reads ``{..., "items": [...]}``: hands over each item as soon as it is whole, keeps the other members.

    The members may come in any order. Its parts are generators that yield where they need more text.
    """

    def __init__(
        self,
        decoder: json.JSONDecoder,
        take: Callable[[object], None],
        *,
        max_characters: int = MAX_LINE_BYTES,
    ) -> None:
        self.members: dict[str, object] = {}
        self.has_items = False
        self._decode = decoder.raw_decode
        self._take = take
        self._max_characters = max_characters
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._text = ""
        self._at = 0
        self._arrived: list[str] = []
        self._arrived_characters = 0
        self._wanted_characters = 1
        self._is_whole = False
        self._steps = self._document()
        next(self._steps)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises MalformedError, which ends the use of this reader.
        """
        text = self._utf8.decode(chunk)
        self._arrived.append(text)
        self._arrived_characters += len(text)
        if self._arrived_characters >= self._wanted_characters:
            self._go_on()

    def finish(self) -> None:
        """Say that the body is whole.

        Raises MalformedError if the list is not.
        """
        self._arrived.append(self._utf8.decode(b"", final=True))
        self._is_whole = True
        self._go_on()

    def _go_on(self) -> None:
        self._text = "".join((self._text[self._at :], *self._arrived))
        self._at = 0
        self._arrived = []
        self._arrived_characters = 0
        self._wanted_characters = 1
        next(self._steps, None)

    def _document(self) -> Generator[None, None, None]:
        yield from self._one_of("{")
        after = ","
        while after == ",":
            key = yield from self._value()
            yield from self._one_of(":")
            if key == "items":
                yield from self._items()
            else:
                self.members[str(key)] = yield from self._value()
            after = yield from self._one_of(",}")
        yield from self._end()

    def _items(self) -> Generator[None, None, None]:
        self.has_items = True
        if (yield from self._peek()) != "[":
            return (yield from self._no_items())
        after = yield from self._one_of("[")
        if (yield from self._peek()) == "]":
            after = yield from self._one_of("]")
        while after != "]":
            self._take((yield from self._value()))
            after = yield from self._one_of(",]")

    def _no_items(self) -> Generator[None, None, None]:
        # Go's empty list, where nobody made it one.
        if (yield from self._value()) is not None:
            raise MalformedError("the items are no list")

    def _value(self) -> Generator[None, None, object]:
        yield from self._peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if self._is_whole or isinstance(error, RecursionError):
                    raise MalformedError("the list is not JSON") from None
            else:
                # The front of a number is one too: what follows must have come, and must end it.
                if self._is_whole or self._text[end : end + 1] in _AFTER_VALUE:
                    self._at = end
                    return value
            self._want_twice()
            yield

    def _want_twice(self) -> None:
        # Only then is it tried again: the tries of an item cost no more than twice its length.
        held = len(self._text) - self._at
        if held > self._max_characters:
            raise MalformedError(f"more than {self._max_characters} characters are no item")
        self._wanted_characters = held

    def _one_of(self, characters: str) -> Generator[None, None, str]:
        character = yield from self._peek()
        if character not in characters:
            raise MalformedError("the list is not JSON")
        self._at += 1
        return character

    def _peek(self) -> Generator[None, None, str]:
        while not self._skip_blanks():
            if self._is_whole:
                raise MalformedError("the list ends early")
            yield
        return self._text[self._at]

    def _end(self) -> Generator[None, None, None]:
        while True:
            if self._skip_blanks():
                raise MalformedError("something follows the list")
            yield

    def _skip_blanks(self) -> bool:
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)
