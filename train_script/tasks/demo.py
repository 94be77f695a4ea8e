"""The offline demo: sentence pairs from a seeded grammar, labelled paraphrase or not.

A scene says who did what to whom, how often and when. A paraphrase tells the same scene again with
synonyms, the other voice or another order of clauses. A hard negative tells, with just the same
freedom of wording, a scene in which one thing differs: the roles are swapped, the number is another,
or the deed is negated. Few scenes are negated to begin with, so a "not" alone tells much, and is
learned within a minute; the rest needs a model that reads the pair. A few labels are wrong on
purpose, as in real data.
"""

from dataclasses import dataclass, replace

import numpy as np

from train_script.tasks.base import Examples, Splits, Task, TaskOptions

LABELS = ("not a paraphrase", "paraphrase")
COLUMNS = ("sentence1", "sentence2")
TRAIN_PAIRS = 360  # small enough that 16 trials end in minutes on two slow cores
VALIDATION_PAIRS = 200
LABEL_NOISE = 0.04
NEGATED = 0.1  # so that a lone `not` gives a hard negative away: the part that is learned first
CHANGES = (0.1, 0.3, 0.6)  # how often a hard negative swaps roles, changes the number, negates
PLACES = (0.15, 0.15, 0.7)  # the time comes first, last, or not at all: a paraphrase may say less

# Each inner tuple holds words that may stand for one another.
PEOPLE = (
    ("doctor", "physician"), ("teacher", "schoolteacher"), ("lawyer", "attorney"),
    ("writer", "author"), ("policeman", "police officer"), ("sailor", "seaman"),
    ("manager", "boss"), ("actor", "performer"), ("farmer", "grower"), ("thief", "robber"),
    ("shopkeeper", "storekeeper"), ("painter", "artist"), ("journalist", "reporter"),
    ("driver", "motorist"), ("scientist", "researcher"), ("soldier", "trooper"),
)  # fmt: skip
# base form, past participle (the past tense is the same for all of these)
DEEDS = (
    (("help", "helped"), ("assist", "assisted")),
    (("praise", "praised"), ("applaud", "applauded")),
    (("phone", "phoned"), ("call", "called")),
    (("visit", "visited"), ("call on", "called on")),
    (("criticize", "criticized"), ("fault", "faulted")),
    (("chase", "chased"), ("pursue", "pursued")),
    (("hire", "hired"), ("employ", "employed")),
    (("deceive", "deceived"), ("trick", "tricked")),
    (("warn", "warned"), ("alert", "alerted")),
    (("recognize", "recognized"), ("identify", "identified")),
)
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
TIMES = (
    ("last year", "in the past year"), ("on Monday", "at the start of the week"),
    ("before the war", "prior to the war"), ("during the storm", "while the storm lasted"),
    ("after the meeting", "once the meeting was over"), ("in the spring", "in springtime"),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Who did what to whom, how often, when; indices into the word lists."""

    agent: int
    patient: int
    deed: int
    number: int
    time: int
    negated: bool


def read(options: TaskOptions) -> Splits:
    """The demo's pairs; the same seed gives the same pairs on every machine."""
    rng = np.random.default_rng([options.split_seed, 20])
    return Splits(
        "demo",
        LABELS,
        COLUMNS,
        train=generate(TRAIN_PAIRS, rng),
        validation=generate(VALIDATION_PAIRS, rng),
        source=f"generated, split_seed {options.split_seed}",
        split="generated apart from the training pairs",
    )


def generate(count: int, rng: np.random.Generator) -> Examples:
    """`count` pairs, half of them paraphrases before the label noise."""
    texts: list[tuple[str, ...]] = []
    labels: list[int] = []
    for i in range(count):
        scene, same = _draw_scene(rng), i % 2 == 0
        other = scene if same else _differ(scene, rng)
        first = _tell(scene, rng)
        second = _tell(other, rng)
        while second == first:
            second = _tell(other, rng)
        texts.append((first, second))
        labels.append(int(same != (rng.random() < LABEL_NOISE)))
    order = rng.permutation(count)
    return Examples(texts, labels).take(order)


def _draw_scene(rng: np.random.Generator) -> Scene:
    agent, patient = rng.choice(len(PEOPLE), size=2, replace=False)
    deed, number, time = (int(rng.integers(len(words))) for words in (DEEDS, NUMBERS, TIMES))
    return Scene(int(agent), int(patient), deed, number, time, bool(rng.random() < NEGATED))


def _differ(scene: Scene, rng: np.random.Generator) -> Scene:
    change = rng.choice(3, p=CHANGES)
    if change == 0:
        return replace(scene, agent=scene.patient, patient=scene.agent)
    if change == 1:
        step = int(rng.integers(1, len(NUMBERS)))
        return replace(scene, number=(scene.number + step) % len(NUMBERS))
    return replace(scene, negated=not scene.negated)


def _tell(scene: Scene, rng: np.random.Generator) -> str:
    """One wording of a scene: synonyms, voice and clause order are drawn anew."""
    agent, patient = ("the " + str(rng.choice(PEOPLE[who])) for who in (scene.agent, scene.patient))
    base, past = DEEDS[scene.deed][rng.integers(2)]
    time = str(rng.choice(TIMES[scene.time]))
    often = f"{NUMBERS[scene.number]} times"
    if rng.random() < 0.5:
        deed = f"did not {base}" if scene.negated else past
        clause = f"{agent} {deed} {patient} {often}"
    else:
        deed = f"was not {past}" if scene.negated else f"was {past}"
        clause = f"{patient} {deed} by {agent} {often}"
    place = rng.choice(3, p=PLACES)
    sentence = (f"{time}, {clause}", f"{clause} {time}", clause)[place]
    return sentence[0].upper() + sentence[1:] + "."


TASK = Task(
    "demo",
    "eval_f1",
    read,
    help=f"generated paraphrases, {TRAIN_PAIRS} + {VALIDATION_PAIRS} pairs, offline",
    labels=LABELS,
)
