import json
from collections import Counter

import pytest

from train_script.errors import BadInput
from train_script.tasks import TaskOptions, fingerprint, load_task, write_prepared
from train_script.tasks.hub import from_hub_rows

MRPC_HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def mrpc_rows(count=6):
    return [
        f'{i % 2}\t{i}\t{i + 100}\tHe said " yes {i} .\tYes , he said {i} .' for i in range(count)
    ]


def write(path, lines, ending="\n"):
    path.write_bytes((ending.join(lines) + ending).encode())


def glue_folder(tmp_path):
    write(tmp_path / "train.tsv", [MRPC_HEADER, *mrpc_rows()], "\r\n")
    write(tmp_path / "dev.tsv", [MRPC_HEADER, *mrpc_rows(4)])
    return tmp_path


def test_mrpc_reads_byte_order_mark_stray_quotes_and_windows_lines(tmp_path):
    splits = load_task("mrpc", TaskOptions(data=str(glue_folder(tmp_path))))
    assert len(splits.train) == 6
    assert len(splits.validation) == 4
    assert splits.train.texts[0] == ('He said " yes 0 .', "Yes , he said 0 .")
    assert splits.train.labels == [0, 1, 0, 1, 0, 1]


def test_original_mrpc_files_give_glues_split(tmp_path):
    write(tmp_path / "msr_paraphrase_train.txt", [MRPC_HEADER, *mrpc_rows(8)])
    write(tmp_path / "dev_ids.tsv", ["2\t102", "3\t103"])
    splits = load_task("mrpc", TaskOptions(data=str(tmp_path)))
    assert len(splits.train) == 6
    assert [texts[1] for texts in splits.validation.texts] == [
        "Yes , he said 2 .",
        "Yes , he said 3 .",
    ]


def test_test_data_is_never_used_for_validation(tmp_path):
    write(tmp_path / "msr_paraphrase_train.txt", [MRPC_HEADER, *mrpc_rows(20)])
    write(tmp_path / "msr_paraphrase_test.txt", [MRPC_HEADER, *mrpc_rows(40)[20:]])
    splits = load_task("mrpc", TaskOptions(data=str(tmp_path)))
    used = {*splits.train.texts, *splits.validation.texts}
    assert len(splits.test) == 20
    assert not used & set(splits.test.texts)


def test_original_and_glue_files_of_real_mrpc_agree(mrpc_folder, tmp_path):
    for name in ("msr_paraphrase_train.txt", "dev_ids.tsv"):
        (tmp_path / name).symlink_to(mrpc_folder / name)
    original = load_task("mrpc", TaskOptions(data=str(tmp_path)))
    glue = load_task("mrpc", TaskOptions(data=str(mrpc_folder)))
    assert (len(glue.train), len(glue.validation)) == (3668, 408)
    assert Counter(original.validation.texts) == Counter(glue.validation.texts)
    assert Counter(original.train.texts) == Counter(glue.train.texts)


def test_real_cola_has_both_dev_files_as_glue_does(cola_folder):
    splits = load_task("cola", TaskOptions(data=str(cola_folder)))
    assert (len(splits.train), len(splits.validation)) == (8551, 1043)
    assert splits.train.texts[0] == (
        "Our friends won't buy this analysis, let alone the next one we propose.",
    )


def test_hub_rows_become_splits_without_hidden_labels():
    from datasets import Dataset

    rows = {"sentence": ["a", "b"], "label": [1, 0]}
    parts = {"train": Dataset.from_dict(rows), "validation": Dataset.from_dict(rows),
             "test": Dataset.from_dict({"sentence": ["c"], "label": [-1]})}  # fmt: skip
    splits = from_hub_rows("cola", parts, ("sentence",), ("no", "yes"))
    assert splits.train.texts == [("a",), ("b",)]
    assert splits.train.labels == [1, 0]
    assert splits.test is None


def test_short_row_is_named_by_file_and_line(tmp_path):
    folder = glue_folder(tmp_path)
    write(folder / "train.tsv", [MRPC_HEADER, mrpc_rows()[0], "1\t2\t3\tonly four"])
    with pytest.raises(BadInput, match=r"train\.tsv:3 has 4 fields; a row here needs 5"):
        load_task("mrpc", TaskOptions(data=str(folder)))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_own_file_in_each_format_gives_the_same_splits(tmp_path, suffix):
    rows = [(f"text {i}, with a comma", ["good", "bad", "ugly"][i % 3]) for i in range(30)]
    path = tmp_path / f"mine{suffix}"
    if suffix == ".csv":
        write(path, ["id,body,verdict", *(f'{i},"{t}",{v}' for i, (t, v) in enumerate(rows))])
    elif suffix == ".tsv":
        write(path, ["id\tbody\tverdict", *(f"{i}\t{t}\t{v}" for i, (t, v) in enumerate(rows))])
    else:
        write(path, [json.dumps({"body": t, "verdict": v}) for t, v in rows])
    options = TaskOptions(data=str(path), text_columns=("body",), label_column="verdict")
    splits = load_task("file", options)
    assert splits.labels == ("bad", "good", "ugly")
    assert (len(splits.train), len(splits.validation)) == (24, 6)
    assert Counter(splits.validation.labels) == {0: 2, 1: 2, 2: 2}
    together = {t[0] for t in splits.train.texts} | {t[0] for t in splits.validation.texts}
    assert together == {t for t, _ in rows}


def file_options(path, **more):
    return TaskOptions(data=str(path), text_columns=("text",), label_column="label", **more)


@pytest.mark.parametrize(
    ("lines", "name", "fault"),
    [
        (["text,lable", "a,1", "b,0"], "x.csv", "has no column 'label'; did you mean lable"),
        (["text,label", "a,1", "b"], "x.csv", "x.csv:3 has 1 fields; the header has 2 columns"),
        (["text,label", "a,1", "b,1"], "x.csv", "all .* examples have the label '1'"),
        (['{"text": "a", "label": 1}', "{oops"], "x.jsonl", "x.jsonl:2 is not JSON"),
        (['{"text": "a"}'], "x.jsonl", "x.jsonl:1 has no 'label'"),
        (["text\tlabel", "a\t"], "x.tsv", "x.tsv:2 has no label"),
        (["text,label", '"a,1'], "x.csv", "x.csv:2 is not valid CSV"),
        (["a"], "x.parquet", "unknown kind of file"),
        (["text,label"], "x.csv", "has 0 examples"),
        ([""], "x.jsonl", "has 0 examples"),
        (['{"text": "a", "label": null}'], "x.jsonl", "x.jsonl:1 'label' is null"),
        (['{"text": "a\\ud83d", "label": 1}'], "x.jsonl", "x.jsonl:1 'text' has half a character"),
        (['{"text": "a", "label": NaN}'], "x.jsonl", "x.jsonl:1 'label' is NaN"),
        (['{"text": "a", "label": [1]}'], "x.jsonl", "x.jsonl:1 'label' is .1.; a text, a number"),
        (['{"text": "a", "label": ' + "1" * 5000 + "}"], "x.jsonl", "x.jsonl:1 is not JSON"),
        (["text,label", "a,1", "b, and more,0"], "x.csv", "x.csv:3 has 3 fields.* comma not in quotes"),
        (["text;label", "a;1"], "x.csv", "x.csv is separated by semicolons; .csv needs commas"),
        (["text,label", "a,1"], "x.tsv", "x.tsv is separated by commas; .tsv needs tabs"),
        ([""], "x.csv", "x.csv is empty"),
        (["text,label", *(f"a,{i / 7}" for i in range(20))], "x.csv", "20 different labels; classes"),
    ],
)  # fmt: skip
def test_faulty_file_is_explained(tmp_path, lines, name, fault):
    write(tmp_path / name, lines)
    with pytest.raises(BadInput, match=fault):
        load_task("file", file_options(tmp_path / name))


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["train.csv", "train.tsv"], "has train.tsv and train.csv; name the file to be read"),
        (["train.csv", "val.csv"], "val.csv has the same examples as .*train.csv"),
    ],
)
def test_a_folder_that_is_not_clear_is_refused(tmp_path, names, fault):
    for name in names:
        write(tmp_path / name, ["text,label", "a,1", "b,0"])
    with pytest.raises(BadInput, match=fault):
        load_task("file", file_options(tmp_path))


def test_the_label_is_no_text(tmp_path):
    write(tmp_path / "x.csv", ["text,label", "a,1", "b,0"])
    options = TaskOptions(
        data=str(tmp_path / "x.csv"), text_columns=("text", "label"), label_column="label"
    )
    with pytest.raises(BadInput, match="different columns for texts and label"):
        load_task("file", options)


def test_empty_fields_too_many_and_long_texts_are_read(tmp_path):
    write(tmp_path / "x.csv", ["text,label", "a,1,", f"{'long ' * 40_000},0,", "c,1,", "d,0,"])
    splits = load_task("file", file_options(tmp_path / "x.csv", validation_fraction=0.5))
    assert len(splits.train) + len(splits.validation) == 4


def test_text_column_named_label_is_not_overwritten(tmp_path):
    write(tmp_path / "x.csv", ["label,y", *(f"words {i},{i % 2}" for i in range(20))])
    options = TaskOptions(data=str(tmp_path / "x.csv"), text_columns=("label",), label_column="y")
    splits = load_task("file", options)
    write_prepared(splits, tmp_path / "data")
    assert load_task("file", TaskOptions(data=str(tmp_path / "data"))).train == splits.train


def test_labels_have_one_order_whatever_python_thinks_of_them(tmp_path):
    from train_script.tasks.file import _sorted_labels

    assert _sorted_labels({"10", "9", "9.0"}) == ("9", "9.0", "10")
    assert _sorted_labels({"nan", "0", "1"}) == ("0", "1", "nan")


def test_line_separator_in_a_csv_field_is_text(tmp_path):
    write(tmp_path / "x.csv", ["text,label", *(f"a\u2028b\x0cc {i},{i % 2}" for i in range(10))])
    splits = load_task("file", file_options(tmp_path / "x.csv"))
    assert len(splits.train) + len(splits.validation) == 10


def test_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="nowhere.csv does not exist"):
        load_task("file", file_options(tmp_path / "nowhere.csv"))


def test_text_in_another_encoding_is_named_by_line(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"text,label\nfine,1\ncaf\xe9,0\n")
    with pytest.raises(BadInput, match=r"x\.csv:3 is not UTF-8"):
        load_task("file", file_options(tmp_path / "x.csv"))


def test_demo_is_the_same_for_the_same_seed_and_another_for_another():
    one, two = (load_task("demo", TaskOptions(split_seed=s)) for s in (0, 1))
    assert one.train.texts == load_task("demo", TaskOptions(split_seed=0)).train.texts
    assert one.train.texts != two.train.texts


def test_demo_classes_are_told_apart_by_words_alone_only_in_part():
    """A lone "not" betrays many hard negatives; numbers and roles need the pair (a trial has 0.78)."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    splits = load_task("demo", TaskOptions())
    words = CountVectorizer()
    train = words.fit_transform([" ".join(t) for t in splits.train.texts])
    dev = words.transform([" ".join(t) for t in splits.validation.texts])
    model = LogisticRegression(max_iter=2000).fit(train, splits.train.labels)
    assert model.score(dev, splits.validation.labels) < 0.70


def test_limit_takes_a_stratified_sample():
    splits = load_task("demo", TaskOptions(train_limit=100))
    assert len(splits.train) == 100
    whole = load_task("demo", TaskOptions())
    share = sum(whole.train.labels) / len(whole.train)
    assert abs(sum(splits.train.labels) - 100 * share) <= 1


def test_prepared_folder_gives_the_same_splits_back(tmp_path):
    splits = load_task("demo", TaskOptions(train_limit=50))
    digest = write_prepared(splits, tmp_path / "data")
    again = load_task("demo", TaskOptions(data=str(tmp_path / "data")))
    assert again.train == splits.train
    assert again.validation == splits.validation
    assert fingerprint(tmp_path / "data") == digest


def test_line_separators_inside_texts_survive_preparing(tmp_path):
    rows = [{"text": f"a\u2028b\u0085c {i}", "label": i % 2} for i in range(20)]
    write(tmp_path / "x.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])
    splits = load_task("file", file_options(tmp_path / "x.jsonl"))
    write_prepared(splits, tmp_path / "data")
    assert load_task("file", TaskOptions(data=str(tmp_path / "data"))).train == splits.train


def test_edited_prepared_folder_is_refused(tmp_path):
    write_prepared(load_task("demo", TaskOptions(train_limit=50)), tmp_path)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(BadInput, match="was changed after the sweep began"):
        load_task("demo", TaskOptions(data=str(tmp_path)))


def test_unknown_task_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean mrpc"):
        load_task("mrcp", TaskOptions())
