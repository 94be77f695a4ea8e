"""Each choice of TrainConfig does what it says."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, AutoTokenizer, DataCollatorWithPadding

from train_script import augment, fit, forward
from train_script.config import TrainConfig
from train_script.contract import Stopped, StopRequest
from train_script.errors import BadInput
from train_script.fit import Fit
from train_script.loss import Loss
from train_script.optimizer import Average, make_optimizer, schedule_factor
from train_script.predict import predict
from train_script.prepared import splits_of
from train_script.tasks import Examples
from train_script.tokens import tokenize


def config_of(tiny_bert, **options):
    given = {"task": "demo", "model": str(tiny_bert), "train_limit": 48, "epochs": 2, "max_length": 48,
             "batch_size": 16, "learning_rate": 1e-3, "num_gpus": 0, "evaluations": 2} | options  # fmt: skip
    return TrainConfig.from_values(given)


@pytest.fixture
def fit_of(tiny_bert):
    def make(**options):
        config = config_of(tiny_bert, **options)
        return Fit(config, splits_of(config), StopRequest())

    return make


@pytest.fixture
def trained(fit_of, capsys):
    """The evaluations and the last record of a run, and its Fit."""

    def run(**options):
        fit = fit_of(**options)
        last = fit.run()
        out, err = capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()], last, fit, err

    return run


def losses(records):
    return [(record["train_loss"], record["eval_loss"]) for record in records]


@pytest.mark.parametrize(("count", "pooling"), [(1, "cls"), (2, "cls"), (2, "mean")])
def test_frozen_layers_stay_and_their_output_is_remembered_to_the_same_numbers(
    trained, tiny_bert, monkeypatch, count, pooling
):
    options = {"frozen_layers": count, "pooling": pooling}
    records, _, fit, err = trained(**options)
    assert "the frozen layers' output is remembered" in err
    computed = []
    monkeypatch.setattr(fit.forward, "_embedded", computed.append)
    fit._gradients(fit.forward, [0, 1, 2])
    assert not computed
    before = load_file(tiny_bert / "model.safetensors")
    after = fit.model.bert.state_dict()
    for name, weights in before.items():
        layer = name.split(".")[2] if name.startswith("encoder.layer") else ""
        if name.startswith("embeddings") or (layer and int(layer) < count):
            assert torch.equal(after[name], weights), name
        elif layer:
            assert not torch.equal(after[name], weights), name
    monkeypatch.setattr(forward, "MOST_REMEMBERED_BYTES", 0)
    again, _, _, err = trained(output_data_dir="other", checkpoint_dir="other", **options)
    assert "computed at every step" in err
    for one, two in zip(losses(records), losses(again), strict=True):
        assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize(
    "options", [{"frozen_layers": 1}, {"reinit_layers": 1, "layer_decay": 0.7}]
)
def test_packed_and_padded_batches_train_alike(trained, options):
    """Without dropout, whose masks are drawn in another order."""
    packed, last, _, _ = trained(dropout=0, **options)
    padded, other, _, _ = trained(dropout=0, packing="off", checkpoint_dir="other", **options)
    assert (last["path"], other["path"]) == ("packed", "padded")
    for one, two in zip(losses(packed), losses(padded), strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_frozen_layers_drop_nothing_where_batches_are_padded(fit_of):
    fit = fit_of(packing="off", frozen_layers=1, dropout=0.5)
    seen = [[], []]
    for layer, outputs in zip(fit.model.bert.encoder.layer, seen, strict=True):
        layer.register_forward_hook(lambda _, __, out, to=outputs: to.append(out))
    for _ in range(2):
        fit.forward.train()
        fit.forward(fit.forward.collate(fit.rows[:4]))
    assert torch.equal(*seen[0])
    assert not torch.equal(*seen[1])


@pytest.fixture
def of_kind(tiny_bert, tmp_path):
    """A small random model of a kind, with the tokenizer of the others, as a folder; `more` is of its configuration."""

    def make(kind, **more):
        sizes = {"vocab_size": 250, "pad_token_id": 0, "max_position_embeddings": 64, "num_hidden_layers": 2,
                 "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}  # fmt: skip
        if kind == "distilbert":
            sizes = {"vocab_size": 250, "pad_token_id": 0, "max_position_embeddings": 64, "n_layers": 2,
                     "dim": 32, "n_heads": 2, "hidden_dim": 64}  # fmt: skip
        if kind == "xlnet":  # which sees any number of tokens
            del sizes["max_position_embeddings"]
            sizes["d_head"] = 16
        if kind == "bart":  # it scores a text at its last end of a sentence
            end = AutoTokenizer.from_pretrained(tiny_bert).sep_token_id
            sizes = {"vocab_size": 250, "max_position_embeddings": 64, "d_model": 32}
            sizes |= {f"{part}_{what}": number for part in ("encoder", "decoder")
                      for what, number in {"layers": 2, "attention_heads": 2, "ffn_dim": 64}.items()}  # fmt: skip
            more = {
                "pad_token_id": 0,
                "bos_token_id": 2,
                "eos_token_id": end,
                "decoder_start_token_id": end,
            } | more
        if kind in ("gpt2", "llama"):  # whose own padding is none, or another than the tokenizer's
            more = {
                "pad_token_id": 7 if kind == "llama" else None,
                "bos_token_id": 2,
                "eos_token_id": 3,
            } | more
        folder = shutil.copytree(tiny_bert, tmp_path / kind)
        config = AutoConfig.for_model(kind, **sizes | more)
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings |= {
            "model_input_names": ["input_ids", "attention_mask"],
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        if kind == "xlnet":  # it scores a text at the last place of all
            settings["padding_side"] = "left"
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return folder

    return make


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("roberta", "packed"),
        ("electra", "packed"),
        ("distilbert", "padded"),
        ("modernbert", "padded"),
        ("deberta-v2", "padded"),
        ("albert", "padded"),
        ("mpnet", "padded"),
        ("gpt2", "padded"),
        ("llama", "padded"),
        ("xlnet", "padded"),
        ("bart", "padded"),
    ],
)
def test_any_architecture_is_trained_saved_and_read_back(trained, of_kind, kind, path):
    records, last, fit, err = trained(model=str(of_kind(kind)), max_length=40)
    assert (last["path"], fit.path.split(",")[0]) == (path, path)
    why = "is none of the models that it knows (bert, camembert, electra, roberta, xlm-roberta)"
    assert (why in err) is (path == "padded")
    assert records[0]["eval_loss"] != records[1]["eval_loss"]
    with open("outputs/data/predictions.jsonl") as file:
        rows = [json.loads(line) for line in file]
    texts = [tuple(row[column] for column in fit.splits.text_columns) for row in rows]
    assert predict("outputs/model", texts) == [row["predicted"] for row in rows]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "xlnet"])
def test_scores_of_a_text_are_the_same_beside_longer_ones(fit_of, of_kind, kind):
    """Models that write score a text at its last token, which is not that of the padding."""
    fit = fit_of(model=str(of_kind(kind)), max_length=40)
    fit.forward.eval()
    rows = sorted(fit.rows, key=lambda row: len(row["input_ids"]))
    with torch.no_grad():
        alone, beside = (
            fit.forward(fit.forward.collate(some))[0] for some in (rows[:1], [rows[0], rows[-1]])
        )
    torch.testing.assert_close(alone, beside)


@pytest.mark.parametrize("wrong", [{"frozen_layers": 3}, {"reinit_layers": 3}])
def test_more_layers_than_there_are_is_a_sentence(fit_of, wrong):
    with pytest.raises(BadInput, match="3 is more than the 2 layers of the model"):
        fit_of(**wrong)


def test_layers_learn_slower_the_farther_from_the_head(fit_of):
    fit = fit_of(layer_decay=0.5, weight_decay=0.1)
    share_of = {
        id(p): group["share"] for group in fit.optimizer.param_groups for p in group["params"]
    }
    bert = fit.model.bert
    for module, share in (
        (fit.model.classifier, 1), (bert.pooler, 1), (bert.encoder.layer[1], 0.5),
        (bert.encoder.layer[0], 0.25), (bert.embeddings, 0.125),
    ):  # fmt: skip
        assert {share_of[id(p)] for p in module.parameters()} == {share}
    fit._step(fit.forward)
    rates = {group["lr"] / group["share"] for group in fit.optimizer.param_groups}
    assert len(rates) == 1


def test_only_matrices_decay(fit_of):
    decay_of = {
        p.ndim > 1: set() for p in fit_of().model.parameters()
    }  # a set for matrices, one for vectors
    for group in fit_of(weight_decay=0.3).optimizer.param_groups:
        for p in group["params"]:
            decay_of[p.ndim > 1].add(group["weight_decay"])
    assert decay_of == {True: {0.3}, False: {0.0}}


def test_each_dropout_has_its_own_rate(fit_of):
    def rates(**options):
        config = fit_of(**options).model.config
        return (
            config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.classifier_dropout
        )  # fmt: skip

    assert rates(dropout=0.3) == (0.3, 0.3, 0.3)
    assert rates(attention_dropout=0.2, classifier_dropout=0.4) == (0.1, 0.2, 0.4)


def test_no_norm_means_no_clipping(trained):
    small, *_ = trained(max_grad_norm=1e-4)
    none, *_ = trained(max_grad_norm=0, checkpoint_dir="none")
    huge, *_ = trained(max_grad_norm=1e9, checkpoint_dir="huge")
    assert losses(none) == losses(huge) != losses(small)


@pytest.mark.parametrize("kind", ["bert", "deberta", "modernbert"])
def test_top_layers_begin_anew_and_the_others_do_not(fit_of, of_kind, kind):
    """Whatever was in them: weights as the model's configuration draws them, norms of 1, no biases."""
    folder = of_kind(kind, initializer_range=0.1)
    before = {
        n: torch.full_like(w, 0.7) for n, w in load_file(folder / "model.safetensors").items()
    }
    save_file(before, folder / "model.safetensors", {"format": "pt"})
    after = fit_of(model=str(folder), reinit_layers=1, max_length=40).model.base_model.state_dict()
    parts = {
        "bert": ("encoder.layer.1.", "pooler."), "deberta": ("encoder.layer.1.",), "modernbert": ("layers.1.",)
    }[kind]  # fmt: skip
    for name, weights in before.items():
        if not name.startswith(parts):
            assert torch.equal(after[name], weights), name
        elif weights.ndim == 2:
            smaller = (
                2 if ".Wo." in name else 1
            )  # ModernBERT's outputs, by the root of twice its layers
            assert after[name].std().item() == pytest.approx(0.1 / smaller, rel=0.2), name
            assert abs(after[name].mean().item()) < 0.02, name
        else:
            assert set(after[name].tolist()) == {float("orm.weight" in name)}, name


def test_modernbert_pools_as_it_is_told_whatever_its_configuration_says(fit_of, of_kind):
    """Those on the hub say `mean` there."""
    folder = of_kind("modernbert", classifier_pooling="mean")
    logits = []
    for pooling in ("cls", "mean"):
        fit = fit_of(model=str(folder), max_length=40, pooling=pooling)
        fit.forward.eval()
        batch = fit.forward.collate(fit.rows[:3])
        with torch.no_grad():
            hidden_BTD = fit.model.model(**batch).last_hidden_state
            real_BT1 = batch["attention_mask"][..., None]
            mean_BD = (hidden_BTD * real_BT1).sum(1) / real_BT1.sum(1)
            read_BD = mean_BD if pooling == "mean" else hidden_BTD[:, 0]
            wanted = fit.model.classifier(fit.model.head(read_BD))
            logits.append(fit.forward(batch))
            torch.testing.assert_close(logits[-1], wanted, rtol=0, atol=1e-5)
    assert not torch.allclose(*logits, atol=1e-3)


def test_schedules_are_their_formulas(fit_of):
    assert [schedule_factor(s, 10, 0, "polynomial", 2) for s in (0, 5)] == [1, 0.25]
    assert schedule_factor(5, 10, 0, "polynomial", 1) == schedule_factor(5, 10, 0, "linear")
    quarters = [schedule_factor(s, 8, 0, "cosine") for s in (0, 2, 4, 6)]
    assert quarters == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    fit = fit_of(schedule="polynomial", schedule_power=3.0, warmup_ratio=0)
    for _ in range(2):
        fit._step(fit.forward)
    for group in fit.optimizer.param_groups:
        assert group["lr"] == pytest.approx(1e-3 * (5 / 6) ** 3)


def test_the_rate_rises_over_its_share_of_all_steps_and_then_falls(fit_of):
    fit = fit_of(epochs=4, warmup_ratio=0.25)  # twelve steps
    assert fit.warmup_steps == 3
    rates = []
    for _ in range(12):
        fit._step(fit.forward)
        rates.append(fit.optimizer.param_groups[0]["lr"] / 1e-3)
    assert rates[:4] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert rates[4:] == pytest.approx([(12 - step) / 9 for step in range(4, 12)])


def test_label_smoothing_and_class_weights_are_torch_s(tiny_bert):
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 2), torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 1])
    config = config_of(tiny_bert, label_smoothing=0.2, class_weights="balanced")
    loss = Loss(config, torch.bincount(labels), torch.device("cpu"))
    mine = loss.of(logits, labels) / loss.weight_of(labels)
    assert loss.weights_C.tolist() == pytest.approx([9 / 4, 9 / 14])
    theirs = cross_entropy(logits, labels, weight=loss.weights_C, label_smoothing=0.2)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_label_without_examples_has_no_weight(tiny_bert):
    """It had the largest one, and with label smoothing all examples leaned to it."""
    config = config_of(tiny_bert, label_smoothing=0.1, class_weights="balanced")
    loss = Loss(config, torch.tensor([30, 60, 0]), torch.device("cpu"))
    assert loss.weights_C is not None
    torch.testing.assert_close(loss.weights_C, torch.tensor([1.0, 0.5, 0.0]))


def test_r_drop_adds_what_two_passes_disagree_about(tiny_bert):
    torch.manual_seed(0)
    one, two, labels = torch.randn(5, 2), torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    loss = Loss(config_of(tiny_bert, rdrop=3.0), torch.bincount(labels), torch.device("cpu"))
    assert loss.passes == 2
    plain = cross_entropy(one, labels, reduction="sum").item()
    assert loss.of(torch.cat([one, one]), labels).item() == pytest.approx(plain, rel=1e-5)
    p, q = one.softmax(1), two.softmax(1)
    apart = ((p - q) * (p.log() - q.log())).sum()  # both divergences together
    mean = cross_entropy(torch.cat([one, two]), labels.repeat(2), reduction="sum") / 2
    both = loss.of(torch.cat([one, two]), labels).item()
    assert both == pytest.approx((mean + 3 * apart / 2).item(), rel=1e-5)
    halved = loss.of(torch.cat([one, two]), labels, 0.5).item()
    assert halved == pytest.approx((mean + 3 * apart / 4).item(), rel=1e-5)


def test_the_running_average_is_what_is_evaluated_and_saved(trained, fit_of):
    _, _, fit, _ = trained(ema=0.99, epochs=3)
    going = fit_of(ema=0.5)
    weights = dict(going.model.named_parameters())["classifier.weight"]
    of_run = weights.detach().clone()
    for step in range(1, 5):
        going._step(going.forward)
        decay = min(0.5, (1 + step) / (10 + step))
        of_run = decay * of_run + (1 - decay) * weights.detach()
        torch.testing.assert_close(going.average.weights["classifier.weight"], of_run)
    assert not torch.equal(of_run, weights)
    model = torch.nn.Linear(1, 1)
    average, mine = Average(model, 0.5), model.weight.item()
    for step in range(1, 4):
        with torch.no_grad():
            model.weight += 1
        decay = min(0.5, (1 + step) / (10 + step))
        mine = decay * mine + (1 - decay) * model.weight.item()
        average.update(step)
    with average.in_place():
        assert model.weight.item() == pytest.approx(mine)
    assert model.weight.item() != pytest.approx(mine)
    saved = load_file("outputs/model/model.safetensors")
    weights = fit.model.state_dict()
    assert all(torch.equal(weights[name], saved[name]) for name in saved)
    scores, _ = fit._evaluate()
    assert scores["eval_loss"] == pytest.approx(fit.progress.evaluations[-1]["eval_loss"], abs=1e-6)


@pytest.fixture
def lopsided(tmp_path):
    """Options of a task in which one label of four is the rarer one."""
    lines = [f"the doctor was {i},{int(i % 4 == 0)}" for i in range(60)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return {
        "task": "file", "data": str(tmp_path / "train.csv"), "text_columns": "text", "label_column": "label",
        "class_weights": "balanced",
    }  # fmt: skip


def disagreeing(forward):
    """Has the second of two passes say something else than the first, as dropout would."""

    def apart(batch):
        first, second = forward(batch).chunk(2)
        return torch.cat([first, 3 * second + torch.tensor([1.0, -1.0])])

    return apart


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_gradients_of_a_step_are_those_of_torch_s_weighted_loss(fit_of, lopsided, packing):
    fit = fit_of(dropout=0, label_smoothing=0.1, packing=packing, **lopsided)
    batch = [0, 1, 2, 3, 4, 5, 7]  # two of the rarer label
    fit.forward.train()
    said = fit._gradients(fit.forward, batch)
    made = {name: p.grad.clone() for name, p in fit.model.named_parameters()}
    fit.model.zero_grad()
    padded = DataCollatorWithPadding(fit.tokenizer)([fit.rows[i] for i in batch])
    loss = cross_entropy(
        fit.model(**padded).logits, fit.labels_N[batch], fit.loss.weights_C, label_smoothing=0.1
    )
    loss.backward()
    assert said == pytest.approx(loss.item(), abs=1e-6)
    for name, parameter in fit.model.named_parameters():
        torch.testing.assert_close(made[name], parameter.grad, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_the_head_reads_is_what_transformers_makes_of_the_tokens(fit_of, count, pooling):
    fit = fit_of(frozen_layers=count, pooling=pooling)
    fit.forward.eval()
    rows, bert = fit.rows[:5], fit.model.bert
    padded = DataCollatorWithPadding(fit.tokenizer)(rows)
    with torch.no_grad():
        hidden_BTD = bert(**padded).last_hidden_state
        real_BT1 = padded["attention_mask"][..., None]
        mean_BD = (hidden_BTD * real_BT1).sum(1) / real_BT1.sum(1)
        read_BD = mean_BD if pooling == "mean" else hidden_BTD[:, 0]
        wanted = fit.model.classifier(bert.pooler.dense(read_BD).tanh())
        torch.testing.assert_close(
            fit.forward(fit.forward.collate(rows)), wanted, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("rdrop", [0.0, 2.0])
def test_parts_of_a_batch_give_the_gradients_of_the_whole(fit_of, lopsided, rdrop):
    """Before AdamW, which would hide a wrong scale, and with labels that weigh differently."""
    gradients, sizes = [], []
    for accumulation in (1, 5):
        fit = fit_of(
            dropout=0, label_smoothing=0.1, rdrop=rdrop, accumulation=accumulation, **lopsided
        )
        assert fit.loss.weights_C.tolist() != [1.0, 1.0]
        collate = fit.forward.collate
        sizes.append([])
        fit.forward.collate = lambda rows, to=sizes[-1], by=collate: (
            to.append(len(rows)),
            by(rows),
        )[1]
        fit.forward.train()
        fit._gradients(disagreeing(fit.forward) if rdrop else fit.forward, list(range(16)))
        gradients.append({n: p.grad for n, p in fit.model.named_parameters()})
    passes = 2 if rdrop else 1
    assert sizes == [[16 * passes], [4 * passes] * 4]
    whole, parts = gradients
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=0, atol=1e-6, msg=name)


def test_two_passes_of_one_batch_drop_out_differently(fit_of, monkeypatch):
    fit = fit_of(rdrop=1.0)
    seen = []
    monkeypatch.setattr(
        fit.loss, "of", lambda logits, *rest: (seen.append(logits), logits.sum())[1]
    )
    fit.forward.train()
    fit._gradients(fit.forward, [0, 1, 2, 3])
    one, two = seen[0].chunk(2)
    assert not torch.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_layers_computed_twice_keep_less(fit_of, packing):
    """Bytes that the forward pass leaves for the backward one."""

    def kept(**options):
        fit, sizes = fit_of(packing=packing, **options), []

        def note(tensor):
            sizes.append(tensor.nbytes)
            return tensor

        fit.forward.train()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            fit._gradients(fit.forward, list(range(16)))
        return sum(sizes)

    assert kept(gradient_checkpointing="on") < 0.7 * kept()


def test_layers_computed_twice_give_the_same_numbers(trained):
    """With dropout: the second time has the masks of the first."""
    once, *_ = trained()
    twice, *_ = trained(gradient_checkpointing="on", checkpoint_dir="other")
    for one, two in zip(losses(once), losses(twice), strict=True):
        assert one == pytest.approx(two, abs=1e-6)


def test_training_ends_early_when_nothing_gets_better(trained):
    records, last, _, _ = trained(
        learning_rate=0.05, epochs=10, evaluations=10, early_stopping=2, metric="eval_accuracy",
        schedule="constant", keep="best",
    )  # fmt: skip
    assert last["ended_early"] is True
    assert len(records) < 10
    scores = [record["eval_accuracy"] for record in records]
    assert max(scores[-2:]) <= max(scores[:-2])
    assert last["fraction"] < records[-1]["fraction"] < 1  # the result is the best one
    assert last["eval_accuracy"] == max(scores)
    *_, never, _, _ = trained(learning_rate=0.05, epochs=3, checkpoint_dir="other")
    assert never["ended_early"] is False


def test_a_run_that_is_cut_off_goes_on_with_its_average_its_best_and_its_texts(
    fit_of, trained, capsys
):
    options = {"ema": 0.9, "keep": "best", "metric": "eval_loss", "augment": "swap", "accumulation": 2,
               "epochs": 3, "evaluations": 3, "frozen_layers": 1}  # fmt: skip
    whole, last, _, _ = trained(checkpoint_dir="whole", **options)
    cut = fit_of(**options)
    step = cut._step

    def until_the_second_epoch(in_step):
        step(in_step)
        cut.stop.asked = cut.progress.step == 5

    cut._step = until_the_second_epoch
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 5 of 9"):
        cut.run()
    capsys.readouterr()
    again, end, _, err = trained(**options)
    assert "resumes from step 5 of 9" in err
    assert again == whole
    untimed = [{k: v for k, v in r.items() if "second" not in k} for r in (end, last)]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}])
def test_the_model_that_is_saved_is_the_best_one_also_after_an_interruption(
    trained, fit_of, capsys, monkeypatch, options
):
    """The rate is so high from the tenth of eighteen steps that nothing after it can be the best."""
    monkeypatch.setattr(fit, "schedule_factor", lambda step, *_: 1.0 if step < 9 else 300.0)
    options = options | {"keep": "best", "metric": "eval_loss", "epochs": 6, "evaluations": 6}
    records, _, made, _ = trained(checkpoint_dir="whole", **options)
    best = min(records, key=lambda record: record["eval_loss"])
    assert best["step"] <= 12 < records[-1]["step"]
    assert made._evaluate()[0]["eval_loss"] == pytest.approx(best["eval_loss"], abs=1e-6)
    whole = load_file("outputs/model/model.safetensors")
    assert all(
        torch.equal(weights, made.model.state_dict()[name]) for name, weights in whole.items()
    )
    cut = fit_of(**options)
    step = cut._step

    def until_after_the_best(in_step):
        step(in_step)
        cut.stop.asked = cut.progress.step == best["step"] + 1

    cut._step = until_after_the_best
    with pytest.raises(Stopped):
        cut.run()
    capsys.readouterr()
    trained(**options)
    again = load_file("outputs/model/model.safetensors")
    assert all(torch.equal(weights, again[name]) for name, weights in whole.items())


def test_half_precision_without_a_gpu_is_a_sentence(fit_of):
    with pytest.raises(BadInput, match="fp16 needs a GPU"):
        fit_of(precision="fp16")


def test_half_precision_scales_its_losses(fit_of, monkeypatch):
    """fp16 as on a GPU, computed here: its gradients, a step that overflows, and going on."""
    monkeypatch.setattr(fit, "FP16_DEVICES", ("cpu",))
    half, full = (fit_of(precision=p, dropout=0, learning_rate=1e-3) for p in ("fp16", "fp32"))
    scale = half.scaler.get_scale()
    assert scale > 1000
    with half._autocast():
        assert half.forward(half.forward.collate(half.rows[:2])).dtype == torch.float16
    for each in (half, full):
        each.forward.train()
        each._gradients(each.forward, list(range(16)))
    exact = {n: p.grad for n, p in full.model.named_parameters()}
    largest = max(float(g.abs().max()) for g in exact.values())
    for name, p in half.model.named_parameters():
        torch.testing.assert_close(p.grad / scale, exact[name], rtol=0, atol=0.02 * largest)
    weight = half.model.classifier.weight
    handle = weight.register_hook(lambda g: torch.full_like(g, torch.inf))
    before = weight.detach().clone()
    half._step(half.forward)
    handle.remove()
    assert torch.equal(weight, before)
    assert half.scaler.get_scale() == scale / 2
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda p, most: norms.append(float(clip(p, most)))
    )
    half._step(half.forward)
    assert not torch.equal(weight, before)
    assert norms[0] < scale / 100, "the gradients are clipped without their scale"
    half._checkpoint()
    again = fit_of(precision="fp16", dropout=0, learning_rate=1e-3)
    again._go_on()
    assert again.progress.step == 2
    assert again.scaler.get_scale() == scale / 2


def test_the_mean_over_tokens_is_read_back_by_predict(trained, tiny_bert, monkeypatch):
    _, _, fit, _ = trained(pooling="mean", epochs=4)
    cut_at = []

    def noting(tokenizer, texts, longest):
        cut_at.append(longest)
        return tokenize(tokenizer, texts, longest)

    monkeypatch.setattr("train_script.predict.tokenize", noting)

    def texts_and_labels():
        with open("outputs/data/predictions.jsonl") as file:
            rows = [json.loads(line) for line in file]
        texts = [tuple(row[column] for column in fit.splits.text_columns) for row in rows]
        return texts, [row["predicted"] for row in rows]

    texts, labels = texts_and_labels()
    assert predict("outputs/model", texts) == labels
    assert cut_at == [fit.config.max_length], "by itself it cuts where training did"
    shutil.move("outputs/model", "from")  # what begins from there may read another way
    trained(model="from", pooling="cls", max_length=40)
    texts, labels = texts_and_labels()
    assert predict("outputs/model", texts) == labels
    with pytest.raises(BadInput, match="works only with packed batches"):
        trained(pooling="mean", packing="off")


PAIRS = Examples(
    [("a red cat sat", "the dog ran"), ("one two three", "four five")] * 50, [0, 1] * 50
)


def test_swapped_pairs_are_swapped_and_a_share_is_left_alone():
    changed = augment.augmented(PAIRS, "swap", 0.3, seed=1, epoch=0)
    assert 15 <= len(changed) <= 45
    assert all(texts == PAIRS.texts[i][::-1] for i, texts in changed.items())
    assert augment.augmented(PAIRS, "swap", 0.3, seed=1, epoch=0) == changed
    assert augment.augmented(PAIRS, "swap", 0.3, seed=1, epoch=1) != changed


def test_punctuation_leaves_the_words_in_their_order():
    changed = augment.augmented(PAIRS, "punctuation", 1.0, seed=1, epoch=0)
    assert len(changed) == 100
    for i, texts in changed.items():
        for text, before in zip(texts, PAIRS.texts[i], strict=True):
            words = text.split(" ")
            assert [word for word in words if word not in augment.MARKS] == before.split(" ")
            assert len(words) > len(before.split(" "))


def test_single_sentences_get_punctuation_and_only_the_share_asked_for(fit_of):
    alone = Examples([("a red cat sat",)] * 10, [0] * 10)
    assert all("".join(c for c in texts[0] if c not in augment.MARKS).split() == ["a", "red", "cat", "sat"]
               for texts in augment.augmented(alone, "punctuation", 1.0, seed=0, epoch=0).values())  # fmt: skip
    shares = []
    for share in (0.1, 0.9):
        made = fit_of(augment="swap", augment_share=share, train_limit=200)
        made._rows_of(0, 0)
        shares.append(len(made.changed) / 200)
    assert shares == pytest.approx([0.1, 0.9], abs=0.08)


def test_changed_texts_keep_their_labels_and_each_epoch_has_an_order_and_changes_of_its_own(fit_of):
    made = fit_of(augment="swap", augment_share=0.5, train_limit=60)
    batches = []
    collate = made.forward.collate
    made.forward.collate = lambda rows: (batches.append(rows), collate(rows))[1]
    orders, changes = [], []
    for epoch in (0, 1):
        batch = made._rows_of(epoch, 1)
        made.forward.train()
        made._gradients(made.forward, batch)
        texts = augment.augmented(made.splits.train, "swap", 0.5, made.config.seed, epoch)
        assert made.changed.keys() == texts.keys()
        for i, row in zip(batch, batches[-1], strict=True):
            mine = [texts.get(i, made.splits.train.texts[i])]
            assert row == tokenize(made.tokenizer, mine, made.config.max_length)[0]
        orders.append(list(made.order))
        changes.append(set(made.changed))
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(60))
    assert changes[0] != changes[1]


def test_no_more_of_a_text_is_changed_than_its_share():
    long = Examples([("one red car and a dog " * 8,)] * 40, [0] * 40)
    for texts in augment.augmented(long, "punctuation", 1.0, seed=0, epoch=0).values():
        marks = sum(word in augment.MARKS for word in texts[0].split(" "))
        assert 1 <= marks <= len(long.texts[0][0].split(" ")) / 3


@pytest.fixture
def wordnet(tmp_path, monkeypatch):
    """Files as wndb(5) describes them: a noun with synonyms, a word that is noun and verb, a unit with a capital, "not"."""
    data = "  1 a licence\n"
    place = len(data)
    data += "00000014 04 n 03 automobile 0 motor_car 0 car 0 000 | four wheels\n"
    unit = len(data)
    data += "00000099 23 n 02 megabit 0 Mb 0 000 | a million bits\n"
    (tmp_path / "data.noun").write_text(data)
    (tmp_path / "index.noun").write_text(
        f"  1 a licence\ncar n 1 0 1 1 {place:08d}  \nrun n 1 0 1 1 {place:08d}  \nmb n 1 0 1 1 {unit:08d}  \n"
        f"megabit n 1 0 1 1 {unit:08d}  \n"
    )
    (tmp_path / "index.verb").write_text(f"run v 1 0 1 1 {place:08d}  \n")
    (tmp_path / "data.adv").write_text("00000000 02 r 02 not 0 non 0 000 | negation\n")
    (tmp_path / "index.adv").write_text("not r 1 0 1 1 00000000  \n")
    (tmp_path / "index.adj").write_text("")
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    for function in (augment.synonyms, augment._wordnet, augment._indexes):
        function.cache_clear()
    yield
    for function in (augment.synonyms, augment._wordnet, augment._indexes):
        function.cache_clear()


@pytest.mark.usefixtures("wordnet")
def test_words_are_replaced_by_those_of_wordnet():
    assert augment.synonyms("car") == ("automobile", "motor car")
    assert augment.synonyms("run") == augment.synonyms("Car") == augment.synonyms("zzz") == ()
    assert augment.synonyms("megabit") == ("Mb",)
    assert augment.synonyms("mb") == (), "the files have Mb alone"
    assert augment.synonyms("not") == (), "the label may hang on it"
    examples = Examples([("my car is old", "we run")] * 20, [0] * 20)
    changed = augment.augmented(examples, "synonyms", 1.0, seed=0, epoch=0)
    first = {texts[0] for texts in changed.values()}
    assert first == {"my automobile is old", "my motor car is old"}
    assert {texts[1] for texts in changed.values()} == {"we run"}
    long = Examples([("car " * 20,)] * 10, [0] * 10)
    for texts in augment.augmented(long, "synonyms", 1.0, seed=0, epoch=0).values():
        assert texts[0].split().count("car") >= 17  # 15 % of twenty are three


def test_what_would_break_a_label_is_refused(monkeypatch):
    for kind in ("punctuation", "synonyms"):
        with pytest.raises(BadInput, match="would break the labels of cola"):
            augment.check(kind, "cola", 1)
    with pytest.raises(BadInput, match="swap needs pairs of texts"):
        augment.check("swap", "file", 1)
    monkeypatch.setattr(augment, "_wordnet", lambda: None)
    with pytest.raises(BadInput, match="needs WordNet's files: apt-get install wordnet-base"):
        augment.check("synonyms", "mrpc", 2)
    augment.check("punctuation", "mrpc", 2)


def test_frozen_parameters_have_no_optimizer(fit_of):
    fit = fit_of(frozen_layers=2)
    learning = sum(len(g["params"]) for g in make_optimizer(fit.model, fit.config).param_groups)
    assert learning == 4  # pooler and classifier, weights and biases


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"early_stopping": 2, "evaluations": 9}, "set keep to best"),
        ({"early_stopping": 3, "evaluations": 4, "keep": "best"}, "set evaluations to 5 or more"),
    ],
)
def test_early_stopping_that_cannot_be_meant_is_refused(tiny_bert, options, fault):
    with pytest.raises(BadInput, match=fault):
        config_of(tiny_bert, **options)


def test_what_is_measured_in_the_warmup_ends_nothing(fit_of):
    fit = fit_of(early_stopping=1, evaluations=8, keep="best", warmup_ratio=0.5)
    flat = [{"step": step, "eval_f1": 0.8} for step in range(1, fit.total_steps + 1)]
    ends = []
    for record in flat:
        fit.progress.evaluations.append(record)
        ends.append(fit._patience_is_over())
    assert ends.index(True) == fit.warmup_steps + 1  # the second one after it


def test_a_layer_cannot_be_frozen_and_begin_anew(fit_of):
    with pytest.raises(
        BadInput, match="reinit_layers 1 and frozen_layers 2 overlap in a model of 2"
    ):
        fit_of(frozen_layers=2, reinit_layers=1)
    fit_of(frozen_layers=1, reinit_layers=1)


def test_padded_layers_computed_twice_give_the_same_numbers_and_leave_frozen_ones_alone(
    trained, fit_of
):
    options = {"packing": "off", "frozen_layers": 1}
    once, *_ = trained(**options)
    twice, *_ = trained(gradient_checkpointing="on", checkpoint_dir="other", **options)
    for one, two in zip(losses(once), losses(twice), strict=True):
        assert one == pytest.approx(two, abs=1e-6)
    fit = fit_of(gradient_checkpointing="on", checkpoint_dir="third", **options)
    learning = []
    for layer in fit.model.bert.encoder.layer:
        layer.register_forward_hook(lambda _, __, out: learning.append(out.requires_grad))
    fit.forward.train()
    fit._gradients(fit.forward, [0, 1, 2])
    assert learning[:2] == [False, True]
