"""Building roots: with stand-ins for apt, dpkg, pip and npm, so that nothing is downloaded."""

import json
import platform
import zipfile

import pytest

from edgeq.api import running
from edgeq.device import cache, debian, devices, setup
from edgeq.errors import DeviceError

APT = """#!/bin/sh
echo "$@" >> "$ASKED"
case "$*" in
*indextargets*)
    echo 'http://archive.test/other|bullseye|main'
    echo 'http://archive.test/debian|bookworm|main' ;;
*update*) {update} ;;
*download*)
    for each; do :; done
    for package in libc6 qemu-user python3.11-minimal; do
        case "$*" in *$package*) : > "${{package}}_1%3a2.0_arm64.deb" ;; esac
    done ;;
esac
"""

DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin"
for name in qemu-aarch64 qemu-x86_64 python3.11; do
    printf '#!/bin/sh\\n{emulated}\\n' > "$3/usr/bin/$name"
    chmod 755 "$3/usr/bin/$name"
done
"""

PIP = """#!/bin/sh
echo "$@" >> "$ASKED"
while [ "$1" != -d ]; do shift; done
mkdir -p "$2" && cp {wheel} "$2"
"""

NPM = """#!/bin/sh
echo "$@" >> "$ASKED"
case "$*" in *onnxruntime-web@*) {same} ;; esac
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/onnxruntime-web"
echo '{{"version": "9.9.9"}}' > "$2/node_modules/onnxruntime-web/package.json"
"""


class Tools:
    """Stand-ins on the PATH, and what they were asked."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "asked"
        wheel = folder / "onnxruntime-7.7.7-cp311-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("onnxruntime/__init__.py", "")
        self.install("apt-get", APT.format(update="true"))
        self.install("dpkg", DPKG.format(emulated="exit 0"))
        self.install("python", PIP.format(wheel=wheel))
        self.install("npm", NPM.format(same="true"))

    def install(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    @property
    def asked(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def tools(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    made = Tools(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(made.folder), prepend=":")
    monkeypatch.setenv("ASKED", str(made.log))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(setup.sys, "executable", str(made.folder / "python"))
    monkeypatch.setattr(debian, "_codename", lambda: "bookworm")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(running, "version", lambda name: "7.7.7")
    return made


def test_an_arm64_root_is_built_once_of_what_this_machine_is_set_up_for(tools):
    versions = running.set_up("qemu://arm64")
    assert versions["onnxruntime"] == "7.7.7"
    assert versions["qemu-user"] == "1:2.0"
    assert (cache.home() / "arm64/site/onnxruntime/__init__.py").is_file()
    assert (cache.home() / "qemu/qemu-aarch64").is_file()
    count = len(tools.asked)
    assert running.set_up("qemu://arm64") == versions
    assert len(tools.asked) == count


def test_the_emulated_runtime_is_the_one_of_this_machine(tools, monkeypatch):
    running.set_up("qemu://arm64")
    assert any("onnxruntime==7.7.7" in line and "aarch64" in line for line in tools.asked)
    monkeypatch.setattr(running, "version", lambda name: "8.8.8")
    running.set_up("qemu://arm64")
    assert any("onnxruntime==8.8.8" in line for line in tools.asked)


def test_apt_gets_a_configuration_of_its_own(tools):
    running.set_up("qemu://x86-avx2")
    for line in tools.asked:
        if "update" in line or "download" in line:
            assert "Dir::State::Lists=" in line
            assert "Dir::Etc::SourceParts=/dev/null" in line


@pytest.mark.parametrize("device", ["qemu://arm64", "qemu://x86-avx2"])
def test_no_network_is_told_and_nothing_is_left(tools, device):
    tools.install("apt-get", APT.format(update="echo 'E: Could not connect' >&2; exit 100"))
    with pytest.raises(DeviceError, match="apt-get failed: Could not connect"):
        running.set_up(device)
    assert not cache.home().exists() or not list(cache.home().iterdir())


def test_a_root_that_does_not_run_is_not_kept(tools):
    tools.install("dpkg", DPKG.format(emulated="exit 1"))
    with pytest.raises(DeviceError, match="root that was built does not run"):
        running.set_up("qemu://arm64")
    assert cache.versions(cache.ARM64) is None


def test_no_wheel_is_told(tools):
    tools.install("python", "#!/bin/sh\necho 'ERROR: No matching distribution' >&2; exit 1\n")
    with pytest.raises(DeviceError, match="No matching distribution"):
        running.set_up("qemu://arm64")
    assert cache.versions(cache.ARM64) is None


def test_another_processor_is_told(tools, monkeypatch):
    monkeypatch.setattr(devices.platform, "machine", lambda: "riscv64")
    with pytest.raises(DeviceError, match="x86-64 only, this is Linux riscv64"):
        running.set_up("qemu://x86-avx2")


def test_no_debian_source_is_told(tools):
    tools.install("apt-get", "#!/bin/sh\n")
    with pytest.raises(DeviceError, match="no source of bookworm main"):
        running.set_up("qemu://arm64")


def test_the_web_runtime_of_the_same_version_is_asked_for_first(tools):
    assert running.set_up("wasm://node")["onnxruntime-web"] == "9.9.9"
    assert tools.asked[0].endswith("onnxruntime-web@7.7.7")
    assert len(tools.asked) == 1
    package = json.loads((cache.home() / "node/package.json").read_text())
    assert package == {"private": True}


def test_the_newest_web_runtime_is_taken_where_there_is_no_such_version(tools):
    tools.install("npm", NPM.format(same="exit 1"))
    running.set_up("wasm://node")
    assert [line.split()[-1] for line in tools.asked] == [
        "onnxruntime-web@7.7.7",
        "onnxruntime-web",
    ]


def test_no_npm_is_told(tools, monkeypatch):
    monkeypatch.setenv("PATH", str(tools.folder / "nowhere"))
    with pytest.raises(DeviceError, match="cannot run npm"):
        running.set_up("wasm://node")
    assert cache.versions(cache.NODE) is None
