"""Task metrics by name and by reference, and what happens when they misbehave."""

import numpy as np
import pytest

from edgeq.errors import DataError, PluginError, RecipeError
from edgeq.metrics import METRICS, load_metric

SCORES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]], np.float32)
OUTPUTS = [{"logits": row[None]} for row in SCORES]


@pytest.fixture
def metric_file(tmp_path):
    """Writes ``metric.py`` and gives its path."""

    def write(code):
        path = tmp_path / "metric.py"
        path.write_text(code)
        return path

    return write


def test_the_best_class_is_compared_with_the_label():
    labels = {"label": np.array([1, 1, 2, 0])}
    assert load_metric("top1")(OUTPUTS, labels) == 0.75


def test_ties_go_to_the_lower_class():
    assert load_metric("top1")(OUTPUTS[3:], {"label": np.array([0])}) == 1
    assert load_metric("top1")(OUTPUTS[3:], {"label": np.array([1])}) == 0


def test_several_right_answers_are_padded():
    labels = {"accept": np.array([[1, -1], [0, 1], [0, 1], [1, 0]])}
    assert load_metric("top1")(OUTPUTS, labels) == 0.75


def test_the_array_called_label_is_the_label():
    labels = {"weight": np.zeros(4), "label": np.array([1, 0, 2, 0])}
    assert load_metric("top1")(OUTPUTS, labels) == 1


def test_five_guesses():
    outputs = [{"y": np.arange(8.0)}] * 2
    assert load_metric("top5")(outputs, {"label": np.array([3, 2])}) == 0.5


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1), (1, 1, 3)])
def test_scores_come_in_all_shapes(shape):
    outputs = [{"y": SCORES[0].reshape(shape)}]
    assert load_metric("top1")(outputs, {"label": np.array([1])}) == 1


def test_a_sample_may_hold_many_predictions():
    outputs = [{"y": SCORES[None]}]
    assert load_metric("top1")(outputs, {"next": np.array([[1, 0, 0, 0]])}) == 0.75


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, "there is none.*labels.csv"),
        ({"a": np.zeros(4), "b": np.zeros(4)}, "of a, b none is called 'label'"),
        ({"label": np.zeros(3)}, "3 labels for 4 samples"),
        ({"label": np.array(["cat"] * 4)}, "class numbers"),
        ({"label": np.zeros((4, 0))}, "do not fit"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, said):
    with pytest.raises(DataError, match=said):
        load_metric("top1")(OUTPUTS, labels)


def test_a_file_is_a_metric(metric_file):
    path = metric_file('def score(outputs, labels):\n    """Counts.\n\n    More."""\n    return 3')
    metric = load_metric(f"{path}:score")
    assert metric([], {}) == 3.0
    assert (metric.name, metric.summary, metric.higher_is_better) == (
        f"{path}:score",
        "Counts.",
        True,
    )


def test_a_minus_says_that_lower_is_better_and_a_key_picks(metric_file):
    path = metric_file("def score(outputs, labels): return {'top1': 0.5, 'bits': 2.5}")
    metric = load_metric(f"-{path}:score#bits")
    assert (metric([], {}), metric.higher_is_better, metric.key) == (2.5, False, "bits")
    assert metric.name == f"{path}:score#bits"
    assert load_metric(f"{path}:score")([], {}) == 0.5


def test_a_folder_may_have_a_hash_in_its_name(tmp_path):
    (tmp_path / "a#1").mkdir()
    path = tmp_path / "a#1" / "m.py"
    path.write_text("def f(outputs, labels): return {'x': 1, 'y': 2}")
    assert load_metric(f"{path}:f").key is None
    assert load_metric(f"{path}:f#y")([], {}) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top", "unknown metric 'top'. Did you mean 'top[15]'"),
        ("zzz", "Known: perplexity, top1, top5, module:function"),
        ("", "unknown metric ''"),
        ("no_such_module_here:score", "ModuleNotFoundError"),
        ("missing.py:score", "there is no file"),
        ("math:pi", "it is a float, not a function"),
    ],
)
def test_what_is_no_metric_is_refused(text, said):
    with pytest.raises(RecipeError, match=said):
        load_metric(text)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("None", "a NoneType, not a number"),
        ("'0.5'", "a str, not a number"),
        ("True", "a bool, not a number"),
        ("float('nan')", "gives nan"),
        ("[1.0]", "a list, not a number"),
        ("{}", "an empty dict"),
        ("{'a': 'b'}", "a str, not a number"),
        ("__import__('numpy').zeros(3)", r"an array of shape \[3\]"),
        ("labels['missing']", "KeyError: 'missing'.*labels of this data: digit"),
    ],
)
def test_a_metric_that_misbehaves_is_named(metric_file, result, said):
    path = metric_file(f"def score(outputs, labels): return {result}")
    with pytest.raises(PluginError, match=said) as caught:
        load_metric(f"{path}:score")([], {"digit": np.zeros(1)})
    assert "metric.py:score" in str(caught.value)


def test_a_number_of_numpy_is_a_number(metric_file):
    path = metric_file("import numpy as np\ndef f(o, l): return np.float32(0.5)")
    assert load_metric(f"{path}:f")([], {}) == 0.5


def test_a_missing_key_is_told_with_the_nearest(metric_file):
    path = metric_file("def score(outputs, labels): return {'accuracy': 1.0}")
    with pytest.raises(RecipeError, match=r"no 'acuracy'.*'accuracy'"):
        load_metric(f"{path}:score#acuracy")([], {})
    with pytest.raises(RecipeError, match=r"one number.*Leave out #x"):
        load_metric("top1#x")(OUTPUTS, {"label": np.zeros(4)})


def test_every_metric_says_what_it_is():
    assert all(metric.summary and metric.name for metric in METRICS)
    assert len({metric.name for metric in METRICS}) == len(METRICS)
