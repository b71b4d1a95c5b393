"""Train the tone classifier and write its calibration and evaluation data.

Requires Python 3.11 and torch==2.13.0 (its CPU build will do), onnx==1.23.2, onnxscript==0.7.2,
onnxruntime==1.31.1, numpy==2.4.6. From the project's root:

    python -m sample_models.tones.train [--out FOLDER]

Everything is seeded: two runs with these versions on the same processor write the same bytes.
Another processor or version may round sums otherwise, and then the weights differ slightly.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sample_models.common import check_against_torch, empty_folder, export_onnx, make_deterministic
from sample_models.score import evaluate
from sample_models.tones.sound import BANDS, SIGNALS, make_set

HERE = Path(__file__).resolve().parent
SEED = 20240609
TRAINING, CALIBRATION, EVALUATION = 8000, 64, 480
TRAINING_SEED, CALIBRATION_SEED, EVALUATION_SEED = 1, 2, 3
WIDTH, STATE = 64, 96
EPOCHS, BATCH, PEAK_RATE = 24, 50, 4e-3


class ToneNet(nn.Module):
    """Logits of the signals for features [batch, BANDS, frames]."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.stem = nn.Conv1d(BANDS, WIDTH, 5, padding=2, bias=False)
        self.stem_norm = nn.BatchNorm1d(WIDTH)
        self.shrink = nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2, bias=False)
        self.shrink_norm = nn.BatchNorm1d(WIDTH)
        self.refine = nn.Conv1d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.refine_norm = nn.BatchNorm1d(WIDTH)
        self.lstm = nn.LSTM(WIDTH, STATE, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(2 * STATE, len(SIGNALS))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [batch, signals]."""
        x = functional.relu(self.stem_norm(self.stem(features)))
        x = functional.relu(self.shrink_norm(self.shrink(x)))
        x = x + functional.relu(self.refine_norm(self.refine(x)))
        states, _ = self.lstm(x.transpose(1, 2))
        summary = torch.cat([states.mean(1), states[:, -1]], 1)
        logits: Tensor = self.classifier(self.dropout(summary))
        return logits


def train(features: np.ndarray, signals: np.ndarray) -> ToneNet:
    """Train with a rate that rises and falls once.

    Args:
        features: The training clips, [samples, BANDS, frames].
        signals: The number of the signal in each.

    Returns:
        The trained model, in evaluation mode.
    """
    inputs, labels = torch.from_numpy(features), torch.from_numpy(signals)
    generator = torch.Generator().manual_seed(SEED)
    model = ToneNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    steps = len(inputs) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=EPOCHS * steps, pct_start=0.15
    )
    for epoch in range(EPOCHS):
        total = 0.0
        order = torch.randperm(len(inputs), generator=generator)
        for chosen in order[: steps * BATCH].view(steps, BATCH):
            # A change of the level adds the same to every band and frame.
            shift = torch.randn(BATCH, 1, 1, generator=generator) * 0.2
            loss = functional.cross_entropy(model(inputs[chosen] + shift), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {total / steps:.4f}", flush=True)
    return model.eval()


def write_data(out: Path) -> np.ndarray:
    """Write the calibration files and the evaluation arrays.

    Args:
        out: The model's folder.

    Returns:
        The evaluation features, [samples, BANDS, frames].
    """
    folder = empty_folder(out / "calib")
    for i, sample in enumerate(make_set(CALIBRATION, CALIBRATION_SEED)[0]):
        np.savez_compressed(folder / f"{i:03d}.npz", features=sample[None])
    features, signals = make_set(EVALUATION, EVALUATION_SEED)
    np.savez_compressed(
        empty_folder(out / "eval") / "eval.npz",
        features=features[:, None],
        label_signal=signals,
    )
    return features


def main() -> None:
    """Train, export, check and score the model."""
    parser = argparse.ArgumentParser(description="Train the tone classifier.")
    parser.add_argument("--out", type=Path, default=HERE, help="default: beside this script")
    out: Path = parser.parse_args().out
    make_deterministic(SEED)
    evaluation = write_data(out)
    features, signals = make_set(TRAINING, TRAINING_SEED)
    model = train(features, signals)
    print("parameters:", sum(p.numel() for p in model.parameters()))
    path = out / "model.onnx"
    example = {"features": torch.from_numpy(features[:2])}
    export_onnx(model, example, "logits", {"features": {0: "batch", 2: "frames"}}, path)
    shapes = ((1, 100), (1, 37), (16, 100), (3, 8))
    feeds = [{"features": evaluation[:rows, :, :frames].copy()} for rows, frames in shapes]
    print("largest difference from torch:", check_against_torch(model, path, feeds))
    scores = evaluate(path, out / "eval" / "eval.npz", HERE / "metric.py")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
