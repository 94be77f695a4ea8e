"""A two-layer BERT that really trains, made on the spot."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizerFast

from train_script.tasks import demo


def make_tiny_bert(folder: Path) -> Path:
    """Randomly initialised, with a WordPiece tokenizer of the demo's words; the folder."""
    words = {"the", "not", "was", "did", "by", "times", ".", ",", "[UNK]"}
    for group in (*demo.PEOPLE, *demo.TIMES):
        words |= {word for phrase in group for word in phrase.lower().split()}
    for deeds in demo.DEEDS:
        words |= {word for forms in deeds for form in forms for word in form.split()}
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    rest = sorted((words | set(demo.NUMBERS)) - set(special))
    vocabulary = {word: i for i, word in enumerate([*special, *rest])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
