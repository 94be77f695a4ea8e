"""Training texts changed without changing their label; anew in each epoch, by the seed.

`swap`: the two texts of a pair change places, for tasks where the order says nothing.
`punctuation`: marks put in between words (AEDA; Karimi, Rossi and Prati 2021, arXiv:2108.13230).
`synonyms`: words replaced by others of their most frequent sense in WordNet (Zhang, Zhao and LeCun
2015; the format of its files is wndb(5)), but for words such as "not", "by" and "who".
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from train_script.errors import BadInput
from train_script.tasks import Examples

Texts = tuple[str, ...]
MARKS = (".", ";", "?", ":", "!", ",")
SHARE_OF_PLACES = 1 / 3
SHARE_OF_WORDS = 0.15
WORDNET = ("/usr/share/wordnet", "/usr/local/WordNet-3.0/dict", "/usr/share/wordnet-3.0/dict")
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
ABOUT_THE_WORDS = frozenset({"cola"})
"""Tasks whose label is about the very words and marks of a text"""


def problem(kind: str, task: str, columns: int, is_here: bool = True) -> str:
    """Why texts of so many columns cannot be changed so; empty where they can.

    Whether WordNet is there is looked for only where `is_here` says that this machine will train.
    """
    if kind in ("punctuation", "synonyms") and task in ABOUT_THE_WORDS:
        return f"augment {kind} would break the labels of {task}, which are about the very words"
    if kind == "swap" and columns < 2:
        return f"augment swap needs pairs of texts, and those of {task} are single"
    if kind == "synonyms" and is_here and _wordnet() is None:
        return (
            "augment synonyms needs WordNet's files: apt-get install wordnet-base, or name their "
            "folder in $WNSEARCHDIR"
        )
    return ""


def augmented(
    examples: Examples, kind: str, share: float, seed: int, epoch: int
) -> dict[int, Texts]:
    """The examples that are changed in this epoch: their row numbers and new texts."""
    if kind == "none":
        return {}
    rng = np.random.default_rng([seed, 5, epoch])
    change: dict[str, Callable[[Texts, np.random.Generator], Texts]] = {
        "swap": lambda texts, rng: texts[::-1], "punctuation": _punctuated, "synonyms": _replaced
    }  # fmt: skip
    chosen = np.flatnonzero(rng.random(len(examples)) < share)
    return {int(i): change[kind](examples.texts[i], rng) for i in chosen}


def check(kind: str, task: str, columns: int) -> None:
    """BadInput where texts cannot be changed so."""
    if fault := problem(kind, task, columns):
        raise BadInput(fault)


def _punctuated(texts: Texts, rng: np.random.Generator) -> Texts:
    """One mark or more between the words of each text, at up to a third of the places."""
    changed = []
    for text in texts:
        words = text.split(" ")
        count = int(rng.integers(1, max(1, int(len(words) * SHARE_OF_PLACES)) + 1))
        places = set(rng.permutation(len(words))[:count].tolist())
        parts = [
            part
            for i, word in enumerate(words)
            for part in ([str(rng.choice(MARKS)), word] if i in places else [word])
        ]
        changed.append(" ".join(parts))
    return tuple(changed)


def _replaced(texts: Texts, rng: np.random.Generator) -> Texts:
    """At least one word of each text, where WordNet knows any, and up to 15 % of them."""
    changed = []
    for text in texts:
        words = text.split(" ")
        known = [i for i, word in enumerate(words) if word.isalpha() and synonyms(word)]
        count = max(1, round(len(words) * SHARE_OF_WORDS))
        for i in rng.permutation(known)[:count].astype(int).tolist():
            words[i] = str(rng.choice(synonyms(words[i])))
        changed.append(" ".join(words))
    return tuple(changed)


@cache
def synonyms(word: str) -> tuple[str, ...]:
    """Other words of the word's most frequent sense; empty for capitals, names and unknown words.

    A word that may be more than one part of speech is left alone: which one it is here, nobody knows. So
    is one that holds a sentence together or turns it round ("not").
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    place = _wordnet()
    if place is None or word != word.lower() or word in ENGLISH_STOP_WORDS:
        return ()
    found = [(part, index[word]) for part, index in _indexes(place).items() if word in index]
    if len(found) != 1:
        return ()
    part, offset = found[0]
    with (place / f"data.{part}").open("rb") as file:
        file.seek(offset)
        fields = file.readline().decode("utf-8").split(" ")
    words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    plain = [other.split("(")[0].replace("_", " ") for other in words]
    if word not in plain:  # the index knows no capitals: "ha" is there as hectare's "ha" and as HA
        return ()
    return tuple(other for other in plain if other.lower() != word)


@cache
def _wordnet() -> Path | None:
    places = [os.environ.get("WNSEARCHDIR", ""), *WORDNET]
    return next((Path(p) for p in places if p and (Path(p) / "data.noun").is_file()), None)


@cache
def _indexes(place: Path) -> dict[str, dict[str, int]]:
    """For each part of speech each word's most frequent sense, as its place in the data file."""
    found = {}
    for part in PARTS_OF_SPEECH:
        index: dict[str, int] = {}
        for line in (place / f"index.{part}").read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):
                fields = line.split()
                index[fields[0]] = int(fields[-int(fields[2])])
        found[part] = index
    return found
