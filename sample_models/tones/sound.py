"""Synthesis of telephone tones, sirens and alarms in bad conditions, and their features.

Needs only numpy. Every clip comes from its own seed, so that clip i of a set is always the same.
"""

from dataclasses import dataclass

import numpy as np

RATE = 8000
FRAME, HOP, FRAMES, BANDS = 512, 320, 100, 32
SAMPLES = FRAME + HOP * (FRAMES - 1)
# Transforms are fast at powers of two: one that holds a clip, one that holds it with its echo.
CLIP_SIZE, ECHO_SIZE = 1 << 15, 1 << 16
LEAST_SOUND = 0.3
SILENCE: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cadence:
    """A pattern of steps that repeats.

    Attributes:
        steps: The length of each step in seconds and the frequencies that sound in it, in Hz.
        spread: How far all frequencies may be off together, as a fraction.
    """

    steps: tuple[tuple[float, tuple[float, ...]], ...]
    spread: float = 0.04


@dataclass(frozen=True)
class Sweep:
    """A tone whose frequency glides up and down between two limits in Hz."""

    low: float
    high: float
    period: float


# Beepers are built for any pitch, and so only the cadence tells the last three cadences apart.
BEEP = (2000.0,)
SIGNALS: dict[str, Cadence | Sweep | None] = {
    "nothing": None,
    "dial": Cadence(((1.0, (350, 440)),)),
    "busy": Cadence(((0.5, (480, 620)), (0.5, SILENCE))),
    "congestion": Cadence(((0.25, (480, 620)), (0.25, SILENCE))),
    "ringing": Cadence(((0.4, (400, 450)), (0.2, SILENCE), (0.4, (400, 450)), (2.0, SILENCE))),
    "fax": Cadence(((0.5, (1100,)), (3.0, SILENCE))),
    "two_tone_siren": Cadence(((0.5, (440,)), (0.5, (585,))), spread=0.2),
    "wail_siren": Sweep(600, 1400, 4.0),
    "yelp_siren": Sweep(600, 1400, 0.35),
    "smoke_alarm": Cadence(((0.5, BEEP), (0.5, SILENCE)) * 2 + ((0.5, BEEP), (1.5, SILENCE)), 0.5),
    "gas_alarm": Cadence(((0.1, BEEP), (0.1, SILENCE)) * 3 + ((0.1, BEEP), (5.0, SILENCE)), 0.5),
    "reversing": Cadence(((0.5, BEEP), (0.5, SILENCE)), 0.5),
}


def _lay_out(
    steps: tuple[tuple[float, tuple[float, ...]], ...], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return which step sounds at each sample, and the fade at the borders of the steps."""
    tempo = random.uniform(0.85, 1.15)
    phase = random.uniform(0, sum(length for length, _ in steps) * tempo)
    chosen: list[np.ndarray] = []
    missing = round(phase * RATE) + SAMPLES
    while missing > 0:
        for i, (length, _) in enumerate(steps):
            count = round(length * tempo * random.uniform(0.94, 1.06) * RATE)
            chosen.append(np.full(count, i))
            missing -= count
    index = np.concatenate(chosen)[round(phase * RATE) :][:SAMPLES]
    edges = np.concatenate([[False], index[1:] != index[:-1]])
    distance = np.convolve(edges, np.hanning(65), "same")
    return index, 1 - np.clip(distance, 0, 1)


def _play(cadence: Cadence, random: np.random.Generator) -> np.ndarray:
    """Return a cadence from a random place on, with tempo and pitch a little off."""
    tuning = random.uniform(1 - cadence.spread, 1 + cadence.spread)
    while True:
        index, fade = _lay_out(cadence.steps, random)
        audible = np.isin(index, [i for i, (_, notes) in enumerate(cadence.steps) if notes])
        if audible.sum() >= LEAST_SOUND * RATE:
            break
    seconds = np.arange(SAMPLES) / RATE
    clip = np.zeros(SAMPLES)
    for i, (_, notes) in enumerate(cadence.steps):
        for note in notes:
            turns = note * tuning * seconds + random.uniform()
            clip += (index == i) * np.sin(2 * np.pi * turns) * random.uniform(0.6, 1)
    return np.asarray(clip * fade)


def _glide(sweep: Sweep, random: np.random.Generator) -> np.ndarray:
    """Return a siren from a random place on."""
    turns = np.arange(SAMPLES) / RATE / (sweep.period * random.uniform(0.8, 1.25))
    position = 0.5 - 0.5 * np.cos(2 * np.pi * (turns + random.uniform()))
    octaves = np.log2(sweep.high / sweep.low) * random.uniform(0.8, 1.1)
    frequency = sweep.low * random.uniform(0.9, 1.1) * 2 ** (octaves * position)
    return np.sin(2 * np.pi * np.cumsum(frequency) / RATE)


def _mislead(random: np.random.Generator) -> np.ndarray:
    """Return notes of random pitch and length, with pauses: a melody, no signal."""
    clip = np.zeros(SAMPLES)
    place = 0
    while place < SAMPLES:
        length = int(random.uniform(0.15, 0.9) * RATE)
        span = min(length, SAMPLES - place)
        if random.uniform() < 0.6:
            frequency = 300 * 2 ** random.uniform(0, 3.4)
            note = np.sin(2 * np.pi * frequency * np.arange(span) / RATE)
            clip[place : place + span] = note * random.uniform(0.3, 1)
        place += length
    return clip


def _echo(clip: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a clip as a room sounds it: an impulse and a decaying tail of noise."""
    decay = random.uniform(0.03, 0.35)
    seconds = np.arange(int(decay * 3 * RATE)) / RATE
    response = random.standard_normal(len(seconds)) * np.exp(-3 * seconds / decay)
    response *= random.uniform(0.0, 1.0) / np.linalg.norm(response)
    response[0] += 1
    spectrum = np.fft.rfft(clip, ECHO_SIZE) * np.fft.rfft(response, ECHO_SIZE)
    return np.fft.irfft(spectrum, ECHO_SIZE)[:SAMPLES]


def _make_noise(random: np.random.Generator) -> np.ndarray:
    """Return noise between white and brown, whose level drifts, with mains hum in it."""
    spectrum = np.fft.rfft(random.standard_normal(CLIP_SIZE))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** random.uniform(0, 0.8)
    noise = np.fft.irfft(spectrum, CLIP_SIZE)[:SAMPLES]
    seconds = np.arange(SAMPLES) / RATE
    drift = np.sin(2 * np.pi * (random.uniform(0.1, 1.5) * seconds + random.uniform()))
    noise *= 1 + random.uniform(0, 0.7) * drift
    noise /= np.sqrt(np.mean(noise**2))
    mains = random.choice([50, 60])
    for harmonic in range(1, 8):
        level = random.uniform(0, 0.4) / harmonic
        noise += level * np.sin(2 * np.pi * (mains * harmonic * seconds + random.uniform()))
    return noise


def synthesize(signal: str, random: np.random.Generator) -> np.ndarray:
    """Make one clip of a signal, with echo, noise, interruptions and an unknown level.

    Args:
        signal: A key of `SIGNALS`.
        random: The source of randomness.

    Returns:
        `SAMPLES` samples at `RATE`.
    """
    source = SIGNALS[signal]
    if isinstance(source, Cadence):
        clip = _play(source, random)
    elif isinstance(source, Sweep):
        clip = _glide(source, random)
    else:
        clip = _mislead(random) * float(random.uniform() < 0.7)
    clip = _echo(clip, random)
    if random.uniform() < 0.3:
        clip += _mislead(random) * random.uniform(0.1, 0.5)
    decibels = random.uniform(-5, 18)
    clip += _make_noise(random) * 0.7 * 10 ** (-decibels / 20)
    for _ in range(random.integers(0, 6)):
        start = random.integers(0, SAMPLES)
        clip[start : start + random.integers(160, 800)] *= 0.05
    if random.uniform() < 0.2:
        limit = random.uniform(0.3, 0.9)
        clip = np.clip(clip, -limit, limit)
    return np.asarray(clip * 10 ** (random.uniform(-35, 0) / 20))


def _make_filters() -> np.ndarray:
    """Return triangular filters on the mel scale, [FRAME // 2 + 1, BANDS]."""

    def mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    mels = np.linspace(mel(200), mel(RATE / 2), BANDS + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(FRAME // 2 + 1)[:, None] * RATE / FRAME
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))


FILTERS = _make_filters()


def extract_features(clip: np.ndarray) -> np.ndarray:
    """Return the level in each mel band over time.

    Args:
        clip: `SAMPLES` samples.

    Returns:
        float32 [BANDS, FRAMES]: decibels, rounded to whole ones as the fixed-point front end of a
        small device delivers them, divided by 16.
    """
    starts = np.arange(FRAMES)[:, None] * HOP
    frames = clip[starts + np.arange(FRAME)] * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames)) ** 2 @ FILTERS
    decibels = np.rint(10 * np.log10(power + 1e-4))
    return np.asarray(decibels.T / 16, dtype=np.float32)


def make_set(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make clips of all signals in turn.

    Args:
        count: How many clips.
        seed: The seed of the set; sets of different seeds share no clip.

    Returns:
        Features [count, BANDS, FRAMES] and the number of the signal in each.
    """
    names = list(SIGNALS)
    labels = np.arange(count) % len(names)
    features = np.empty((count, BANDS, FRAMES), np.float32)
    for i, label in enumerate(labels):
        clip = synthesize(names[label], np.random.default_rng([seed, i]))
        features[i] = extract_features(clip)
    return features, labels.astype(np.int64)
