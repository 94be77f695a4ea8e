"""What `tuner schedule aws` does, and what brings its tuning jobs in as slots."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.cli_results import write_report_of
from tuner.cli_slots import book_of, home_of, last_before, name_of, summed_up, tell_of
from tuner.errors import TunerError

if TYPE_CHECKING:
    from train_script.tasks import Splits
    from tuner.sweep import LoadedSweep


def put_schedule(
    loaded: "LoadedSweep", splits: "Splits | None", role: str, dead_letters: str
) -> None:
    """Sends script and data, then creates or changes the schedule."""
    import optuna

    from tuner.aws import events
    from tuner.aws.limits import role_of
    from tuner.aws.request import Place
    from tuner.aws.session import choose_bucket, connect, training_image
    from tuner.aws.upload import send_channels, send_script
    from tuner.ledger import Ledger
    from tuner.points import Points
    from tuner.run_folder import RunFolder

    assert loaded.sweep.schedule is not None
    events.expression(
        loaded.sweep.schedule
    )  # it may have none; that is said before anything is sent
    aws = connect(loaded.sweep.sagemaker.region)
    block = loaded.sweep.sagemaker
    bucket, image = choose_bucket(aws, block), training_image(block, aws.region)
    code, program = send_script(aws, bucket, loaded)
    with tempfile.TemporaryDirectory() as elsewhere:  # on S3 they lie under their hashes
        folder = RunFolder(Path(elsewhere))
        folder.prepare_data(splits)
        channels = send_channels(aws, bucket, loaded, folder.data)
    place = Place(aws.region, str(role_of(loaded)), bucket, image, code, program, channels)
    points = Points(loaded, Ledger(optuna.create_study()))
    asked = events.schedule_request(loaded, place, points, role, dead_letters)
    is_new = events.put(aws, asked)
    print(
        f"schedule {asked['Name']} {'created' if is_new else 'changed'} in {aws.region}: "
        f"{asked['ScheduleExpression']} {asked['ScheduleExpressionTimezone']}, each time a tuning job of "
        f"{points.search_total()} training jobs"
    )
    print("it costs money at every slot until `tuner schedule aws SWEEP --remove`")


def show_schedule(loaded: "LoadedSweep") -> None:
    """Prints the schedule as AWS has it, with the whole request that it sends."""
    from tuner.aws import events
    from tuner.aws.session import connect

    aws = connect(loaded.sweep.sagemaker.region)
    said = events.read(aws, events.name_of(loaded))
    if said is None:
        raise TunerError(f"there is no schedule {events.name_of(loaded)} in {aws.region}")
    target = said["Target"]
    print(f"schedule {said['Name']} in {aws.region}: {said['State'].lower()}")
    print(f"{said['ScheduleExpression']} {said.get('ScheduleExpressionTimezone', 'UTC')}")
    print(f"role {target['RoleArn']}, dead letters {target['DeadLetterConfig']['Arn']}")
    print(json.dumps(json.loads(target["Input"]), indent=2))


def remove_schedule(loaded: "LoadedSweep") -> None:
    """Removes the schedule, and says whether there was one."""
    from tuner.aws import events
    from tuner.aws.session import connect

    aws, name = connect(loaded.sweep.sagemaker.region), events.name_of(loaded)
    was = events.remove(aws, name)
    print(
        f"schedule {name} {'removed' if was else 'was not there'}; tuning jobs that run are left running"
    )


def show_policies(loaded: "LoadedSweep", dead_letters: str) -> None:
    """Prints what the schedule's role needs."""
    from tuner.aws import events
    from tuner.aws.limits import role_of
    from tuner.aws.session import connect

    aws, training_role = connect(loaded.sweep.sagemaker.region), role_of(loaded)
    if training_role is None:
        raise TunerError(
            "the training jobs' role is missing: set sagemaker.role or $SAGEMAKER_ROLE"
        )
    found = events.policies(loaded, aws.region, aws.account, training_role, dead_letters)
    print(json.dumps(found, indent=2))


def import_slots(loaded: "LoadedSweep") -> None:
    """Brings every finished tuning job of the schedule in as a slot, once, and compares each."""
    from reports.index import write_index
    from tuner.aws import events
    from tuner.aws.session import connect
    from tuner.exchange import amt
    from tuner.ledger import Ledger
    from tuner.run_folder import RunFolder
    from tuner.schedule.book import DONE, FAILED
    from tuner.schedule.times import as_text

    aws, book, added = connect(loaded.sweep.sagemaker.region), book_of(loaded), 0
    known = {str(entry.said.get("tuning_job")) for entry in book.entries()}
    for name, created in list(events.finished_jobs(aws, loaded)):
        slot = created.astimezone(UTC).replace(second=0, microsecond=0)
        if name in known or not book.claim(slot, datetime.now(UTC)):
            continue
        job = amt.read_tuning_job(aws, name)
        folder = RunFolder(home_of(loaded) / as_text(slot))
        source = {"amt": name, "region": aws.region, "account": aws.account}
        folder.claim_as(name_of(loaded, slot), {"imported": source})
        ledger = Ledger.create(folder.ledger_url(), name_of(loaded, slot), loaded.direction)
        ledger.set("imported", source)
        ledger.set("metric", job.metric)
        ledger.set("aws", {"region": aws.region})
        amt.bring_in(aws, job, ledger, print, True, loaded.sweep.sagemaker)
        write_report_of(ledger, folder)
        if ledger.best_first():
            said = summed_up(loaded, slot, folder, last_before(loaded, book, slot))
        else:
            said = {"error": job.said.get("FailureReason") or "no trial finished"}
            print(f"{loaded.sweep.name}, slot {as_text(slot)}: failed. {said['error']}")
            write_index(home_of(loaded))
        state = FAILED if "error" in said else DONE
        book.end(slot, state, datetime.now(UTC), said | {"tuning_job": name})
        tell_of(loaded.sweep.name, loaded.sweep.schedule, slot, said)
        added += 1
    print(f"{added} tuning jobs added; see {Path(home_of(loaded)) / 'index.html'}")
