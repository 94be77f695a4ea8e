"""Slots: each exactly once, through daylight saving, restarts, missed ones and two servers."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tuner.errors import RunFolderError, SweepError
from tuner.schedule.book import DONE, FAILED, QUEUED, RUNNING, SKIPPED, Book
from tuner.schedule.server import MOST_BEGINNINGS, MOST_TRIES, Served, Server
from tuner.schedule.times import as_text, from_text, next_slot, slots_between, starts_at
from tuner.sweep import load_sweep
from tuner.sweep_file import Schedule

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts, zone=UTC):
    return datetime(*parts, tzinfo=zone)


@pytest.fixture
def make_book(tmp_path):
    made = []

    def make(url=None, sweep="toy"):
        made.append(Book(url or f"sqlite:///{tmp_path}/slots.db", sweep))
        return made[-1]

    yield make
    for book in made:
        book.close()


@pytest.mark.parametrize(
    ("cron", "year", "slots"),
    [
        ("0 6 * * MON", 2026, 52),
        ("30 2 * * *", 2026, 365),  # one day has no half past two, another has two
        ("30 2 * * *", 2028, 366),
        ("0 0 1 * *", 2026, 12),
        ("0 0 29 2 *", 2026, 0),
    ],
)
def test_a_year_has_each_slot_once_whatever_the_time_zone_does(cron, year, slots):
    schedule = Schedule(cron=cron, timezone="Europe/Berlin")
    start, end = (at(y, 1, 1, zone=BERLIN) - timedelta(seconds=1) for y in (year, year + 1))
    found = list(slots_between(schedule, start, end))
    assert len(found) == len(set(found)) == slots
    assert found == sorted(found)
    assert all(slot.tzinfo is UTC for slot in found)


def test_a_slot_keeps_its_local_hour_and_has_a_name_of_its_own():
    schedule = Schedule(cron="0 6 * * MON", timezone="Europe/Berlin")
    winter, summer = (next_slot(schedule, at(2026, month, 1)) for month in (1, 7))
    assert (as_text(winter), as_text(summer)) == ("20260105T0500Z", "20260706T0400Z")
    assert from_text("20260105T0500Z") == winter


def test_jitter_is_the_same_for_every_server_and_within_its_limit():
    schedule = Schedule(cron="0 6 * * *", jitter_minutes=30)
    slots = list(slots_between(schedule, at(2026, 1, 1), at(2026, 3, 1)))
    delays = [(starts_at(schedule, "toy", slot) - slot).total_seconds() / 60 for slot in slots]
    assert delays[:2] == pytest.approx([15.736396, 15.657203])
    assert 0 <= min(delays) < 5
    assert 25 < max(delays) < 30


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ({"cron": "61 * * * *"}, "schedule.cron is no schedule (bad minute): five fields as in cron"),
        ({"cron": "@daily"}, "schedule.cron is no schedule (wrong number of fields)"),
        ({"cron": "0 6 * * MON", "timezone": "Mars/Base"}, "schedule.timezone is no time zone"),
        ({"cron": "0 6 * * MON", "overlap": "both"}, "'both' is unknown; known: 'queue', 'skip'"),
        ({"cron": "0 6 * * MON", "tell": {"webhook": "hooks.example.org/SECRET"}},
         "schedule.tell.webhook is not an address with http(s)://"),
        ({"cron": "0 6 * * MON", "tell": {"email": {"to": ["a@b"], "sender": "c@d", "server": "s",
                                                    "password": "SECRET"}}},
         "schedule.tell.email.password is not $NAME"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_said_with_its_line_and_no_secret(write_sweep, schedule, fault):
    with pytest.raises(SweepError) as caught:
        load_sweep(write_sweep(schedule=schedule))
    assert fault in str(caught.value)
    assert "sweep.yaml:" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_schedule_is_no_part_of_what_a_run_is(write_sweep):
    plain, scheduled = (
        load_sweep(write_sweep(schedule=block)) for block in (None, {"cron": "0 6 * * MON"})
    )
    assert plain.identity() == scheduled.identity()
    assert "schedule" not in scheduled.whole()


class World:
    """A clock, servers that come and go, and sweeps that take their time."""

    def __init__(self, make_book, schedule, hours=lambda: 1.0):
        self.make_book, self.schedule, self.hours = make_book, schedule, hours
        self.now, self.ran, self.said, self.told = at(2026, 1, 1), [], [], []
        self.busy = {}
        self.servers = []
        self.book = make_book()

    def server(self):
        served = Served(Path("toy.yaml"), "toy", self.schedule, self.make_book())
        return Server(lambda: [served], self.start, self.said.append, self.tell_of_failure)

    def start(self, served, slot):
        """The sweep's own process claims the slot; it ends some hours later."""
        if served.book.claim(slot, self.now):
            self.ran.append(slot)
            self.busy[slot] = self.now + timedelta(hours=self.hours())
        return self

    def tell_of_failure(self, served, slot, why):
        self.told.append((served.name, slot, why))

    def poll(self):
        return None if self.busy else 0

    def step(self, minutes):
        self.now += timedelta(minutes=minutes)
        for slot, until in list(self.busy.items()):
            if until <= self.now:
                self.book.end(slot, DONE, self.now, {})
                del self.busy[slot]
        for server in self.servers:
            server.look(self.now)


def test_a_year_of_mondays_with_two_servers_restarts_and_outages(make_book):
    """Nobody is there for two weeks in May, one server is started anew each month."""
    world = World(make_book, Schedule(cron="0 6 * * MON", timezone="Europe/Berlin"))
    world.servers = [world.server(), world.server()]
    expected = list(slots_between(world.schedule, world.now, at(2027, 1, 1)))
    month = 1
    while world.now < at(2027, 1, 1):
        away = at(2026, 5, 10) < world.now < at(2026, 5, 26)
        if away:
            world.servers = []
        elif not world.servers or world.now.month != month:
            month, world.servers = world.now.month, [world.server(), world.server()]
        world.step(240)
    missed = [slot for slot in expected if at(2026, 5, 10) < slot < at(2026, 5, 26)]
    assert len(missed) == 3
    states = {entry.slot: entry.state for entry in make_book().entries()}
    assert sorted(states) == expected
    # Of the missed ones the newest runs, once somebody is back.
    assert [slot for slot in expected if states[slot] == SKIPPED] == missed[:-1]
    assert world.ran == [slot for slot in expected if slot not in missed[:-1]]
    assert len(world.ran) == len(set(world.ran)) == 50


def test_missed_slots_are_left_out_where_that_is_asked_for(make_book):
    world = World(make_book, Schedule(cron="0 6 * * *", missed="skip"))
    world.servers = [world.server()]
    world.step(60)
    world.servers = []
    world.step(60 * 24 * 3)
    world.servers = [world.server()]
    world.step(60)
    entries = make_book().entries()
    assert [entry.state for entry in entries] == [SKIPPED] * 3
    assert entries[-1].said == {"why": "nobody was there at its time"}
    world.step(60 * 20)
    world.step(1)
    world.step(60 * 24)
    assert len(world.ran) == 0  # it looked hours too late each time
    for _ in range(24 * 60 // 2):
        world.step(2)
    assert len(world.ran) == 1


@pytest.mark.parametrize("overlap", ["queue", "skip"])
def test_a_slot_that_is_due_while_the_one_before_runs(make_book, overlap):
    hours = itertools.chain([60], itertools.repeat(1))
    world = World(make_book, Schedule(cron="0 6 * * *", overlap=overlap), lambda: next(hours))
    world.servers = [world.server(), world.server()]
    for _ in range(24 * 2 * 5):
        world.step(30)
    states = [entry.state for entry in make_book().entries()]
    if overlap == "queue":  # the first of those that were due meanwhile gave way to the newest
        assert states == [DONE, SKIPPED, DONE, DONE, DONE]
    else:
        assert states == [DONE, SKIPPED, SKIPPED, DONE, DONE]
    assert len(world.ran) == states.count(DONE)


def test_a_slot_whose_process_is_gone_is_gone_on_with_once(make_book, monkeypatch):
    slot, now = at(2026, 1, 5, 6), at(2026, 1, 5, 6)
    dead = {"machine": "x", "pid": 1, "started": 0}
    book = make_book()
    monkeypatch.setattr("tuner.schedule.book.identity", lambda: dead)
    assert book.claim(slot, now)
    monkeypatch.undo()
    # Of another machine only its silence tells.
    assert not book.claim(slot, now)
    assert not book.entry(slot).is_orphan(now + timedelta(minutes=14))
    assert book.entry(slot).is_orphan(now + timedelta(minutes=16))
    monkeypatch.setattr("tuner.schedule.book.is_here", lambda record: True)
    assert book.entry(slot).is_orphan(now)
    assert book.claim(slot, now)
    assert book.entry(slot).beginnings == 2
    assert not make_book().claim(slot, now)
    book.end(slot, FAILED, now, {})
    assert book.claim(slot, now)  # by hand, a slot that failed is run again
    book.end(slot, DONE, now, {"verdict": "same"})
    assert not book.claim(slot, now)
    assert book.entries()[0].said == {"verdict": "same"}
    assert {RUNNING, QUEUED} & {e.state for e in book.entries()} == set()


def test_a_slot_whose_process_is_killed_again_and_again_is_left_alone(make_book, monkeypatch):
    schedule, slot = Schedule(cron="0 6 1 1 *"), at(2026, 1, 1, 6)
    world = World(make_book, schedule)
    world.servers, world.now = [world.server()], at(2025, 12, 31)
    world.step(1)
    world.now = slot
    dead = {"machine": "x", "pid": 1, "started": 0}
    monkeypatch.setattr("tuner.schedule.book.identity", lambda: dead)
    monkeypatch.setattr("tuner.schedule.book.is_here", lambda record: True)
    world.poll = lambda: 137
    for _ in range(60):
        world.step(10)
    assert world.ran == [slot] * MOST_BEGINNINGS


def test_a_slot_of_a_machine_that_was_switched_off_is_gone_on_with(make_book, monkeypatch):
    """Its row names a boot that is over, or a container that is no more."""
    book, slot = make_book(), at(2026, 1, 5, 6)
    dead = {"machine": "this one, a boot ago", "pid": 1, "started": 0}
    monkeypatch.setattr("tuner.schedule.book.identity", lambda: dead)
    assert book.claim(slot, slot)
    book.beat(slot, slot + timedelta(minutes=5))
    monkeypatch.undo()
    book.beat(slot, slot + timedelta(hours=5))  # not ours
    world = World(make_book, Schedule(cron="0 6 * * *"))
    book.began(at(2026, 1, 5))
    world.servers, world.now = [world.server()], slot
    world.step(19)
    assert world.ran == []
    world.step(2)
    assert world.ran == [slot]


def test_with_a_long_jitter_each_slot_is_run_or_written_down(make_book):
    world = World(make_book, Schedule(cron="*/30 * * * *", jitter_minutes=50), lambda: 0.1)
    world.servers = [world.server()]
    for _ in range(24 * 12):
        world.step(5)
    expected = list(slots_between(world.schedule, at(2026, 1, 1), world.now - timedelta(hours=2)))
    known = {entry.slot for entry in make_book().entries()}
    assert set(expected) <= known
    assert len(world.ran) > 0.5 * len(expected)


def test_a_slot_that_was_begun_too_often_does_not_stop_the_others(make_book, monkeypatch):
    schedule = Schedule(cron="0 6 * * *", overlap="skip")
    world, slot = World(make_book, schedule), at(2026, 1, 1, 6)
    world.servers = [world.server()]
    world.step(1)
    with monkeypatch.context() as patch:
        patch.setattr(
            "tuner.schedule.book.identity", lambda: {"machine": "x", "pid": 1, "started": 0}
        )
        patch.setattr("tuner.schedule.book.is_here", lambda record: True)
        for _ in range(MOST_BEGINNINGS):
            assert world.book.claim(slot, slot)
        world.now = at(2026, 1, 1, 7)
        world.step(1)
        assert world.ran == []
        patch.setattr("tuner.schedule.book.is_alive", lambda record: False)
        world.now = at(2026, 1, 2, 6)
        world.step(1)
    assert world.ran == [at(2026, 1, 2, 6)]


def test_a_slot_whose_process_never_begins_is_left_after_some_tries_and_holds_up_nobody(make_book):
    """As where a sweep's script is gone: its file is as it was, and each try ends at once."""
    world = World(make_book, Schedule(cron="0 6 * * *"), lambda: 0.05)
    books = {name: make_book(sweep=name) for name in ("broken", "toy")}
    served = [Served(Path(f"{n}.yaml"), n, world.schedule, book) for n, book in books.items()]
    tried = []

    class Ended:
        def poll(self):
            return 2

    def start(each, slot):
        if each.name == "toy":
            return world.start(each, slot)
        tried.append(world.now)
        return Ended()

    world.servers = [Server(lambda: served, start, world.said.append, world.tell_of_failure)]
    world.now = at(2026, 1, 5, 5, 50)
    for _ in range(120):
        world.step(0.25)
    slot = at(2026, 1, 5, 6)
    assert world.ran == [slot]
    assert len(tried) == MOST_TRIES
    assert all(b - a >= timedelta(minutes=1) for a, b in itertools.pairwise(tried))
    entry = books["broken"].entry(slot)
    assert entry.state == FAILED
    assert entry.said["error"] == "it ended with status 2 before it began, 3 times"
    assert any("has failed: it ended with status 2" in said for said in world.said)
    assert world.told == [("broken", slot, entry.said["error"])]


def test_another_schedule_misses_no_slot_from_before_it_was_written(make_book):
    world = World(make_book, Schedule(cron="0 6 * * MON"))
    world.servers, world.now = [world.server()], at(2026, 1, 5, 5, 30)
    for _ in range(50):
        world.step(2)
    assert world.ran == [at(2026, 1, 5, 6)]
    world.schedule, world.now = Schedule(cron="0 12 * * *"), at(2026, 1, 8, 14)
    world.servers = [world.server()]
    world.step(1)
    assert len(world.ran) == 1
    assert [entry.slot for entry in make_book().entries()] == world.ran
    world.now = at(2026, 1, 9, 11, 59)
    world.step(2)
    assert world.ran[1:] == [at(2026, 1, 9, 12)]


def test_a_book_that_cannot_be_used_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no database, but more than a hundred bytes " * 5)
    for url in (
        f"sqlite:///{tmp_path}/file", f"sqlite:///{tmp_path}/file/slots.db",
        "postgresql://me:hidden-word@127.0.0.1:abc/x", "postgresql://me:hidden-word@127.0.0.1:1/x",
    ):  # fmt: skip
        with pytest.raises(RunFolderError, match="the book of slots") as caught:
            Book(url, "toy")
        assert "hidden-word" not in str(caught.value)


def test_a_book_on_postgresql_gives_a_slot_to_one(make_book, postgres):
    slot, now = at(2026, 1, 5, 6), at(2026, 1, 5, 6)
    books = [make_book(postgres.url, "weekly") for _ in range(3)]
    assert [book.claim(slot, now) for book in books] == [True, False, False]
    assert books[0].began(now) == books[1].began(now + timedelta(days=1)) == now
    assert make_book(postgres.url, "another").entries() == []


def test_what_decides_on_the_next_slot_are_the_open_ones_and_the_newest(make_book):
    book, other = make_book(), make_book(sweep="another")
    slots = [at(2026, 1, day, 6) for day in range(1, 7)]
    for slot in slots:
        assert book.claim(slot, slot)
    other.claim(at(2026, 1, 4, 12), slots[0])
    for slot in (slots[0], slots[2], slots[3], slots[5]):
        book.end(slot, DONE, slot, {"verdict": "same"})
    now = at(2026, 1, 4, 20)
    book.began(now)
    assert [entry.slot for entry in book.that_decide(now)] == [slots[i] for i in (1, 3, 4)]
    assert book.entry(slots[2]).said == {"verdict": "same"}
