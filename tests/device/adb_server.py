"""A server that speaks adb's protocol and pretends that this machine is a phone.

Written after SERVICES.TXT and SYNC.TXT of Android's adb. Requests are 4 hex digits of length and a
text; ``sync:`` switches to ids of 4 letters with little-endian lengths.
"""

import os
import socketserver
import struct
import subprocess
import threading
from pathlib import Path

PHONE = b"/data/local/tmp"
CHUNK = 1 << 16


class Refused(Exception):  # noqa: N818 - an answer of the protocol
    """What the server answers with FAIL."""


class Phone:
    """A phone.

    Args:
        folder: Stands for the folder for temporary files on it.
        version: Of the protocol, as the client has it.

    Attributes:
        serials: Devices that are plugged in.
        refusal: What every request for a device is refused with; None for none.
        capacity: Bytes that a file may have before the storage is full.
        path: PATH of its shell.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self.version = version
        self.serials = ["phone1"]
        self.refusal: str | None = None
        self.capacity = 1 << 40
        self.path = os.environ["PATH"]
        phone = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                Conversation(self.request, phone).hold()

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Unplug everything."""
        self.server.shutdown()
        self.server.server_close()

    def here(self, path: bytes) -> bytes:
        """A path on the phone, or a text with such paths, for this machine."""
        return path.replace(PHONE, os.fsencode(self.folder))

    def there(self, text: bytes) -> bytes:
        """The other way round."""
        return text.replace(os.fsencode(self.folder), PHONE)


class Conversation:
    """One connection of a client."""

    def __init__(self, connection, phone: Phone) -> None:
        self.connection = connection
        self.phone = phone

    def hold(self) -> None:
        try:
            while True:
                length = self.read(4)
                if not length:
                    return
                if not self.answer(self.read(int(length, 16))):
                    return
        except Refused as refusal:
            self.connection.sendall(b"FAIL" + text(str(refusal).encode()))
        except ConnectionError:
            return

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            got = self.connection.recv(size - len(data))
            if not got:
                return b""
            data += got
        return data

    def answer(self, request: bytes) -> bool:
        """Answer a request; whether the connection goes on."""
        if request == b"host:version":
            self.okay(text(b"%04x" % self.phone.version))
            return False
        if request.startswith(b"host:devices"):
            rows = "".join(f"{serial}\tdevice\n" for serial in self.phone.serials)
            self.okay(text(rows.encode()))
            return False
        if request.endswith(b"features"):
            self.okay(text(b""))
            return False
        if request.startswith((b"host:transport", b"host:tport")):
            self.choose(request.decode())
            self.okay(struct.pack("<Q", 1) if request.startswith(b"host:tport") else b"")
            return True
        if request.startswith(b"shell:"):
            self.okay()
            self.shell(request.removeprefix(b"shell:"))
            return False
        if request == b"sync:":
            self.okay()
            while self.sync():
                pass
            return False
        raise Refused(f"unknown host service {request.decode()}")

    def okay(self, more: bytes = b"") -> None:
        self.connection.sendall(b"OKAY" + more)

    def choose(self, request: str) -> None:
        serial = request.removeprefix("host:transport:").removeprefix("host:tport:serial:")
        if self.phone.refusal:
            raise Refused(self.phone.refusal)
        if serial.startswith("host:"):  # any
            if not self.phone.serials:
                raise Refused("no devices/emulators found")
            if len(self.phone.serials) > 1:
                raise Refused("more than one device/emulator")
        elif serial not in self.phone.serials:
            raise Refused(f"device '{serial}' not found")

    def shell(self, command: bytes) -> None:
        done = subprocess.run(
            ["sh", "-c", self.phone.here(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": self.phone.path, "HOME": str(self.phone.folder)},
            check=False,
        )
        self.connection.sendall(self.phone.there(done.stdout))

    def sync(self) -> bool:
        head = self.read(8)
        if not head or head[:4] == b"QUIT":
            return False
        what, (size,) = head[:4], struct.unpack("<I", head[4:])
        named = self.phone.here(self.read(size))
        {b"STAT": self.stat, b"SEND": self.receive, b"RECV": self.send}[what](named)
        return True

    def stat(self, path: bytes) -> None:
        try:
            found = Path(os.fsdecode(path)).stat()
            row = (found.st_mode, min(found.st_size, 2**32 - 1), int(found.st_mtime))
        except OSError:
            row = (0, 0, 0)
        self.connection.sendall(b"STAT" + struct.pack("<III", *row))

    def receive(self, named: bytes) -> None:
        path, _, mode = named.rpartition(b",")
        data = bytearray()
        while True:
            head = self.read(8)
            (size,) = struct.unpack("<I", head[4:])
            if head[:4] == b"DONE":
                break
            data += self.read(size)
        if len(data) > self.phone.capacity:
            self.fail(b"couldn't write file: No space left on device")
            return
        try:
            Path(os.fsdecode(path)).write_bytes(data)
            Path(os.fsdecode(path)).chmod(int(mode) & 0o777)
        except OSError as error:
            self.fail(b"couldn't create file: " + str(error.strerror).encode())
            return
        self.connection.sendall(b"OKAY" + struct.pack("<I", 0))

    def send(self, path: bytes) -> None:
        try:
            data = Path(os.fsdecode(path)).read_bytes()
        except OSError as error:
            self.fail(str(error.strerror).encode())
            return
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            self.connection.sendall(b"DATA" + struct.pack("<I", len(part)) + part)
        self.connection.sendall(b"DONE" + struct.pack("<I", 0))

    def fail(self, why: bytes) -> None:
        self.connection.sendall(b"FAIL" + struct.pack("<I", len(why)) + why)


def text(data: bytes) -> bytes:
    """With its length in front."""
    return b"%04x" % len(data) + data
