"""A study as several processes share it, with no training in it."""

import sqlite3
import time

import pytest
from sqlalchemy.exc import OperationalError

from charloom.errors import ConfigError
from tests.training.sweeping.conftest import stop_heartbeat
from training.sweeping.outcome import MARKS, TrialOutcome
from training.sweeping.storage import DATABASE, MAX_RETRIES, LostError, StorageError
from training.sweeping.study import StudyConfig, SweepError
from training.sweeping.trial import Heartbeat


def done(loss):
    return TrialOutcome("done", loss, epoch=1.0, seconds=2.0, parameters=3)


def test_two_processes_make_so_many_trials_together_and_no_more(opened):
    studies = [opened(trials=5), opened(trials=5)]
    claimed = []
    for turn in range(8):
        trial = studies[turn % 2].claim()
        if trial is not None:
            claimed.append(trial)
    assert [trial.place for trial in claimed] == [0, 1, 2, 3, 4]
    assert studies[0].running() == studies[1].running() == 5
    for trial in claimed:
        trial.finish(done(1.5))
    assert [row.outcome.kind for row in studies[0].rows()] == ["done"] * 5
    assert opened(trials=6).claim().place == 5


def test_what_is_chosen_hangs_on_the_trial_and_not_on_the_process(opened, tmp_path):
    one, other = opened(), opened()
    shared = [study.claim().values for study in (one, other, other, one)]
    (tmp_path / DATABASE).unlink()
    alone = opened()
    assert [alone.claim().values for _ in range(4)] == shared
    assert len({values["learning-rate"] for values in shared}) == 4
    for values in shared:
        assert values["cells"] in (16, 32)
        assert 1e-4 <= values["learning-rate"] <= 1e-2


def test_what_was_found_comes_back_from_the_database(opened):
    trial = opened().claim()
    trial.report({1: 3.0, MARKS: 2.0})
    trial.finish(done(2.0))
    (row,) = opened().rows()
    assert row.outcome == done(2.0)
    assert row.curve == {1 / MARKS: 3.0, 1.0: 2.0}
    assert row.values == trial.values
    assert row.machine


def test_a_trial_that_does_worse_than_others_may_end(opened):
    study = opened()
    for _ in range(5):
        trial = study.claim()
        assert not trial.report(dict.fromkeys(range(1, MARKS + 1), 2.0))
        trial.finish(done(2.0))
    worse, better = study.claim(), study.claim()
    assert worse.report(dict.fromkeys(range(1, MARKS // 2), 3.0))
    assert not better.report(dict.fromkeys(range(1, MARKS // 2), 1.0))
    worse.finish(TrialOutcome("pruned", 3.0))
    assert study.rows()[worse.place].outcome.kind == "pruned"


def test_the_folder_is_that_of_the_attempt(opened):
    trial = opened().claim()
    assert opened().rows()[0].folder == "trial-000"
    trial.set_folder("trial-007")
    assert opened().rows()[0].folder == "trial-007"


@pytest.mark.parametrize("name", ["hyperband", "none"])
def test_other_pruners(name, opened):
    study = opened(pruner=name, trials=12, study="pruned")  # by a name, which hyperband's brackets hang on
    ended = 0
    for number in range(12):
        trial = study.claim()
        pruned = any(trial.report({mark: 1.0 + number % 10}) for mark in (1, 3, 9))
        trial.finish(TrialOutcome("pruned" if pruned else "done", 1.0 + number % 10))
        ended += pruned
    assert (ended > 0) == (name == "hyperband")


def test_a_failure_counts_as_a_trial(opened):
    study = opened(trials=1)
    study.claim().finish(TrialOutcome("failed", note="the loss is no number"))
    assert study.claim() is None
    assert study.rows()[0].outcome.note == "the loss is no number"


def test_a_trial_that_is_handed_back_goes_on_at_its_place_before_all_others(opened):
    study = opened(trials=3)
    kept, left = study.claim(), study.claim()
    left.hand_back()
    assert study.rows()[1].outcome.kind == "waiting"
    again = opened(trials=3).claim()
    assert (again.place, again.values) == (left.place, left.values)
    assert again.number != left.number
    assert study.claim().place == 3  # the number of the repetition is no place
    assert study.claim() is None
    assert kept.place == 0


def test_a_trial_whose_process_died_is_made_again_until_it_seems_to_be_the_cause(opened, tmp_path):
    study = opened(trials=1)
    trial = study.claim()
    assert study.claim() is None  # its process may be alive
    values = trial.values
    for _ in range(MAX_RETRIES):
        stop_heartbeat(trial.number, tmp_path)
        trial = study.claim()
        assert (trial.place, trial.values) == (0, values)
    stop_heartbeat(trial.number, tmp_path)
    assert study.claim() is None
    assert [row.outcome.kind for row in study.rows()] == ["killed"]
    assert study.running() == 0


def test_a_trial_that_is_stopped_again_and_again_goes_on_and_its_deaths_alone_are_counted(opened, tmp_path):
    study = opened(trials=1)
    trial = study.claim()
    values = trial.values
    for _ in range(MAX_RETRIES):
        for _ in range(3):
            trial.hand_back()
            trial = study.claim()
            assert (trial.place, trial.values) == (0, values)
        stop_heartbeat(trial.number, tmp_path)
        trial = study.claim()
        assert (trial.place, trial.values) == (0, values)
    trial.hand_back()
    trial = study.claim()
    assert (trial.place, trial.values) == (0, values)
    stop_heartbeat(trial.number, tmp_path)
    assert study.claim() is None
    assert [row.outcome.kind for row in study.rows()] == ["killed"]


def test_a_process_that_died_as_it_finished_leaves_a_trial_to_be_made_again(opened, tmp_path):
    study = opened(trials=1)
    trial = study.claim()
    trial.optuna.set_user_attr("outcome", {"kind": "done", "loss": 2.0})
    stop_heartbeat(trial.number, tmp_path)
    again = study.claim()
    assert [row.outcome.kind for row in study.rows()] == ["running"]
    again.finish(done(1.5))
    assert [row.outcome.loss for row in study.rows()] == [1.5]


def test_a_process_that_was_taken_for_dead_is_told(opened, tmp_path):
    slow = opened(trials=1).claim()
    stop_heartbeat(slow.number, tmp_path)
    other = opened(trials=1)
    successor = other.claim()
    with pytest.raises(LostError):
        slow.report({1: 2.0})
    with pytest.raises(LostError):
        slow.set_folder("trial-000")
    with pytest.raises(LostError):
        slow.finish(done(1.0))
    slow.hand_back()  # as a signal would have it
    assert opened(trials=1).running() == 1
    successor.finish(done(2.0))
    assert [row.outcome.loss for row in other.rows()] == [2.0]


def test_a_heartbeat_keeps_a_trial(opened, tmp_path):
    study = opened(trials=1, stale_seconds=4)
    trial = study.claim()
    stop_heartbeat(trial.number, tmp_path)

    def age():
        with sqlite3.connect(tmp_path / DATABASE) as database:
            (seconds,) = database.execute(
                "select strftime('%s', 'now') - strftime('%s', heartbeat) from trial_heartbeats"
            ).fetchone()
        return seconds

    assert age() > 3000
    with Heartbeat(trial):
        while age() > 3:
            time.sleep(0.05)
        assert study.claim() is None
    trial.report({1: 1.0})


def test_a_heartbeat_goes_on_after_an_error_of_the_database(opened, monkeypatch):
    trial = opened(trials=1).claim()
    recorded, record = [], trial.storage.optuna.record_heartbeat

    def fail_first(trial_id):
        recorded.append(trial_id)
        if len(recorded) == 1:
            raise OperationalError("", {}, Exception("the database is gone"))
        record(trial_id)

    monkeypatch.setattr(trial.storage.optuna, "record_heartbeat", fail_first)
    trial.storage.interval = 0.01
    with Heartbeat(trial):
        while len(recorded) < 3:
            time.sleep(0.01)
    trial.report({1: 1.0})


def test_a_sweep_keeps_its_terms(opened):
    opened({"text": "abc", "cells": 16})
    opened({"text": "abc", "cells": 16})
    with pytest.raises(SweepError, match=r"cells 16, not 32.*choose another --out"):
        opened({"text": "abc", "cells": 32})


@pytest.mark.parametrize(
    "url",
    ["nonsense", "nonsense://x", "postgresql+psycopg://me:secret@127.0.0.1:1/none", "sqlite:////no/where"],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url, opened):
    with pytest.raises(StorageError) as caught:
        opened(storage=url)
    assert "cannot be used" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_driver_that_is_missing_is_named(opened):
    with pytest.raises(StorageError, match=r"No module named '?psycopg2.*sweep-postgresql"):
        opened(storage="postgresql+psycopg2://me@127.0.0.1:1/none")


def test_a_database_that_is_none_is_named(opened, tmp_path):
    (tmp_path / DATABASE).write_text("not SQLite\n" * 100)
    with pytest.raises(StorageError, match="not a database"):
        opened()


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"pruner": "shears"}, {"stale_seconds": 1}])
def test_settings_that_cannot_be_used_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        StudyConfig(**wrong)
