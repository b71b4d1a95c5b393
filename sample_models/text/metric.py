"""Quality of next-character prediction. Output: logits [1, T, 96]. Label: next [samples, T]."""

import numpy as np


def score(outputs: list[dict[str, np.ndarray]], labels: dict[str, np.ndarray]) -> dict[str, float]:
    """Compare the predictions at all positions with the characters that follow.

    Args:
        outputs: The outputs of each sample by name.
        labels: `next`, the character after each position of each sample.

    Returns:
        `bits_per_char`, the mean negative log2-likelihood of the right character, for which lower
        is better, and `accuracy`, the fraction of positions whose best guess is right.
    """
    logits = np.concatenate([o["logits"][0] for o in outputs]).astype(np.float64)
    following = labels["next"].reshape(-1)
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    nats = -np.mean(log_probability[np.arange(len(following)), following])
    return {
        "bits_per_char": float(nats / np.log(2)),
        "accuracy": float(np.mean(logits.argmax(1) == following)),
    }
