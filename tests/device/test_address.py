"""Addresses of devices."""

import pytest

from edgeq.device.address import parse
from edgeq.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "scheme", "host", "options"),
    [
        ("local", "local", "", {}),
        ("ssh://pi@board.local:2222", "ssh", "pi@board.local:2222", {}),
        ("ssh://board?python=/opt/my env/python", "ssh", "board", {"python": "/opt/my env/python"}),
        ("ssh://pi@[fe80::1]:22", "ssh", "pi@[fe80::1]:22", {}),
        ("adb://", "adb", "", {}),
        ("adb://emulator-5554", "adb", "emulator-5554", {}),
        ("adb://192.0.2.1:5555", "adb", "192.0.2.1:5555", {}),
        ("qemu://arm64?cpu=cortex-a53", "qemu", "arm64", {"cpu": "cortex-a53"}),
        ("qemu://x86-avx2", "qemu", "x86-avx2", {}),
        ("wasm://node", "wasm", "node", {}),
        ("qnn://htp-sim", "qnn", "htp-sim", {}),
    ],
)
def test_addresses_are_read(text, scheme, host, options):
    found = parse(text)
    assert (found.scheme, found.host, dict(found.options)) == (scheme, host, options)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all",
        "board",
        "http://board",
        "ssh://",
        "ssh://-oProxyCommand=evil",
        "ssh://-l@board",
        "ssh://a;b",
        "ssh://a b",
        "ssh://$(evil)",
        "ssh://user@host/path",
        "ssh://user:secret@host",
        "ssh://host?python=-c",
        "ssh://host?python=",
        "ssh://host?python=a%0Ab",
        "ssh://host?python=a&python=b",
        "ssh://host?shell=sh",
        "adb://-s",
        "adb://a b",
        "qemu://mips",
        "qemu://arm64?cpu=z80",
        "qemu://x86-avx2?cpu=max",
        "wasm://deno",
        "ssh://[::1",
        "local://",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(DeviceError) as told:
        parse(text)
    assert told.value.remedy


def test_the_nearest_name_is_suggested():
    with pytest.raises(DeviceError, match="cortex-a76"):
        parse("qemu://arm64?cpu=cortex-a75")
    with pytest.raises(DeviceError, match="'qemu'"):
        parse("qem://arm64")
