"""The packed forward pass: the mathematics of transformers' model, without the padding."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForSequenceClassification

from train_script import packed
from train_script.packed import PackedBert, dropout, pack, why_not
from train_script.pretrained import PACKED

LENGTHS = [17, 3, 40, 17, 9, 25, 17, 17, 17, 17, 17, 17, 5, 31]


PADDING = 1


def made(kind, attention="sdpa", **options):
    """A small random classifier of a kind; ELECTRA's embeddings are narrower than its layers."""
    config = AutoConfig.for_model(
        kind, vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, type_vocab_size=2, pad_token_id=PADDING, num_labels=3,
        initializer_range=0.2, **options,
    )  # fmt: skip
    if kind == "electra":
        config.embedding_size = 16
    torch.manual_seed(1)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)


@pytest.fixture
def model():
    return made("bert")


def rows_of(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in lengths:
        ids = torch.randint(5, 60, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "token_type_ids": [0] * 2 + [1] * (length - 2)})
    return rows


def padded(rows):
    longest = max(len(row["input_ids"]) for row in rows)

    def field(of, padding=0):
        return torch.tensor(
            [of(row) + [padding] * (longest - len(row["input_ids"])) for row in rows]
        )

    return {
        "input_ids": field(lambda r: r["input_ids"], PADDING),
        "token_type_ids": field(lambda r: r["token_type_ids"]),
        "attention_mask": field(lambda r: [1] * len(r["input_ids"])),
    }


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", PACKED)
def test_loss_and_gradients_are_those_of_the_plain_model_at_every_step(kind, attention):
    model = made(kind, attention)
    assert why_not(model) == ""
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    mine = PackedBert(copy.deepcopy(model))
    both = [
        (model, lambda rows: model(**padded(rows)).logits),
        (mine, lambda rows: mine(pack(rows))),
    ]
    optimizers = [torch.optim.AdamW(part.parameters(), lr=1e-3) for part, _ in both]
    model.train(), mine.train()
    for step in range(6):
        rows = rows_of(LENGTHS if step % 2 else [11] * 14, seed=step)
        labels = torch.randint(3, (len(rows),), generator=torch.Generator().manual_seed(step))
        losses = []
        for (_, forward), optimizer in zip(both, optimizers, strict=True):
            optimizer.zero_grad()
            losses.append(cross_entropy(forward(rows), labels))
            losses[-1].backward()
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-5)
        theirs = dict(model.named_parameters())
        for name, parameter in mine.model.named_parameters():
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=0, atol=1e-5)
        assert max(p.grad.abs().max() for p in theirs.values()) > 1e-2
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("options", [{}, {"saves_memory": True}])
@pytest.mark.parametrize("kind", PACKED)
def test_attention_as_it_is_computed_with_dropout_is_that_of_the_plain_model(
    kind, options, monkeypatch
):
    """On a CPU that is another form than without; here nothing falls out of it."""
    model = made(kind, attention_probs_dropout_prob=0.1)
    mine = PackedBert(copy.deepcopy(model), **options)
    asked = []
    monkeypatch.setattr(packed, "dropout", lambda x, p, training: (asked.append(p), x)[1])
    for name, part in [*model.named_modules(), *mine.model.named_modules()]:
        of_attention = name.endswith("attention.self.dropout") and part not in model.modules()
        if isinstance(part, torch.nn.Dropout) and not of_attention:
            part.p = 0.0
    model.train(), mine.train()
    rows = rows_of(LENGTHS)
    labels = torch.randint(3, (len(rows),), generator=torch.Generator().manual_seed(0))
    losses = [cross_entropy(f, labels) for f in (model(**padded(rows)).logits, mine(pack(rows)))]
    for loss in losses:
        loss.backward()
    assert 0.1 in asked
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-5)
    for name, parameter in model.named_parameters():
        own = mine.model.get_parameter(name)
        torch.testing.assert_close(own.grad, parameter.grad, rtol=0, atol=1e-5)


def test_batches_have_few_shapes():
    """Else the CPU's library makes its kernels anew for nearly each of them."""
    lengths = [40, 41, 45, 46, 47, 51, 52, 53, 60, 33]
    batches = [pack(rows_of([n + extra for n in lengths])) for extra in range(4)]
    assert [len(b.sequence_R) for b in batches] == [468, 478, 488, 498]
    assert {len(b.ids_N) for b in batches} == {480, 512}
    sizes = {len(t) for b in batches for t in (b.types_N, b.positions_N)}
    assert sizes == {480, 512}
    assert {g.mask_GT.shape[1] for b in batches for g in b.groups} <= {56, 64}


@pytest.mark.parametrize("kind", PACKED)
def test_an_evaluation_gives_the_plain_logits_in_the_order_of_the_batch(kind):
    model, rows = made(kind), rows_of(LENGTHS)
    mine = PackedBert(model)
    model.eval(), mine.eval()
    with torch.inference_mode():
        torch.testing.assert_close(
            mine(pack(rows)), model(**padded(rows)).logits, rtol=0, atol=1e-5
        )


def test_cheap_dropout_drops_the_share_it_is_asked_for_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(1000, 1001, requires_grad=True)
    for p in (0.1, 0.5, 0.0003):
        y = dropout(x, p, training=True)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert (y == 0).float().mean().item() == pytest.approx(p, rel=0.05 if p > 0.01 else 0.3)
        assert y.mean().item() == pytest.approx(1, abs=0.005)
        torch.testing.assert_close(y.detach(), grad)  # what was kept, and by how much it was scaled
    assert dropout(x, 0.1, training=False) is x
    assert dropout(x, 0.9999999, training=True).isfinite().all()


def test_dropout_in_bfloat16_rounds_what_is_kept_once():
    torch.manual_seed(0)
    x = torch.randn(1000, 101).bfloat16()
    y = dropout(x, 0.1, training=True)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=0.005)
    exact = x.float() * (65536 / (65536 - 6554))
    torch.testing.assert_close(y[kept], exact.bfloat16()[kept], rtol=0, atol=0)


def test_dropout_follows_torch_s_seed(model):
    mine, batch = PackedBert(model).train(), pack(rows_of(LENGTHS))
    torch.manual_seed(3)
    first = mine(batch)
    other = mine(batch)
    torch.manual_seed(3)
    assert torch.equal(mine(batch), first)
    assert not torch.equal(other, first)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_each_dropout_reaches_its_place_and_no_other(kind, monkeypatch):
    """Layers 0.1, the attention's weights 0.2, before the classifier 0.3, drawn as often as each is there."""
    model = made(
        kind, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.2, classifier_dropout=0.3
    )
    seen = []

    def noting(x, p, training):
        assert training
        seen.append((p, x.ndim))
        return x

    monkeypatch.setattr(packed, "dropout", noting)
    PackedBert(model).train()(pack(rows_of([9] * 8)))  # one group
    in_layers, of_attention = (0.1, 2), (0.2, 4)
    of_head = [(0.3, 2)] if kind == "bert" else []  # RoBERTa's head has its own, torch's
    layer = [of_attention, in_layers, in_layers]
    assert seen == [in_layers, *layer, *layer, *of_head]
    if kind == "roberta":
        assert model.classifier.dropout.p == 0.3


def test_what_it_cannot_compute_is_said():
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    tiny = DistilBertConfig(dim=8, n_layers=1, n_heads=1, hidden_dim=8, vocab_size=10)
    why = why_not(DistilBertForSequenceClassification(tiny))
    assert "DistilBertForSequenceClassification" in why
    assert "(bert, camembert, electra, roberta, xlm-roberta)" in why
    assert "a decoder" in why_not(made("bert", is_decoder=True))
