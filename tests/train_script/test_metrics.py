import numpy as np
import pytest

from train_script.metrics import scores


def logits(*predicted, classes=2, margin=20.0):
    return margin * np.eye(classes)[list(predicted)]


def test_known_confusion_gives_known_scores():
    """TP 3, FP 1, FN 1, TN 5."""
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    found = scores(logits(1, 1, 1, 0, 1, 0, 0, 0, 0, 0), labels)
    assert found["eval_accuracy"] == pytest.approx(0.8)
    assert found["eval_f1"] == pytest.approx(0.75)
    assert found["eval_mcc"] == pytest.approx((3 * 5 - 1 * 1) / np.sqrt(4 * 4 * 6 * 6))


def test_uniform_logits_lose_log_of_the_classes():
    found = scores(np.zeros((5, 3)), np.array([0, 1, 2, 0, 1]))
    assert found["eval_loss"] == pytest.approx(np.log(3))


def test_huge_logits_do_not_overflow():
    found = scores(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 0]))
    assert found["eval_loss"] == pytest.approx(5000.0)


def test_one_sided_prediction_scores_zero_without_a_warning():
    found = scores(logits(0, 0, 0), np.array([0, 1, 0]))
    assert found["eval_f1"] == 0.0
    assert found["eval_mcc"] == 0.0


def test_three_classes_use_the_macro_average():
    found = scores(logits(0, 1, 1, 2, classes=3), np.array([0, 1, 2, 2]))
    assert found["eval_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
