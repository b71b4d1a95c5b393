"""Devices behind ssh: a stand-in for ssh that runs commands here, and a real server on loopback."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from editing import QUICK, damage_weights

import edgeq
from edgeq.device import runner
from edgeq.errors import DataError, DeviceError

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
PYTHON = f"?python={quote(sys.executable)}"
CANNED = "?python=canned"

STAND_IN = """#!/bin/sh
# Drops ssh's own options, host included, and runs the command as the far side would.
while [ "$1" != -- ]; do
    [ "$1" = -O ] && exit 0
    shift
done
shift 2
export HOME={home} TMPDIR={temporary}
cd "$HOME"
{before}
exec sh -c "$*"
"""


class Board:
    """A device that the stand-in pretends to be."""

    def __init__(self, root: Path) -> None:
        self.home, self.temporary, self.bin = (root / n for n in ("home", "temporary", "bin"))
        for folder in (self.home, self.temporary, self.bin):
            folder.mkdir()
        self.behave("")

    def behave(self, before: str) -> None:
        """Have every command preceded by some shell text."""
        text = STAND_IN.format(
            home=shlex.quote(str(self.home)),
            temporary=shlex.quote(str(self.temporary)),
            before=before,
        )
        self.install("ssh", text)

    def install(self, name: str, text: str) -> None:
        """Put a program on the PATH."""
        file = self.bin / name
        file.write_text(text)
        file.chmod(0o755)

    @property
    def left(self) -> list[str]:
        """What lies around on the device."""
        return [str(each) for folder in (self.home, self.temporary) for each in folder.rglob("*")]


@pytest.fixture(scope="module")
def canned(net_pack, tmp_path_factory):
    """The text of a "Python" that has run the pack before."""
    found = tmp_path_factory.mktemp("canned") / "result.json"
    assert runner.main([str(net_pack), "--seconds", "0", "--output", str(found)]) == 0
    return f'#!/bin/sh\n[ "$1" = -c ] || cp {shlex.quote(str(found))} "$4"\n'


@pytest.fixture
def board(tmp_path, monkeypatch, canned):
    made = Board(tmp_path)
    made.install("canned", canned)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made


def run(address, pack):
    return edgeq.run(address, pack, options=QUICK)


def test_a_pack_runs_there_and_nothing_stays(board, net_pack):
    result = run(f"ssh://pi@board:2222{PYTHON}", net_pack)
    assert result.passed
    assert not result.emulated
    assert not board.left


def test_a_wrong_model_fails_there_and_nothing_stays(board, rewritten):
    assert not run(f"ssh://board{PYTHON}", rewritten(damage_weights)).passed
    assert not board.left


def test_an_interpreter_is_found(board, net_pack):
    board.install("python3", (board.bin / "canned").read_text())
    assert run("ssh://board", net_pack).passed


def test_chatter_of_login_scripts_is_no_answer(board, net_pack):
    board.behave("echo Welcome to board; echo edgeq is great >&2")
    assert run(f"ssh://board{CANNED}", net_pack).passed


def test_no_onnxruntime_there_is_told(board, net_pack):
    for name in ("python", "python3"):
        board.install(name, "#!/bin/sh\necho No module named onnxruntime >&2; exit 1\n")
    with pytest.raises(DeviceError, match=r"no Python there can import.*--setup"):
        run("ssh://board", net_pack)
    assert not board.left


def test_an_interpreter_without_onnxruntime_is_told(board, net_pack):
    board.install("bare", "#!/bin/sh\necho No module named onnxruntime >&2; exit 1\n")
    with pytest.raises(DeviceError, match="bare cannot import numpy and onnxruntime: No module"):
        run("ssh://board?python=bare", net_pack)


def test_a_full_disk_is_told_and_nothing_stays(board, net_pack):
    board.behave("ulimit -f 8")
    with pytest.raises(DeviceError, match="its disk is full"):
        run(f"ssh://board{CANNED}", net_pack)
    assert not board.left


def test_a_disk_that_fills_while_the_pack_runs_is_told(board, net_pack):
    text = "#!/bin/sh\n[ $1 = -c ] || { echo 'OSError: No space left on device' >&2; exit 1; }\n"
    board.install("full", text)
    with pytest.raises(DeviceError, match="its disk is full"):
        run("ssh://board?python=full", net_pack)
    assert not board.left


def test_no_folder_for_files_is_told(board, net_pack):
    board.behave("export TMPDIR=/nowhere")
    with pytest.raises(DeviceError, match="does not do what it is asked"):
        run(f"ssh://board{CANNED}", net_pack)


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        ("pi@board: Permission denied (publickey).", "refused the key"),
        ("Host key verification failed.", "host key"),
        ("ssh: Could not resolve hostname board: Name or service not known", "no host"),
        ("ssh: connect to host board port 22: Connection refused", "cannot be reached"),
        ("ssh: connect to host board port 22: Connection timed out", "cannot be reached"),
        ("Connection closed by 192.0.2.1 port 22", "connection was lost"),
        ("client_loop: send disconnect: Broken pipe", "connection was lost"),
        ("kex_exchange_identification: odd", "ssh failed: kex_exchange_identification: odd"),
    ],
)
def test_what_ssh_complains_about_is_told_in_words(board, net_pack, complaint, said):
    board.install("ssh", f"#!/bin/sh\necho {shlex.quote(complaint)} >&2\nexit 255\n")
    with pytest.raises(DeviceError, match=said) as told:
        run("ssh://board", net_pack)
    assert told.value.remedy


def test_a_connection_lost_on_the_way_names_what_is_left(board, net_pack):
    board.behave(
        'case "$*" in *runner.py*--output*) touch "$HOME/gone";; esac\n'
        '[ -e "$HOME/gone" ] && { echo "client_loop: send disconnect: Broken pipe" >&2; exit 255; }'
    )
    with pytest.raises(DeviceError, match=r"connection was lost; also .*edgeq\.\w+ could not be"):
        run(f"ssh://board{CANNED}", net_pack)
    (board.home / "gone").unlink()
    board.behave("")
    assert run(f"ssh://board{CANNED}", net_pack).passed


@pytest.mark.parametrize(
    "name", ["a;touch evil", "$(touch evil)", "`touch evil`", "a' ; touch evil '", "a&touch evil"]
)
def test_shell_characters_in_an_interpreter_stay_characters(board, net_pack, name):
    with pytest.raises(DeviceError, match="cannot import"):
        run(f"ssh://board?python={quote(name)}", net_pack)
    assert not board.left


def test_a_device_cannot_make_us_remove_other_things(board, net_pack):
    board.install("mktemp", "#!/bin/sh\necho '/home; rm -rf /'\n")
    with pytest.raises(DeviceError, match="folder of a strange name"):
        run(f"ssh://board{CANNED}", net_pack)


def test_a_hostile_pack_never_reaches_the_device(board, rewritten):
    board.install("ssh", f"#!/bin/sh\ntouch {board.home}/reached\n")
    with pytest.raises(DataError):
        run("ssh://board", rewritten(lambda entries: entries.update({"$(evil)": b""})))
    assert not board.left


def test_no_ssh_is_told(net_pack, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="cannot run ssh"):
        run("ssh://board", net_pack)


FAKE_PYTHON = """#!/bin/sh
# Makes "environments" that are this Python; pip writes down what it should install.
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip") echo "$*" >> "$HOME/asked"; {pip} ;;
"-c "*) [ -e "$HOME/asked" ] && exec {python} "$@"; exit 1 ;;
*) exec {python} "$@" ;;
esac
"""


def test_an_environment_is_made_there_once(board, net_pack):
    text = FAKE_PYTHON.format(python="canned", pip="true")
    board.install("python3", text)
    for _ in range(2):
        assert edgeq.run("ssh://board", net_pack, options=QUICK, setup_python=True).passed
    (asked,) = (board.home / "asked").read_text().splitlines()
    assert asked.startswith("-m pip install -q numpy onnxruntime==")
    assert (board.home / ".cache/edgeq/venv/bin/python").is_file()
    assert not list(board.temporary.iterdir())


def test_an_environment_that_cannot_be_made_leaves_nothing(board, net_pack):
    board.install("python3", FAKE_PYTHON.format(python="false", pip="echo no index >&2; exit 1"))
    with pytest.raises(DeviceError, match="environment could not be made there: no index"):
        edgeq.run("ssh://board", net_pack, options=QUICK, setup_python=True)
    assert not (board.home / ".cache/edgeq/venv").exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real server on loopback: port, and the configuration for the client."""
    if SSHD is None or shutil.which("ssh-keygen") is None or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH's server")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user", "other"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(words, check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"],
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        _await(port, process)
        yield folder, port
    finally:
        process.terminate()
        process.wait()


def _await(port, process):
    end = time.monotonic() + 10
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.skip("OpenSSH's server does not start here")


@pytest.fixture
def client(server, tmp_path, monkeypatch):
    """Has ``ssh`` use a key of ours; returns the address of the server."""
    folder, port = server

    def configure(key="user", known=True):
        (tmp_path / "known").write_text(
            f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}" if known else ""
        )
        (tmp_path / "config").write_text(
            f"IdentityFile {folder}/{key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {tmp_path}/known\nGlobalKnownHostsFile none\n"
            "StrictHostKeyChecking yes\n"
        )
        real = shutil.which("ssh", path=os.environ["PATH"].removeprefix(f"{tmp_path}{os.pathsep}"))
        (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec {real} -F {tmp_path}/config "$@"\n')
        (tmp_path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return f"ssh://127.0.0.1:{port}{PYTHON}"

    return configure


def folders():
    return {each for each in Path("/tmp").glob("edgeq.*") if each.is_dir()}


def test_a_real_server_runs_packs_and_keeps_nothing(client, net_pack):
    before = folders()
    assert run(client(), net_pack).passed
    assert folders() <= before


@pytest.mark.parametrize(
    ("signal", "said"), [("ALRM", "did not finish within 120 s"), ("KILL", "out of memory")]
)
def test_a_runner_that_a_real_server_ends_is_told(client, net_pack, tmp_path, signal, said):
    dies = tmp_path / "dies"
    dies.write_text(f'#!/bin/sh\n[ "$1" = -c ] || kill -{signal} $$\n')
    dies.chmod(0o755)
    address = client().replace(PYTHON, f"?python={quote(str(dies))}")
    with pytest.raises(DeviceError, match=said):
        run(address, net_pack)


def test_a_real_server_that_refuses_the_key_is_told(client, net_pack):
    with pytest.raises(DeviceError, match="refused the key"):
        run(client(key="other"), net_pack)


def test_a_real_server_that_nobody_knows_is_told(client, net_pack):
    with pytest.raises(DeviceError, match="host key is unknown"):
        run(client(known=False), net_pack)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")
def test_nobody_listening_is_told(net_pack):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # Held but not listening: connections are refused.
        with pytest.raises(DeviceError, match="cannot be reached"):
            run(f"ssh://127.0.0.1:{held.getsockname()[1]}", net_pack)
