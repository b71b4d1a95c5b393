"""Accuracy of the digit classifier. Output: logits [1, 10]. Label: digit [samples]."""

import numpy as np


def score(outputs: list[dict[str, np.ndarray]], labels: dict[str, np.ndarray]) -> dict[str, float]:
    """Compare the classes that the model prefers with the right ones.

    Args:
        outputs: The outputs of each sample by name.
        labels: `digit`, the right class of each sample.

    Returns:
        `top1`, the fraction of right answers, and `nll`, the mean negative log-likelihood of the
        right class in nats: lower is better, and it moves before the accuracy does.
    """
    logits = np.concatenate([o["logits"] for o in outputs]).astype(np.float64)
    digit = labels["digit"]
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return {
        "top1": float(np.mean(logits.argmax(1) == digit)),
        "nll": float(-np.mean(log_probability[np.arange(len(digit)), digit])),
    }
