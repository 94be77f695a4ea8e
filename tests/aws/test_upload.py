"""What travels to S3, and what comes back."""

import gzip
import io
import shutil
import tarfile
from functools import partial

import pytest

from tests.emulator.server import BUCKET
from train_script.tasks import write_prepared
from tuner.aws.jobs import fetch_model
from tuner.aws.session import AwsError, connect
from tuner.aws.upload import model_files, pack_script, send_channels, send_script
from tuner.errors import TunerError
from tuner.sweep import load_sweep

OWN = {
    "script": None, "task": {"name": "demo"}, "objective": {"metric": "eval_f1"},
    "space": {"learning_rate": {"float": [1e-5, 1e-3]}},
}  # fmt: skip


def names(packed):
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return tar.getnames()


def test_own_script_travels_as_its_package_with_requirements_on_top(write_sweep):
    packed, program = pack_script(load_sweep(write_sweep(**OWN)))
    assert program == "train_script/train.py"
    assert {"requirements.txt", "train_script/train.py", "train_script/tasks/demo.py"} <= set(
        names(packed)
    )
    assert not [name for name in names(packed) if "__pycache__" in name]


def test_equal_files_give_equal_bytes_and_are_sent_once(write_sweep, emulator):
    loaded = load_sweep(write_sweep(**OWN))
    assert pack_script(loaded) == pack_script(loaded)
    aws = connect()
    first = send_script(aws, BUCKET, loaded)
    before = emulator.all_requests
    assert send_script(aws, BUCKET, loaded) == first
    assert emulator.all_requests == before + 1  # a look, and no upload


def test_another_build_of_zlib_gives_the_same_address(write_sweep, emulator, monkeypatch):
    """The address is part of the jobs' names: another one would be a second tuning job."""
    loaded, aws = load_sweep(write_sweep(**OWN)), connect()
    packed, _ = pack_script(loaded)
    first = send_script(aws, BUCKET, loaded)
    monkeypatch.setattr("tuner.aws.upload.gzip.GzipFile", partial(gzip.GzipFile, compresslevel=1))
    assert pack_script(loaded)[0] != packed
    assert send_script(aws, BUCKET, loaded) == first


def test_script_of_your_own_travels_with_the_python_files_beside_it(write_sweep, tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    for name in ("train.py", "helper.py", "requirements.txt", "data.bin", "sub/more.py"):
        (folder / name).write_text("x")
    loaded = load_sweep(write_sweep(script="mine/train.py"))
    packed, program = pack_script(loaded)
    assert program == "train.py"
    assert names(packed) == ["helper.py", "requirements.txt", "train.py"]
    whole = load_sweep(write_sweep(script="mine/train.py", sagemaker={"source_dir": "mine"}))
    assert "sub/more.py" in names(pack_script(whole)[0])
    elsewhere = load_sweep(write_sweep(script="mine/train.py", sagemaker={"source_dir": "gone"}))
    with pytest.raises(TunerError, match="gone is no folder that holds train.py"):
        pack_script(elsewhere)


def test_folder_too_large_to_travel_is_named(write_sweep, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.py").write_text("x")
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(51 * 2**20)
    loaded = load_sweep(write_sweep(script="mine/train.py", sagemaker={"source_dir": "mine"}))
    with pytest.raises(TunerError, match=r"51 MiB \(the largest file is weights.bin\)"):
        pack_script(loaded)


def test_models_that_are_folders_travel_under_their_own_names(write_sweep, tiny_bert, tmp_path):
    loaded = load_sweep(write_sweep(**OWN, model=str(tiny_bert)))
    sent = [name for name, _ in model_files(loaded)]
    assert f"{tiny_bert.name}/config.json" in sent
    assert f"{tiny_bert.name}/model.safetensors" in sent
    other = tmp_path / "b" / tiny_bert.name
    other.mkdir(parents=True)
    (other / "config.json").write_text((tiny_bert / "config.json").read_text())
    space = {"model": {"choice": [str(tiny_bert), str(other)]}}
    both = load_sweep(write_sweep(**OWN | {"space": space}))
    with pytest.raises(TunerError, match="would both be called"):
        list(model_files(both))


def test_model_trained_anew_has_another_address(write_sweep, tiny_bert, tmp_path, emulator):
    """Its files have the same names and sizes."""
    folder = tmp_path / "snapshots" / "mine"
    shutil.copytree(tiny_bert, folder)
    loaded, aws = load_sweep(write_sweep(**OWN, model=str(folder))), connect()
    write_prepared(loaded.load_splits(), data := tmp_path / "data")
    first = send_channels(aws, BUCKET, loaded, data)["models"]
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert send_channels(aws, BUCKET, loaded, data)["models"] != first


def test_refused_upload_is_one_sentence(write_sweep, tiny_bert, tmp_path, emulator):
    loaded = load_sweep(write_sweep(**OWN, model=str(tiny_bert)))
    write_prepared(loaded.load_splits(), data := tmp_path / "data")
    with pytest.raises(AwsError, match="s3:PutObject failed: Failed to upload .* not exist"):
        send_channels(connect(), "no-such-bucket", loaded, data)


def test_what_is_no_file_beside_the_script_does_not_travel(write_sweep, tmp_path):
    folder = tmp_path / "mine"
    (folder / "folder.py").mkdir(parents=True)
    (folder / "train.py").write_text("x")
    (folder / ".#train.py").symlink_to("nowhere")
    assert names(pack_script(load_sweep(write_sweep(script="mine/train.py")))[0]) == ["train.py"]


def test_archive_that_leads_out_of_its_folder_is_refused(emulator, tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("../../escaped")
        tar.addfile(info)
    emulator.client("s3").put_object(Bucket=BUCKET, Key="evil.tar.gz", Body=packed.getvalue())
    with pytest.raises(TunerError, match="cannot be unpacked"):
        fetch_model(connect(), f"s3://{BUCKET}/evil.tar.gz", tmp_path / "a" / "b")
    assert not (tmp_path / "escaped").exists()
