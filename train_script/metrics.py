"""The scores of one evaluation, from all its logits at once (so weighted by example)."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


def scores(logits_NC: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    """Accuracy, F1, MCC and cross-entropy. N examples, C classes; all unitless, loss in nats.

    F1 is that of label 1 for two classes, the macro average for more. Where no example is
    predicted or labelled positive, F1 and MCC are 0, as in GLUE's scripts.
    """
    predicted_N = logits_NC.argmax(axis=1)
    classes = logits_NC.shape[1]
    average = "binary" if classes == 2 else "macro"
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    log_probability_NC = shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True))
    loss_N = -log_probability_NC[np.arange(len(labels_N)), labels_N]
    return {
        "eval_loss": float(loss_N.mean()),
        "eval_accuracy": float(accuracy_score(labels_N, predicted_N)),
        "eval_f1": float(f1_score(labels_N, predicted_N, average=average, zero_division=0.0)),
        "eval_mcc": float(matthews_corrcoef(labels_N, predicted_N)),
    }
