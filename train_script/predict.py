"""What a trained model says of texts.

from train_script.predict import predict
predict("runs/demo/trials/0007/model", [("A sentence.", "Another one.")])     # ["paraphrase"]

Plain transformers load the folder as well, but for a packed kind of model with `pooling: mean`, which is read here.
"""

from collections.abc import Sequence

import torch

from train_script.errors import BadInput, first_line
from train_script.packed import PackedBert, pack, why_not
from train_script.pretrained import positions
from train_script.tokens import tokenize

BATCH = 64
NO_LIMIT = 10**9
"""Tokenizers that know none say a larger number"""
MOST_TOKENS = 512
"""Where neither tokenizer nor model says how long a text may be"""


def predict(
    folder: str, texts: Sequence[str | tuple[str, ...]], max_length: int | None = None
) -> list[str]:
    """The label of each text, or pair of texts; BadInput where the folder holds no model.

    Texts are cut to `max_length` tokens; left out, to as many as in training.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as exc:
        raise BadInput(f"model {folder} cannot be loaded: {first_line(exc)}") from exc
    asked = max_length or tokenizer.model_max_length
    known = [limit for limit in (asked, positions(folder)) if limit and limit < NO_LIMIT]
    longest = min(known, default=MOST_TOKENS)
    rows = tokenize(tokenizer, [t if isinstance(t, tuple) else (t,) for t in texts], longest)
    forward = None
    if not why_not(model):
        forward = PackedBert(model, pooling=getattr(model.config, "pooling", "cls")).eval()
    found: list[int] = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            if forward is not None:
                logits_BC = forward(pack(some))
            else:
                logits_BC = model(**tokenizer.pad(some, return_tensors="pt")).logits
            found += logits_BC.argmax(dim=1).tolist()
    return [model.config.id2label[i] for i in found]
