"""The words of the report, explained to somebody who has never heard of them."""

from __future__ import annotations

from edgeq.report.html.markup import Content, Markup, section, tag

WORDS = {
    "fp32": "Ordinary 32-bit floating-point numbers: what models are trained in. The original.",
    "int8": "Whole numbers of 8 bits, of which there are 256. They take a quarter of the memory of "
    "fp32, and most processors multiply them several times as fast.",
    "quantization": "Storing and computing with whole numbers (int8) in place of floating-point "
    "ones. A value is rounded to the nearest of 256 evenly spaced numbers.",
    "SQNR": "Signal-to-quantization-noise ratio, in decibels (dB): how large a value is against "
    "its error. 20 dB: the error is a tenth of the value's usual size; 30 dB: 3 %; 40 dB: 1 %. "
    "Under 10 dB, little of the original is left.",
    "cosine": "Whether two outputs point the same way, as a number: 1 is the same direction, 0 is "
    "unrelated.",
    "max error": "The largest difference between the two models in any number of this output.",
    "top-1": "How often the largest number of the output stands at the same place in both models: "
    "for a classifier, how often both choose the same class.",
    "MACs": "Multiply-accumulates: the multiplications, each with an addition, that one run takes. "
    "Nearly all of a model's arithmetic.",
    "coverage": "The part of a model's arithmetic (its MACs) that really runs in whole numbers, "
    "read back from the runtime and not merely hoped for.",
    "Q/DQ": "QuantizeLinear and DequantizeLinear: the two operators that turn floating-point "
    "numbers into whole ones and back. The runtime melts most of them into its integer operators; "
    "those left over cost time.",
    "range": "The numbers from low to high that the 256 integers of a value are spread over. Wide "
    "ranges have coarse steps; what lies outside of a narrow one is cut off to its ends.",
    "scale": "The step from one integer to the next: how far apart two numbers must be to be told "
    "apart.",
    "zero point": "The integer that stands for 0.0.",
    "outlier": "One of the few numbers that are far larger than all the others. To cover them the "
    "steps become coarse for everything else.",
    "calibration": "Running the original on typical samples to see which numbers each value takes.",
    "calibrator": "A method that chooses a range from what calibration saw. auto tries all and "
    "takes the best.",
    "value": "What one layer hands to the next: an array of numbers.",
    "layer": "A node of the model that multiplies: a convolution, a matrix product, an LSTM.",
    "node": "One operation of the model, such as Conv or Add.",
    "static": "The node runs in whole numbers, with ranges that calibration has fixed.",
    "dynamic": "The node finds the range of its input anew in every run and then computes in whole "
    "numbers: closer, a little slower.",
    "float": "The node stays as it was, in floating-point numbers.",
    "absorbed": "The node needs no computation of its own any more: its neighbour's range does it.",
    "median": "Half of the runs were faster, half slower. In brackets the quartiles: a quarter of "
    "the runs was faster than the first, a quarter slower than the second.",
    "accumulated": "The error at a layer's output with all the errors of the layers before it.",
    "alone": "The error that this layer adds when everything before it is exact.",
    "opset": "The version of the ONNX standard's operators that the model uses.",
}


def term(word: str, shown: str | None = None) -> Markup:
    """A word with its explanation: as a tooltip, and without a script as a link.

    Args:
        word: A key of :data:`WORDS`.
        shown: How it is written here.
    """
    name = _identifier(word)
    return tag("a", shown or word, class_="term", href=f"#{name}", aria_describedby=f"{name}-means")


def _identifier(word: str) -> str:
    return "word-" + "".join(c if c.isalnum() else "-" for c in word.lower())


def glossary() -> Markup:
    """All words."""
    entries: list[Content] = []
    for word, meaning in sorted(WORDS.items(), key=lambda item: item[0].lower()):
        name = _identifier(word)
        entries.append(tag("div", tag("dt", word, id=name), tag("dd", meaning, id=f"{name}-means")))
    return section("words", "Words", tag("dl", *entries, class_="words"))
