"""The short form of `make chaos`: killed anywhere, a sweep run again has the ledger of a whole one."""

from tests.chaos.harness import TOY, campaign
from tests.chaos.workers import storm


def test_a_killed_sweep_run_again_has_the_ledger_of_a_whole_one(tmp_path):
    blocks = TOY | {"budget": {"trials": 4, "parallel": 1}}
    _, told = campaign(blocks, tmp_path / "toy", moments=2, seed=5)
    assert [each.differences for each in told] == [[], []]
    assert not all(each.hit.startswith("nothing") for each in told)
    assert all(each.repeated in (0, 1) for each in told)  # the work since its last checkpoint


def test_workers_on_postgresql_run_each_trial_once_whatever_dies(postgres, tmp_path):
    found = storm(postgres, tmp_path, trials=16, workers=3, kills=3, seed=1)
    assert found["states"] == {"COMPLETE": 16}
    assert found["restarted"]
    assert found["killed"] == 3
    assert (found["computed by two"], found["not computed"]) == ([], [])
    assert found["workers"] > 1
