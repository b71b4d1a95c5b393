"""Packs of small models."""

import zipfile

import models
import pytest
from editing import rehash

import edgeq


@pytest.fixture(scope="session")
def int8_net(tmp_path_factory):
    """The path of a quantized ``conv_net``."""
    folder = tmp_path_factory.mktemp("int8")
    result = edgeq.quantize(models.conv_net(), models.images(8), validate=False)
    result.save(folder / "net.onnx")
    return folder / "net.onnx"


@pytest.fixture(scope="session")
def net_pack(int8_net):
    """A pack of it with 3 samples."""
    path = int8_net.with_name("net.edgeq.zip")
    edgeq.pack(int8_net, models.images(3), path)
    return path


@pytest.fixture(scope="session")
def float_pack(tmp_path_factory):
    """A pack of a float network, with 2 samples."""
    path = tmp_path_factory.mktemp("float") / "mlp.edgeq.zip"
    edgeq.pack(models.mlp(), models.rows(2), path)
    return path


@pytest.fixture(scope="session")
def newer_pack(tmp_path_factory):
    """A pack of a network that needs onnxruntime 1.21, with 2 samples."""
    path = tmp_path_factory.mktemp("newer") / "mlp.edgeq.zip"
    edgeq.pack(models.mlp(opset=22), models.rows(2), path)
    return path


@pytest.fixture
def rewritten(tmp_path, net_pack):
    """Makes a changed copy of the pack: ``change(entries)`` edits name -> bytes in place."""

    def make(change, *, hashes=True):
        with zipfile.ZipFile(net_pack) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        change(entries)
        if hashes:
            rehash(entries)
        path = tmp_path / "changed.edgeq.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        return path

    return make
