"""Recordings are fed as float32 within [-1, 1), shaped for the input."""

import struct
import wave

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError


def spec(*shape):
    return InputSpec("x", np.dtype(np.float32), shape)


ANY = spec("n", "length")


def write(path, frames, bits=16, rate=16000):
    """Write integer frames, shape [frames, channels]."""
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(frames.shape[1])
        stream.setsampwidth(bits // 8)
        stream.setframerate(rate)
        wide = (frames + (128 if bits == 8 else 0)).astype("<i8").tobytes()
        size = bits // 8
        stream.writeframes(b"".join(wide[i : i + size] for i in range(0, len(wide), 8)))


def ramp(length=4, channels=1):
    return np.arange(length * channels).reshape(length, channels)


def riff(path, header, data):
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def toml(folder, text):
    (folder / "calib.toml").write_text(text)


def only(folder, *inputs):
    (sample,) = open_source(folder, inputs)
    return sample["x"]


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_pcm_is_scaled_to_within_one(tmp_path, bits, data):
    full = 1 << (bits - 1)
    numbers = data.draw(st.lists(st.integers(-full, full - 1), min_size=1, max_size=5))
    write(tmp_path / "a.wav", np.array([[-full], [full - 1], *([n] for n in numbers)]), bits)
    fed = only(tmp_path, ANY)
    assert fed.dtype == np.float32
    assert fed.min() == -1
    assert fed.max() < 1
    assert np.allclose(fed[0, 2:] * full, numbers, rtol=1e-6, atol=0)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", [32, 64])
def test_float_is_read_as_it_is(tmp_path, bits, extensible):
    size = bits // 8
    code = 0xFFFE if extensible else 3
    header = struct.pack("<HHIIHH", code, 1, 16000, 16000 * size, size, bits)
    if extensible:
        header += struct.pack("<HHIH14x", 22, bits, 0, 3)
    riff(tmp_path / "a.wav", header, np.array([0.5, -0.25], f"<f{size}").tobytes())
    assert only(tmp_path, ANY).tolist() == [[0.5, -0.25]]


@pytest.mark.parametrize(
    ("shape", "fed"),
    [
        (("length",), (4,)),
        (("n", "length"), (1, 4)),
        (("n", 1, "length"), (1, 1, 4)),
        (("n", "length", 1), (1, 4, 1)),
        (("n", "c", "length"), (1, 1, 4)),
        ((1, 6), (1, 6)),
        ((1, 3), (1, 3)),
        (None, (1, 4)),
    ],
)
def test_the_shape_fits_the_rank_of_the_input(tmp_path, shape, fed):
    write(tmp_path / "a.wav", ramp())
    assert only(tmp_path, InputSpec("x", np.dtype(np.float32), shape)).shape == fed


def test_short_recordings_end_in_silence_and_long_ones_are_cut(tmp_path):
    write(tmp_path / "a.wav", ramp(2) + 1)
    write(tmp_path / "b.wav", ramp(9) + 1)
    source = open_source(tmp_path, [spec(1, 4)])
    short, long = (sample["x"][0] * 32768 for sample in source)
    assert short.tolist() == [1, 2, 0, 0]
    assert long.tolist() == [1, 2, 3, 4]
    said = " ".join(source.assumptions)
    for word in ("cut after 4", "silence", "16000", "mixed to one"):
        assert word in said


def test_stereo_is_mixed_to_mono_unless_the_input_has_two_channels(tmp_path):
    write(tmp_path / "a.wav", ramp(4, 2))
    assert (only(tmp_path, ANY) * 32768).tolist() == [[0.5, 2.5, 4.5, 6.5]]
    fed = only(tmp_path, spec("n", 2, "length")) * 32768
    assert fed.tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7]]]


def test_calib_toml_says_channels_and_length(tmp_path):
    write(tmp_path / "a.wav", ramp(4))
    toml(tmp_path, 'input="x"\n[audio]\nchannels=2\nlength=3\nrate=16000')
    source = open_source(tmp_path, [spec("n", "c", "length")])
    assert next(iter(source))["x"].shape == (1, 2, 3)
    assert source.assumptions[1:] == (
        "Input 'x': recordings are cut after 3 frames, shorter ones end in silence",
    )
    assert source.description.endswith("(calib.toml)")


def test_recordings_of_different_rates_are_refused_with_both_rates(tmp_path):
    write(tmp_path / "a.wav", ramp(), rate=16000)
    write(tmp_path / "b.wav", ramp(), rate=8000)
    with pytest.raises(DataError, match=r"b\.wav.*8000.*16000.*\[audio\]"):
        list(open_source(tmp_path, [ANY]))


def test_a_rate_in_calib_toml_asks_for_resampling(tmp_path):
    write(tmp_path / "a.wav", ramp(4), rate=8000)
    toml(tmp_path, "[audio]\nrate=16000")
    source = open_source(tmp_path, [ANY])
    (sample,) = source
    assert (sample["x"] * 32768).tolist() == [[0, 0.5, 1, 1.5, 2, 2.5, 3, 3]]
    assert "linear interpolation" in source.assumptions[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[audio]\nrat=1", r"\[audio\].*'rat'.*'rate'"),
        ("[audio]\nrate=0", "integer above 0"),
        ("mean=1", "unknown key 'mean'"),
        ("input='y'", "no input 'y'"),
    ],
)
def test_a_mistake_in_calib_toml_is_named(tmp_path, text, said):
    write(tmp_path / "a.wav", ramp())
    toml(tmp_path, text)
    with pytest.raises(DataError, match=said):
        open_source(tmp_path, [ANY])


def test_channels_that_cannot_be_made_are_named(tmp_path):
    write(tmp_path / "a.wav", ramp(4, 3))
    with pytest.raises(DataError, match=r"a\.wav.*3 channels, 2 are wanted"):
        list(open_source(tmp_path, [spec(1, 2, "length")]))
    toml(tmp_path, "[audio]\nchannels=3")
    with pytest.raises(DataError, match="one dimension only"):
        open_source(tmp_path, [spec("length")])


def test_a_spectrogram_input_takes_no_sound(tmp_path):
    write(tmp_path / "a.wav", ramp())
    with pytest.raises(DataError, match="spectrogram"):
        open_source(tmp_path, [spec(1, 1, 80, 100)])


def test_sound_feeds_one_input_only(tmp_path):
    write(tmp_path / "a.wav", ramp())
    with pytest.raises(DataError, match=r"the model has 2: x, sr.*\.npz"):
        open_source(tmp_path, [ANY, InputSpec("sr", np.dtype(np.int64), ())])


@pytest.mark.parametrize("keep", [0, 11, 30, 46])
def test_a_truncated_recording_is_named(tmp_path, keep):
    write(tmp_path / "a.wav", ramp(9))
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"b\.wav: the sound cannot be read"):
        list(open_source(tmp_path, [ANY]))


def test_other_encodings_are_refused(tmp_path):
    riff(tmp_path / "a.wav", struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8), bytes(4))
    with pytest.raises(DataError, match=r"encoding 7 with 8 bits.*Save it as PCM"):
        open_source(tmp_path, [ANY])


def test_labels_come_from_a_table_or_class_folders(tmp_path):
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.wav", ramp())
    source = open_source(tmp_path, [ANY])
    assert source.labels["class"].tolist() == ["no", "yes"]
    (tmp_path / "labels.csv").write_text("no/a.wav,3\nyes/a.wav,4")
    assert open_source(tmp_path, [ANY]).labels["label"].tolist() == [3, 4]
