"""What was forwarded of uploads, kept while it is little, for another element to have."""

from __future__ import annotations

# So much of one upload: a default chunk and its frame.
KEPT_BYTES = 1024 * 1024 + 4096
# So much of all together; then of those from which nothing came for longest nothing is kept.
KEPT_IN_ALL_BYTES = 32 * 1024 * 1024


class KeptUploads:
    """Of all uploads of a process."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._by_age: dict[KeptMessages, None] = {}

    def begin(self) -> KeptMessages:
        """Nothing yet, of one upload."""
        return KeptMessages(self)

    def added(self, messages: KeptMessages, size_bytes: int) -> None:
        """A message was added to one of them."""
        self.size_bytes += size_bytes
        self._by_age.pop(messages, None)
        self._by_age[messages] = None
        while self.size_bytes > KEPT_IN_ALL_BYTES and self._by_age:
            next(iter(self._by_age)).forget()

    def needed(self, messages: KeptMessages) -> None:
        """They go to another element now, and must not be forgotten meanwhile."""
        self._by_age.pop(messages, None)

    def freed(self, messages: KeptMessages, size_bytes: int) -> None:
        """One has forgotten its messages."""
        self.size_bytes -= size_bytes
        self._by_age.pop(messages, None)


class KeptMessages:
    """Of one upload: all that was forwarded, or nothing any more."""

    def __init__(self, among: KeptUploads) -> None:
        self._among = among
        self._messages: list[bytes] | None = []
        self._bytes = 0
        self._replayed = 0

    @property
    def is_whole(self) -> bool:
        """Everything is here."""
        return self._messages is not None

    def add(self, message: bytes) -> None:
        """One that is forwarded for the first time."""
        if self._messages is None:
            return
        if self._bytes + len(message) > KEPT_BYTES:
            self.forget()
            return
        self._messages.append(message)
        self._bytes += len(message)
        self._replayed = len(self._messages)
        self._among.added(self, len(message))

    def again(self) -> bytes | None:
        """The next one that the element of now has not had."""
        if self._messages is None or self._replayed >= len(self._messages):
            return None
        self._replayed += 1
        return self._messages[self._replayed - 1]

    def rewind(self) -> bool:
        """Begin again with the first; False when not everything is here."""
        self._replayed = 0
        self._among.needed(self)
        return self.is_whole

    def forget(self) -> None:
        """Keep nothing any more."""
        self._messages = None
        size, self._bytes = self._bytes, 0
        self._among.freed(self, size)
