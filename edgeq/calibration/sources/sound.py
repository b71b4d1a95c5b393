"""A folder of .wav files, read as ``[audio]`` in ``calib.toml`` says or as the input suggests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.sources.check import shape_text
from edgeq.calibration.sources.folders import Folder, spread
from edgeq.calibration.sources.labels import file_labels, label_assumptions
from edgeq.calibration.sources.reading import Kind, RawSample, Reading, counted, picked
from edgeq.calibration.sources.riff import read_wav
from edgeq.calibration.sources.settings import Table, described, load_settings
from edgeq.errors import DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.calibration.sources.reading import InputSpec
    from edgeq.types import FloatArray

SUFFIXES = frozenset({".wav"})


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How sound feeds an input.

    Attributes:
        input: Name of the input.
        rank: Dimensions of the tensor, 1 to 3.
        channels_last: Whether a tensor of rank 3 is [1, length, channels].
        rate: Frames a second of the tensor.
        resample: Whether recordings of another rate are resampled or refused.
        channels: Channels of the tensor.
        length: Frames of the tensor; None for all of the recording.
    """

    input: str
    rank: int
    channels_last: bool
    rate: int
    resample: bool
    channels: int
    length: int | None


def _recognises(data: object) -> bool:
    return isinstance(data, Folder) and bool(data.nested(SUFFIXES))


def _open(folder: Folder, inputs: Sequence[InputSpec], limit: int | None) -> Reading:
    found = folder.nested(SUFFIXES)
    files = spread(found, limit)
    settings = load_settings(folder)
    native = read_wav(folder.path / files[0]).rate
    form, assumptions = _format(settings, inputs, native)

    def pick(index: int) -> RawSample:
        path = folder.path / files[index]
        return RawSample(str(path), {form.input: tensor(path, form)})

    return Reading(
        description=f"{counted(len(found), limit, 'recording')} in {described(folder, settings)}",
        read=picked(pick, len(files)),
        length=len(files),
        pick=pick,
        ahead=True,
        assumptions=(*assumptions, *label_assumptions(folder, files)),
        labels=lambda: file_labels(folder, files),
    )


def tensor(path: Path, form: SoundFormat) -> FloatArray:
    """Read a recording as the input takes it.

    Returns:
        float32 within [-1, 1): [length], [1, length] (or [channels, length]), [1, channels,
        length] or [1, length, channels].

    Raises:
        DataError: The file is damaged, or has another rate or other channels than asked for.
    """
    sound = read_wav(path)
    if sound.rate != form.rate and not form.resample:
        raise DataError(
            f"the recording has {sound.rate} frames a second, the first one has {form.rate}",
            where=str(path),
            remedy="Convert all to the rate of the model, or set rate below [audio] in calib.toml "
            "to have them resampled",
        )
    mixed = _mixed(sound.frames, form.channels, path)
    cut = _cut(_resampled(mixed, sound.rate, form.rate), form.length)
    if form.rank == 1:
        return cut[:, 0]
    if form.rank == 2:
        return np.ascontiguousarray(cut.T)
    return np.ascontiguousarray(cut if form.channels_last else cut.T)[None]


def _mixed(frames: FloatArray, channels: int, path: Path) -> FloatArray:
    if frames.shape[1] == channels:
        return frames
    if channels == 1:
        mono: FloatArray = frames.mean(axis=1, keepdims=True, dtype=np.float32)
        return mono
    if frames.shape[1] == 1:
        return np.repeat(frames, channels, axis=1)
    raise DataError(
        f"the recording has {frames.shape[1]} channels, {channels} are wanted",
        where=str(path),
        remedy="Convert it, or set channels below [audio] in calib.toml",
    )


def _resampled(frames: FloatArray, rate: int, wanted: int) -> FloatArray:
    if rate == wanted or not len(frames):
        return frames
    times = np.arange(max(1, round(len(frames) * wanted / rate))) * (rate / wanted)
    known = np.arange(len(frames))
    columns = [np.interp(times, known, column) for column in frames.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _cut(frames: FloatArray, length: int | None) -> FloatArray:
    if length is None or len(frames) == length:
        return frames
    if len(frames) > length:
        return frames[:length]
    return np.pad(frames, ((0, length - len(frames)), (0, 0)))


def _format(
    settings: Table, inputs: Sequence[InputSpec], native: int
) -> tuple[SoundFormat, tuple[str, ...]]:
    settings.only(("input", "audio"))
    audio = settings.table("audio") or Table({}, settings.where)
    audio.only(("rate", "channels", "length"))
    spec = _input(settings, inputs)
    rank, last, channels, length = _dims(spec, settings.where)
    rate = audio.count("rate")
    form = SoundFormat(
        input=spec.name,
        rank=rank,
        channels_last=last,
        rate=rate or native,
        resample=rate is not None,
        channels=audio.count("channels") or channels or 1,
        length=audio.count("length") or length,
    )
    if form.rank == 1 and form.channels != 1:
        raise audio.wrong("channels", f"1, input {spec.name!r} has one dimension only")
    return form, _assumed(audio, form, native)


def _input(settings: Table, inputs: Sequence[InputSpec]) -> InputSpec:
    name = settings.text("input") or inputs[0].name
    by_name = {spec.name: spec for spec in inputs}
    if name not in by_name:
        raise DataError(
            f"the model has no input {name!r}", where=settings.where, remedy=nearest(name, by_name)
        )
    if len(inputs) != 1:
        raise DataError(
            f"sound feeds one input, the model has {len(inputs)}: {', '.join(by_name)}",
            where=settings.where,
            remedy="Save samples as .npz with an array for each input",
        )
    return by_name[name]


def _dims(spec: InputSpec, where: str) -> tuple[int, bool, int | None, int | None]:
    """Rank, whether channels come last, and the channels and length that the shape fixes."""
    shape = (None, None) if spec.shape is None else spec.shape
    if len(shape) not in (1, 2, 3):
        raise DataError(
            f"input {spec.name!r} has shape {shape_text(shape)}, which takes no sound as it is",
            where=where,
            remedy="If it takes a spectrogram, save that as .npy or .npz",
        )
    last = len(shape) == 3 and shape[2] in (1, 2) and shape[1] not in (1, 2)
    length = shape[1] if last else shape[-1]
    channels = shape[2 if last else 1] if len(shape) == 3 else None
    return (
        len(shape),
        last,
        channels if isinstance(channels, int) else None,
        length if isinstance(length, int) else None,
    )


def _assumed(audio: Table, form: SoundFormat, native: int) -> tuple[str, ...]:
    start = f"Input {form.input!r}: "
    said: list[str] = []
    if form.resample:
        said.append(
            f"recordings of another rate are brought to {form.rate} frames a second by linear "
            "interpolation"
        )
    else:
        said.append(f"recordings are fed at their own rate of {native} frames a second")
    if "channels" not in audio.values:
        said.append("channels are mixed to one" if form.channels == 1 else "channels are kept")
    if form.length is not None:
        said.append(f"recordings are cut after {form.length} frames, shorter ones end in silence")
    return tuple(f"{start}{sentence}" for sentence in said)


KIND = Kind(
    accepts="a folder of .wav files",
    recognises=_recognises,
    open=_open,
)
