"""Messages over a socket: some sections of bytes under a kind and a number, file descriptors beside them.

header: kind, descriptors, sections, number | length of each section | the sections
"""

from __future__ import annotations

import socket
from array import array
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Bytes = bytes | bytearray | memoryview

START, KERNEL, INPUT_SLOT, RESULT_SLOT, NO_SLOT, BATCH, FORGET, QUIT = range(8)  # to a worker
READY, PART, RESULT, REFUSED, BROKEN, RETURNED, MAIL = range(10, 17)  # from a worker

_HEADER = Struct("<BBHQ")
_CHUNK = 1 << 16
_SECTIONS = 512  # most sections that one system call sends
_FDS = 8  # most descriptors that come with one message


class Message:
    """`kind` is one of the names above, `number` that of a batch, a lane or a slot, as the kind has it. Descriptors
    come with short messages only, so that what comes with a piece that was read belongs to the last message in it;
    where the system had no room for them, they are missing."""

    __slots__ = ("fds", "kind", "number", "sections")

    def __init__(self, kind: int, number: int, sections: Sequence[Bytes], fds: Sequence[int] = ()) -> None:
        self.kind = kind
        self.number = number
        self.sections = sections
        self.fds = fds

    def __repr__(self) -> str:
        return f"<Message {self.kind} {self.number}, {sum(map(len, self.sections))} bytes>"


class Wire:
    """One end of a socket. One thread reads, one thread at a time writes.

    With a socket that does not block, `read` gives nothing where there is nothing, and `flush` says what is left.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = bytearray()
        self._chunk = memoryview(bytearray(_CHUNK))
        self._fds: list[int] = []
        self._big: list[memoryview] = []  # of a long message: where its bytes go that have not come yet
        self._whole: Message | None = None  # that message
        self._out: list[tuple[memoryview, Sequence[int]]] = []

    def read(self) -> list[Message] | None:
        """The messages that have come, at least one; none where there are none and the socket does not block; None at
        the end."""
        while True:
            try:
                if not self._receive():
                    return None
            except BlockingIOError:
                return []
            except ConnectionError:
                return None
            if messages := self._messages():
                return messages

    def _receive(self) -> int:
        room = self._big[0] if self._big else self._chunk
        got, ancillary, _, _ = self.sock.recvmsg_into([room], socket.CMSG_SPACE(4 * _FDS))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self._fds.extend(fds)
        if not self._big:
            self._in += room[:got]
        elif got == len(room):
            self._big.pop(0)
        else:
            self._big[0] = room[got:]
        return got

    def _messages(self) -> list[Message]:
        messages = []
        if self._whole is not None:
            if self._big:
                return []
            messages.append(self._whole)
            self._whole = None
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Message | None:
        """The next message of which all is here; of a long one, the rest is read to where it belongs."""
        have = self._in
        if len(have) < _HEADER.size:
            return None
        kind, fds, count, number = _HEADER.unpack_from(have)
        start = _HEADER.size + 8 * count
        if len(have) < start:
            return None
        lengths = array("Q", bytes(have[_HEADER.size : start]))
        end = start + sum(lengths)
        if end > len(have) and end - start < _CHUNK:
            return None
        sections, rest, at = [], [], start
        for length in lengths:
            section = bytearray(have[at : at + length])
            if len(section) < length:
                missing = length - len(section)
                section += bytes(missing)
                rest.append(memoryview(section)[length - missing :])
            sections.append(section)
            at += length
        del have[:end]
        taken, self._fds = self._fds[:fds], self._fds[fds:]
        message = Message(kind, number, sections, taken)
        if rest:
            self._whole, self._big = message, rest
            return None
        return message

    def put(self, kind: int, number: int, sections: Sequence[Bytes], fds: Sequence[int] = ()) -> None:
        """A message to be sent by `flush`, in turn. Its sections must stay as they are until it is out."""
        header = _HEADER.pack(kind, len(fds), len(sections), number) + array("Q", map(len, sections)).tobytes()
        parts = [header, *sections]
        if sum(map(len, parts)) < _CHUNK:
            parts = [b"".join(parts)]
        self._out.append((memoryview(parts[0]), fds))
        self._out += [(memoryview(part).cast("B"), ()) for part in parts[1:] if len(part)]

    def flush(self) -> bool:
        """Send what can be sent now; whether all is out. Raises ConnectionError if nobody reads any more."""
        while self._out:
            fds = self._out[0][1]
            pieces = [self._out[0][0]]
            if not fds:
                for piece, more in self._out[1:_SECTIONS]:
                    if more:
                        break
                    pieces.append(piece)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
            try:
                sent = self.sock.sendmsg(pieces, ancillary)
            except BlockingIOError:
                return False
            self._sent(sent)
        return True

    def _sent(self, sent: int) -> None:
        gone = 0
        for piece, _ in self._out:
            if len(piece) > sent:
                break
            sent -= len(piece)
            gone += 1
        del self._out[:gone]
        if sent:
            self._out[0] = self._out[0][0][sent:], ()

    @property
    def unsent(self) -> bool:
        return bool(self._out)

    def send(self, kind: int, number: int, sections: Sequence[Bytes] = ()) -> None:
        """Send a message whole, on a socket that blocks."""
        self.put(kind, number, sections)
        self.flush()

    def close(self) -> None:
        self.sock.close()
        self._out.clear()

    def __repr__(self) -> str:
        return f"<Wire {self.sock.fileno()}, {len(self._out)} pieces to send>"
