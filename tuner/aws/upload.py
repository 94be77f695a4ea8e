"""What travels to S3: the script, the prepared data, models that are not on the hub.

Every object's address holds the hash of its content, so nothing is sent twice, and a job that runs
can never have its input changed under it.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from train_script.pretrained import locate_model
from train_script.tasks import fingerprint
from tuner.aws.session import Aws, speaking
from tuner.errors import TunerError
from tuner.sweep import LoadedSweep, models_of

LARGEST_SOURCE = 50 * 2**20
IGNORED = {"__pycache__", ".git", ".venv", "node_modules", "runs", "outputs"}
OF_A_SCRIPT = ("*.py", "requirements.txt")


def pack_script(loaded: LoadedSweep) -> tuple[bytes, str]:
    """The script as sourcedir.tar.gz, and the program's name in it. Equal files give equal bytes.

    This project's script travels as its package, with requirements.txt at the top, where the
    container's toolkit looks for it. TunerError where a folder is larger than 50 MiB.
    """
    script = loaded.script
    if loaded.uses_own_script:
        root = script.parent.parent
        members = {
            str(path.relative_to(root)): path
            for path in sorted(script.parent.rglob("*.py"))
            if path.is_file()
        }
        members["requirements.txt"] = script.parent / "requirements.txt"
        return _tar(members), str(script.relative_to(root))
    named = loaded.sweep.sagemaker.source_dir
    if named is None:
        beside = [path for pattern in OF_A_SCRIPT for path in sorted(script.parent.glob(pattern))]
        return _tar({path.name: path for path in beside if path.is_file()}), script.name
    root = (loaded.folder / named).resolve()
    if not root.is_dir() or not script.is_relative_to(root):
        raise TunerError(f"sagemaker.source_dir {named} is no folder that holds {script.name}")
    return _tar(dict(_files_below(root))), str(script.relative_to(root))


def _files_below(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if path.is_file() and not IGNORED.intersection(inner.parts):
            yield str(inner), path


def _tar(members: Mapping[str, Path]) -> bytes:
    size = sum(path.stat().st_size for path in members.values())
    if size > LARGEST_SOURCE:
        largest = max(members.values(), key=lambda path: path.stat().st_size)
        raise TunerError(
            f"the script's folder has {size / 2**20:.0f} MiB (the largest file is {largest.name}); "
            f"at most {LARGEST_SOURCE // 2**20} MiB travel with a script: name a smaller "
            "sagemaker.source_dir, and send data as a channel"
        )
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in sorted(members.items()):
            info = tarfile.TarInfo(name)
            content = path.read_bytes()
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def send_script(aws: Aws, bucket: str, loaded: LoadedSweep) -> tuple[str, str]:
    """The script's address on S3 and the program's name in it; sent where it is not yet there."""
    content, program = pack_script(loaded)
    # Of what is packed: another build of zlib packs the same into other bytes.
    digest = hashlib.sha256(gzip.decompress(content)).hexdigest()[:16]
    key = f"{loaded.sweep.sagemaker.prefix}/source/{digest}/sourcedir.tar.gz"
    with speaking("s3:PutObject"):
        if not _is_there(aws, bucket, key, len(content)):
            aws.s3.put_object(Bucket=bucket, Key=key, Body=content, **_encrypted(loaded))
    return f"s3://{bucket}/{key}", program


def send_channels(aws: Aws, bucket: str, loaded: LoadedSweep, data: Path) -> dict[str, str]:
    """The addresses of the channels: the run's prepared data, the models, the block's own ones.

    The channels' addresses hold the hash of their content.
    """
    prefix = loaded.sweep.sagemaker.prefix
    channels = dict(loaded.sweep.sagemaker.channels)
    if loaded.task_options is not None:
        base = f"{prefix}/data/{fingerprint(data)[:16]}"
        _send_folder(aws, bucket, base, [(p.name, p) for p in sorted(data.iterdir())], loaded)
        channels["training"] = f"s3://{bucket}/{base}/"
    if models := list(model_files(loaded)):
        base = f"{prefix}/models/{_digest(models)}"
        _send_folder(aws, bucket, base, models, loaded)
        channels["models"] = f"s3://{bucket}/{base}/"
    return channels


def model_files(loaded: LoadedSweep) -> Iterator[tuple[str, Path]]:
    """The files of every model that a container could not get from the hub, below its own name.

    TunerError where two folders would have one name there.
    """
    if not loaded.uses_own_script:
        return
    seen: dict[str, str] = {}
    for model in models_of(loaded.sweep):
        place = loaded.model_place(model)
        if not loaded.sends_model(model):
            continue
        folder = Path(locate_model(place))
        name = Path(place).name
        if seen.setdefault(name, place) != place:
            raise TunerError(
                f"the models {seen[name]} and {place} would both be called {name} in a container; "
                "rename one folder"
            )
        for path in sorted(folder.iterdir()):
            if path.is_file():
                yield f"{name}/{path.name}", path


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    """A hash over names and contents."""
    digest = hashlib.sha256()
    for name, path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def _send_folder(
    aws: Aws, bucket: str, base: str, files: Iterable[tuple[str, Path]], loaded: LoadedSweep
) -> None:
    with speaking("s3:PutObject"):
        for name, path in files:
            key = f"{base}/{name}"
            if not _is_there(aws, bucket, key, path.stat().st_size):
                aws.s3.upload_file(str(path), bucket, key, ExtraArgs=_encrypted(loaded))


def _encrypted(loaded: LoadedSweep) -> dict[str, str]:
    key = loaded.sweep.sagemaker.kms_key
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


def _is_there(aws: Aws, bucket: str, key: str, size: int) -> bool:
    """Whether the object was sent whole before: an object appears on S3 only when it is complete."""
    from botocore.exceptions import ClientError

    try:
        return bool(aws.s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size)
    except ClientError:
        return False
