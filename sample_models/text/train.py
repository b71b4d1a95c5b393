"""Train the next-character model and write its calibration and evaluation data.

Requires Python 3.11 and torch==2.13.0 (its CPU build will do), onnx==1.23.2, onnxscript==0.7.2,
onnxruntime==1.31.1, numpy==2.4.6; and, as the text, the docstrings of networkx==3.6.1,
sympy==1.14.0 and scikit-learn==1.9.1, which are read and never imported. From the project's root:

    python -m sample_models.text.train [--out FOLDER]

Everything is seeded: two runs with these versions on the same processor write the same bytes.
Another processor or version may round sums otherwise, and then the weights differ slightly.
"""

import argparse
import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sample_models.common import check_against_torch, empty_folder, export_onnx, make_deterministic
from sample_models.score import evaluate

HERE = Path(__file__).resolve().parent
SEED = 20240608
PACKAGES = ("networkx", "sympy", "sklearn")
# Tests repeat the documentation; the others are copies of projects with licences of their own.
SKIPPED_FOLDERS = {"tests", "externals", "latex"}
SHORTEST, LEAST_LETTERS = 80, 0.92
# Id 0 is the end of a passage, the others are the printable characters of ASCII in their order.
END, FIRST_CHARACTER, CLASSES = 0, 31, 96
LONGEST = 192
EVALUATION, EVALUATION_LENGTH = 256, 128
CALIBRATION, CALIBRATION_SHORTEST = 64, 16
WIDTH, HEADS, LAYERS = 96, 4, 3
STEPS, BATCH, PEAK_RATE, WARM_UP = 1200, 24, 4e-3, 100


def find_docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a Python file, without running it.

    Args:
        path: The file.

    Yields:
        Each docstring in the order of the source.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""


def is_prose(passage: str) -> bool:
    """Tell English sentences from code, formulas and tables."""
    if len(passage) < SHORTEST or not passage.isascii() or not passage.isprintable():
        return False
    if any(mark in passage for mark in (">>>", "::", "--")):
        return False
    letters = sum(c.isalpha() or c == " " for c in passage)
    return letters >= LEAST_LETTERS * len(passage)


def read_files() -> list[list[str]]:
    """Collect the passages of prose, each at its first occurrence only.

    Returns:
        The passages of each source file that has any.
    """
    seen: set[str] = set()
    files: list[list[str]] = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ImportError(f"install {package}: its docstrings are the text")
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
            if SKIPPED_FOLDERS.intersection(path.relative_to(root).parts):
                continue
            paragraphs = (p for d in find_docstrings(path) for p in re.split(r"\n\s*\n", d))
            unique = dict.fromkeys(" ".join(p.split()) for p in paragraphs)
            passages = [p for p in unique if is_prose(p) and p not in seen]
            seen.update(passages)
            if passages:
                files.append(passages)
    return files


def encode(files: list[list[str]]) -> np.ndarray:
    """Join passages to one stream of ids, with an end mark before each."""
    marks = [np.frombuffer(p.encode("ascii"), np.uint8) for file in files for p in file]
    parts = [np.concatenate([[END], m.astype(np.int64) - FIRST_CHARACTER]) for m in marks]
    return np.concatenate(parts)


def load_streams() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide the source files into training, calibration and evaluation.

    Returns:
        One stream of ids for each; no source file and no passage is in two of them.
    """
    files = read_files()
    order = np.random.default_rng(SEED).permutation(len(files))
    tenth, fifth = len(files) // 10, len(files) // 5
    parts = (order[fifth:], order[:tenth], order[tenth:fifth])
    training, calibration, evaluation = (encode([files[i] for i in part]) for part in parts)
    return training, calibration, evaluation


class Block(nn.Module):
    """Causal self-attention and a feed-forward net, each after a layer normalization."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.attention_out = nn.Linear(WIDTH, WIDTH)
        self.feed_norm = nn.LayerNorm(WIDTH)
        self.feed_in = nn.Linear(WIDTH, 4 * WIDTH)
        self.feed_out = nn.Linear(4 * WIDTH, WIDTH)

    def attend(self, x: Tensor) -> Tensor:
        """Return the mixture of earlier positions for each position."""
        batch, length, _ = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's sequence, [batch, length, WIDTH]."""
        x = x + self.attend(self.attention_norm(x))
        fed: Tensor = self.feed_out(functional.gelu(self.feed_in(self.feed_norm(x))))
        return x + fed


class CharacterModel(nn.Module):
    """Logits of the next character after each position of ids [batch, length]."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.character = nn.Embedding(CLASSES, WIDTH)
        self.position = nn.Embedding(LONGEST, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, CLASSES)
        for table in (self.character, self.position):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [batch, length, CLASSES]."""
        x = self.character(ids) + self.position(torch.arange(ids.shape[1]))
        logits: Tensor = self.classifier(self.norm(self.blocks(x)))
        return logits


def train(stream: np.ndarray) -> CharacterModel:
    """Train on windows from random places of the stream.

    Args:
        stream: The ids of the training part.

    Returns:
        The trained model, in evaluation mode.
    """
    ids = torch.from_numpy(stream)
    generator = torch.Generator().manual_seed(SEED)
    model = CharacterModel()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=STEPS, pct_start=WARM_UP / STEPS, cycle_momentum=False
    )
    total = 0.0
    for step in range(1, STEPS + 1):
        starts = torch.randint(len(ids) - LONGEST, (BATCH, 1), generator=generator)
        windows = ids[starts + torch.arange(LONGEST + 1)]
        logits = model(windows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 50 == 0:
            bits = total / 50 / float(np.log(2))
            print(f"step {step}/{STEPS}: {bits:.4f} bits per character", flush=True)
            total = 0.0
    return model.eval()


def write_data(calibration: np.ndarray, evaluation: np.ndarray, out: Path) -> None:
    """Write calibration windows of many lengths and evaluation windows of one.

    Args:
        calibration: The stream that `calib/` is cut from.
        evaluation: The stream that `eval/eval.npz` is cut from.
        out: The model's folder.
    """
    folder = empty_folder(out / "calib")
    random = np.random.default_rng(SEED + 1)
    slots = np.linspace(0, len(calibration) - LONGEST, CALIBRATION).astype(int)
    lengths = random.integers(CALIBRATION_SHORTEST, LONGEST + 1, CALIBRATION)
    for i, (start, length) in enumerate(zip(slots, lengths, strict=True)):
        ids = calibration[start : start + length]
        np.savez_compressed(folder / f"{i:03d}.npz", ids=ids[None])
    starts = np.linspace(0, len(evaluation) - EVALUATION_LENGTH - 1, EVALUATION).astype(int)
    windows = evaluation[starts[:, None] + np.arange(EVALUATION_LENGTH + 1)]
    np.savez_compressed(
        empty_folder(out / "eval") / "eval.npz",
        ids=windows[:, None, :-1],
        label_next=windows[:, 1:],
    )


def main() -> None:
    """Train, export, check and score the model."""
    parser = argparse.ArgumentParser(description="Train the next-character model.")
    parser.add_argument("--out", type=Path, default=HERE, help="default: beside this script")
    out: Path = parser.parse_args().out
    make_deterministic(SEED)
    training, calibration, evaluation = load_streams()
    print("characters:", len(training), len(calibration), len(evaluation))
    write_data(calibration, evaluation, out)
    model = train(training)
    print("parameters:", sum(p.numel() for p in model.parameters()))
    path = out / "model.onnx"
    example = {"ids": torch.from_numpy(training[:64].reshape(2, 32))}
    export_onnx(model, example, "logits", {"ids": {0: "batch", 1: "length"}}, path)
    shapes = ((1, 1), (1, 17), (1, LONGEST), (3, 50))
    feeds = [{"ids": evaluation[: rows * length].reshape(rows, length)} for rows, length in shapes]
    print("largest difference from torch:", check_against_torch(model, path, feeds))
    scores = evaluate(path, out / "eval" / "eval.npz", HERE / "metric.py")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
