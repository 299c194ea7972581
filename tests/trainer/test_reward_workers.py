"""Rewards are evaluated elsewhere, while rollouts go on, and nothing shows it but the clock."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest

from edit_grpo_ref import rewards as evaluation
from edit_grpo_ref import train as program
from edit_grpo_ref.checkpoint import read
from edit_grpo_ref.config import Config, NftConfig, Workers
from edit_grpo_ref.data import Prompts
from edit_grpo_ref.options import configure
from edit_grpo_ref.reward_workers import (
    LARGEST,
    Order,
    RewardWorkers,
    SeatedRewards,
    ThreadSeat,
    described,
    packed,
    reward_workers,
)
from edit_grpo_ref.rewards import load_rewards
from edit_grpo_ref.train import train
from edit_grpo_ref.train_nft import train as train_nft
from editbench.pool import AHEAD, TRIES
from editbench.pool.seated import Refusal
from editbench.types import EditbenchError, Sample

REWARDS = {"edit": "-[target:mae,region=edit]", "keep": "-[mae:region=keep]"}

METRIC = """
import os, pathlib, signal
from dataclasses import dataclass
from typing import ClassVar
from editbench.metrics.pixel import Mae

HERE = pathlib.Path(__file__).parent

@dataclass(frozen=True)
class Moody(Mae):
    def score(self, samples):
        with open(HERE / f"seen-{os.getpid()}", "a") as file:
            file.write(f"{len(samples)}\\n")
        if (HERE / "kill").exists():
            (HERE / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return [float("nan") if int(v * 1e5) % 5 == 0 else v for v in super().score(samples)]
"""


@pytest.fixture
def moody(tmp_path):
    """A metric that fails now and then, so that reasons are counted, notes which process asks, and can end it."""
    (tmp_path / "moody.py").write_text(METRIC)
    return f"-[{tmp_path}/moody.py:Moody:region=keep]"


@pytest.fixture
def samples(told):
    """Twelve: four edits of each of three scenarios."""
    scenarios = Prompts(told()["suite"], 3, 0)(0)
    random = np.random.default_rng(0)
    return [
        Sample(scenario, np.clip(scenario.source + random.integers(-9, 9, scenario.source.shape), 0, 255).astype("u1"))
        for scenario in scenarios
        for _ in range(4)
    ]


def assert_same(one, other):
    assert one.valid.tolist() == other.valid.tolist()
    assert list(one.failures.items()) == list(other.failures.items())
    for name, values in one.values.items():
        assert values.tolist() == other.values[name].tolist()


def of_run(folder):
    """Everything that a run leaves, apart from how long it took and who evaluated."""
    found = read(Path(folder))
    state = {
        f"{group}.{name}": value.numpy().tobytes()
        for group in ("parameters", "ema", "optimizer", "rng", "old")
        for name, value in getattr(found, group).items()
    }
    log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    lines = [{name: v for name, v in line.items() if not name.startswith("seconds/")} for line in log]
    return state, lines


# ----------------------------------------------------------------------------------------------- overlapped, and equal


@pytest.mark.parametrize("kind", [Config, NftConfig])
def test_a_run_is_the_same_to_the_bit_whoever_evaluates(told, tmp_path, moody, kind):
    found = []
    for workers in ("0", "1", "3"):
        options = {"steps": 3, "batch": 5, "reward_keep": moody, "validation": told()["suite"], "validate_on": 3}
        options |= {"reward_workers": workers, "output_dir": str(tmp_path / workers)}
        assert (train if kind is Config else train_nft)(configure(kind, None, told(**options)))
        found.append(of_run(options["output_dir"]))
    assert any(line.get("failed") for line in found[0][1])
    assert found[0] == found[1] == found[2]


def test_rewards_of_a_batch_are_evaluated_while_the_next_is_rolled_out(told, monkeypatch):
    begun, rollouts = threading.Event(), []
    score, rollout = evaluation.score, program.rollout

    def noted(metrics, samples):
        begun.set()
        return score(metrics, samples)

    def waiting(*arguments):
        rollouts.append(None)
        assert len(rollouts) == 1 or begun.wait(20), "nobody evaluates meanwhile"
        return rollout(*arguments)

    monkeypatch.setattr(evaluation, "score", noted)
    monkeypatch.setattr(program, "rollout", waiting)
    train(configure(Config, None, told(steps=1, batch=6, reward_workers="1")))
    assert len(rollouts) == 2


def test_an_error_of_a_reward_is_that_of_its_step(told, tmp_path, monkeypatch):
    """The second step's first batch fails while its second is rolled out: one step is logged and saved."""
    calls, score = [], evaluation.score

    def broken(metrics, samples):
        calls.append(len(samples))
        if len(calls) == 3:
            raise ZeroDivisionError("of a reward")
        return score(metrics, samples)

    options = told(steps=3, batch=6, save_every=1, reward_workers="1")
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "score", broken)
        with pytest.raises(ZeroDivisionError, match="of a reward"):
            train(configure(Config, None, options))
    assert read(Path(options["output_dir"])).step == 1 and len(of_run(options["output_dir"])[1]) == 1
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("rewards")]:
        thread.join(20)
        assert not thread.is_alive()
    train(configure(Config, None, options))
    train(configure(Config, None, {**options, "reward_workers": "0", "output_dir": str(tmp_path / "whole")}))
    assert of_run(options["output_dir"]) == of_run(tmp_path / "whole")


# -------------------------------------------------------------------------------------------- giving out, and losing


class Lost(Exception):
    pass


class FakeSeat:
    """Answers when told to, and loses the pieces whose turn is in `lost`."""

    losses = (Lost,)

    def __init__(self, rewards, lost=(), start=None):
        self.rewards, self.lost, self.answer = rewards, set(lost), start
        self.started = self.given = self.most = 0
        self.open = []

    def start(self, order):
        self.started += 1
        done = Future()
        done.set_result(self.answer)
        return done

    def do(self, chunk):
        self.open = [future for future in self.open if not future.done()]
        self.given += 1
        future = Future()
        self.open.append(future)
        self.most = max(self.most, len(self.open))
        turn = self.given
        answer = (lambda: future.set_exception(Lost("gone"))) if turn in self.lost else None
        threading.Timer(0.01, answer or (lambda: future.set_result(self.rewards(chunk)))).start()
        return future

    def end(self, patient):
        pass


def test_no_worker_has_more_in_hand_than_it_can_do_next(samples):
    rewards = load_rewards(REWARDS)
    seats = [FakeSeat(rewards), FakeSeat(rewards)]
    workers = RewardWorkers(rewards, seats)
    for sample in samples:
        workers.submit([sample])
    assert_same(workers.collect(), rewards(samples))
    assert [seat.most for seat in seats] == [AHEAD, AHEAD] and sum(seat.given for seat in seats) == len(samples)


def test_nothing_has_no_rewards_whoever_evaluates():
    rewards = load_rewards(REWARDS)
    assert_same(RewardWorkers(rewards, [FakeSeat(rewards)])([]), rewards([]))


def test_pieces_that_travel_are_small(samples):
    rewards = load_rewards(REWARDS)
    seat = FakeSeat(rewards)
    many = samples * 3
    workers = RewardWorkers(rewards, [seat], Order(REWARDS, 30.0, described(rewards), (), ""))
    assert_same(workers(many), rewards(many))
    assert seat.given == -(-len(many) // LARGEST)


def test_what_a_lost_worker_had_in_hand_is_done_again(samples):
    rewards = load_rewards(REWARDS)
    seats = [FakeSeat(rewards, lost=(2, 3)), FakeSeat(rewards)]
    workers = RewardWorkers(rewards, seats)
    for _ in range(2):
        for start in range(0, len(samples), 2):
            workers.submit(samples[start : start + 2])
        assert_same(workers.collect(), rewards(samples))
    assert seats[0].started in (2, 3) and seats[1].started == 1  # both that it had in hand are one loss, or two


def test_a_piece_that_ends_every_worker_is_told(samples):
    rewards = load_rewards(REWARDS)
    workers = RewardWorkers(rewards, [FakeSeat(rewards, lost=range(1, 100))])
    with pytest.raises(EditbenchError, match=rf"ended {TRIES} times on the same 12 samples: Lost: gone"):
        workers(samples)


def test_a_worker_that_cannot_start_says_why(samples):
    rewards = load_rewards(REWARDS)
    workers = RewardWorkers(rewards, [FakeSeat(rewards, start=Refusal("on node: no weights"))])
    with pytest.raises(EditbenchError, match="a reward worker cannot start: on node: no weights"):
        workers.wait()


def test_threads_have_rewards_of_their_own(samples):
    """No metric is asked by two threads at once."""
    rewards = [load_rewards(REWARDS) for _ in range(3)]
    workers = RewardWorkers(rewards[0], [ThreadSeat(own) for own in rewards])
    assert_same(workers(samples), rewards[0](samples))
    workers.close()
    metrics = [metric for own in rewards for metric in own.metrics.values()]
    assert len({id(metric) for metric in metrics}) == len(metrics)


def test_samples_travel_with_their_pixels_and_without_their_suite(samples):
    sent = pickle.dumps(packed(samples))
    assert b"toy_suite" not in sent
    one, pixels = pickle.dumps(packed(samples[:1])), samples[0].output.nbytes
    assert len(sent) < 3 * len(one) + 9 * (pixels + 300), "each scenario once"
    rewards = load_rewards(REWARDS)
    assert_same(rewards(pickle.loads(sent)), rewards(samples))


def test_an_actor_refuses_to_be_another_evaluator(moody, tmp_path):
    texts = {"keep": moody}
    known = described(load_rewards(texts))
    (spec,) = known
    older = {spec: {**known[spec], "version": 0}}
    place = tuple(sys.path), str(Path.cwd())
    assert SeatedRewards(Order(texts, 30.0, known, *place)).ready() is None
    refusal = SeatedRewards(Order(texts, 30.0, older, *place)).ready()
    assert "not the rewards of this run" in refusal.message and "version: 0 -> " in refusal.message
    refusal = SeatedRewards(Order({"keep": f"[{tmp_path}/absent.py:Gone]"}, 30.0, {}, *place)).ready()
    assert "absent.py" in refusal.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None),
        ("0", Workers(0)),
        ("4", Workers(4)),
        ("ray:2", Workers(2, True)),
        ("ray:10.0.0.5:6379:8", Workers(8, True, "10.0.0.5:6379")),
        ("ray:auto:1", Workers(1, True, "auto")),
    ],
)
def test_workers_are_read(text, expected):
    assert Workers.parse(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "two", "ray", "ray:", "ray:0", "ray:10.0.0.5:6379", "slurm:2", "1.5"])
def test_what_is_no_worker_is_refused(text, told):
    with pytest.raises(EditbenchError, match=r"reward_workers: '.*', expected auto, 0, N, ray:N or ray:ADDRESS:N"):
        configure(Config, None, told(reward_workers=text))


@pytest.mark.parametrize(("device", "service", "threads"), [("cpu", False, 0), ("cuda", False, 1), ("cpu", True, 1)])
def test_by_default_rewards_have_a_thread_where_that_takes_nothing_from_rollouts(told, device, service, threads):
    rewards = load_rewards({"edit": "[http://127.0.0.1:1/]"} if service else REWARDS)
    with reward_workers(rewards, configure(Config, None, told()), device) as workers:
        workers.wait()
        assert sum(thread.name.startswith("rewards") for thread in threading.enumerate()) == threads


def test_gpus_are_for_ray_alone(told):
    with pytest.raises(EditbenchError, match=r"reward_gpus: 0\.5, expected 0 where reward_workers is not ray:N"):
        configure(Config, None, told(reward_gpus=0.5))
    assert configure(Config, None, told(reward_gpus=0.5, reward_workers="ray:2")).reward_gpus == 0.5


# ----------------------------------------------------------------------------------------------------------- on Ray


@pytest.fixture(scope="module")
def cluster():
    """Two cores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        import ray

        started = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield started
        ray.shutdown()


def seen(folder):
    """How many batches each process evaluated."""
    return {int(note.name[5:]): note.read_text().count("\n") for note in folder.glob("seen-*")}


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("count", [1, 2])
def test_actors_leave_the_bits_of_one_process_even_if_one_is_killed(told, tmp_path, moody, cluster, count):
    (tmp_path / "kill").touch()
    options = {"steps": 4, "batch": 4, "reward_keep": moody}
    train(configure(Config, None, told(**options, reward_workers=f"ray:{count}", output_dir=str(tmp_path / "ray"))))
    assert not (tmp_path / "kill").exists()
    assert len(seen(tmp_path)) >= 2, "the one that was killed, and who did its work again"
    assert os.getpid() not in seen(tmp_path)
    train(configure(Config, None, told(**options, reward_workers="0", output_dir=str(tmp_path / "alone"))))
    assert of_run(tmp_path / "ray") == of_run(tmp_path / "alone")


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_run_goes_on_with_other_workers_and_leaves_no_actor(told, tmp_path, moody, cluster):
    address = f"ray:{cluster.address_info['address']}:1"
    options = {"steps": 2, "batch": 6, "reward_keep": moody}
    train(configure(Config, None, told(**{**options, "steps": 1}, reward_workers=address)))
    (actor,) = seen(tmp_path)
    psutil.wait_procs([psutil.Process(actor)] if psutil.pid_exists(actor) else [], timeout=30)
    assert not psutil.pid_exists(actor) or psutil.Process(actor).status() == "zombie"
    train(configure(Config, None, told(**options)))
    train(configure(Config, None, told(**options, reward_workers="0", output_dir=str(tmp_path / "alone"))))
    assert of_run(told()["output_dir"]) == of_run(tmp_path / "alone")


def test_a_run_on_ray_that_is_told_to_stop_saves_first(told, tmp_path, cluster):
    """Ray has a handler of SIGTERM of its own."""
    folder = tmp_path / "stopped"
    options = told(steps=2000, batch=6, output_dir=str(folder))
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value or "none"))]
    flags += ["--reward-workers", f"ray:{cluster.address_info['address']}:1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edit_grpo_ref", "train", *flags], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 150
    while not ((folder / "log.jsonl").exists() and (folder / "log.jsonl").read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 130, error
    assert "stopping after this step" in error
    assert 3 <= read(folder).step == len(of_run(folder)[1]) < 2000


def test_no_cluster_is_told_before_the_first_step(told):
    with pytest.raises(EditbenchError, match=r"ray:127\.0\.0\.1:1: no cluster there"):
        train(configure(Config, None, told(reward_workers="ray:127.0.0.1:1:2")))
