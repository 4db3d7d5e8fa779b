"""Two hundred `kill -9` of the server under a mixed load of writes. After each restart every write that was answered is
there, and so is all that any reader had been shown: no answer leaves before what it saw is durable.

Tags are registers that only count up, so one look says what was lost; each write sets two of them in one transaction.
Instances are launched and terminated. Each round has an account of its own, so that it can be looked at again at the end.
"""

import collections
import http.client
import json
import os
import pathlib
import random
import re
import threading

import pytest

from haar import Raw, Server, new_account, values_of

ROUNDS = int(os.environ.get("HAAR_KILLS", 200))
SEED = 20261125
WRITERS, READERS = 3, 2
MODELS = pathlib.Path(__file__).resolve().parents[2] / "models"
LOST = (OSError, http.client.HTTPException)
TAG = re.compile(rb"<item>(.*?)</item>", re.S)


def an_image():
    return re.search(r"ami-[0-9a-f]{17}", (MODELS / "images-fixed.json").read_text())[0]


def registers_of(body):
    """{(resource, key): number} of a DescribeTags answer."""
    tags = {}
    for item in TAG.findall(body):
        tags[values_of(item, "resourceId")[0], values_of(item, "key")[0]] = int(values_of(item, "value")[0])
    return tags


def states_of(body):
    """{instance: its state} of a DescribeInstances answer."""
    found = re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>.*?<instanceState><code>\d+</code><name>([a-z-]+)</name>", body, re.S)
    return {ident.decode(): state.decode() for ident, state in found}


class Round:
    """What was answered and what was shown in one life of the server, in one account."""

    def __init__(self, server, chance):
        self.server, self.chance = server, chance
        self.account = new_account()
        self.lock = threading.Lock()
        self.sent, self.answered = collections.Counter(), collections.Counter()  # register → number
        self.shown = collections.Counter()
        self.launched, self.terminated, self.shown_instances = set(), set(), set()
        self.wrong = []
        with_raw = Raw(server.port, self.account)
        self.subnets = values_of(with_raw.call("DescribeSubnets")[1], "subnetId")
        with_raw.close()

    def run(self):
        threads = [threading.Thread(target=self.guard, args=(self.write, n)) for n in range(WRITERS)]
        threads += [threading.Thread(target=self.guard, args=(self.read, n)) for n in range(READERS)]
        seeds = [self.chance.random() for _ in threads]
        self.choices = dict(zip(threads, map(random.Random, seeds)))
        for thread in threads:
            thread.start()
        threading.Event().wait(self.chance.uniform(0.005, 0.1))
        self.server.kill()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert not self.wrong, self.wrong

    def guard(self, work, n):
        """Works until the server is gone."""
        raw = Raw(self.server.port, self.account)
        try:
            while True:
                work(raw, n, self.choices[threading.current_thread()])
        except LOST:
            pass
        except Exception as e:  # pylint: disable=broad-except
            self.wrong.append(repr(e))
        raw.close()

    @staticmethod
    def done(answer):
        assert answer[0] == 200, answer
        return answer[1]

    def write(self, raw, n, choose):
        kind = choose.random()
        if kind < 0.8:
            self.count_up(raw, n, choose)
        elif kind < 0.92 or not self.launched - self.terminated:
            body = self.done(raw.call("RunInstances", ImageId=an_image(), MinCount=1, MaxCount=2, InstanceType="t3.nano"))
            with self.lock:
                self.launched.update(values_of(body, "instanceId"))
        else:
            with self.lock:
                ident = choose.choice(sorted(self.launched))
            self.done(raw.call("TerminateInstances", **{"InstanceId.1": ident}))
            with self.lock:
                self.terminated.add(ident)

    def count_up(self, raw, n, choose):
        key = f"{n}-{choose.randrange(3)}"
        self.sent[key] += 1
        number = self.sent[key]
        self.done(raw.call("CreateTags", **{"ResourceId.1": self.subnets[0], "ResourceId.2": self.subnets[1],
                                            "Tag.1.Key": key, "Tag.1.Value": number}))
        self.answered[key] = number

    def read(self, raw, n, choose):
        if choose.random() < 0.8:
            seen = registers_of(self.done(raw.call("DescribeTags")))
            with self.lock:
                for (_, key), number in seen.items():
                    self.shown[key] = max(self.shown[key], number)
        else:
            seen = states_of(self.done(raw.call("DescribeInstances")))
            with self.lock:
                self.shown_instances.update(seen)

    def check(self, server):
        """Against another life of the server."""
        raw = Raw(server.port, self.account)
        registers = registers_of(self.done(raw.call("DescribeTags")))
        states = states_of(self.done(raw.call("DescribeInstances")))
        raw.close()
        for key in self.sent:
            found = [registers.get((subnet, key), 0) for subnet in self.subnets[:2]]
            assert found[0] == found[1], f"half of a transaction: {key} is {found}"
            assert found[0] >= self.answered[key], f"lost: {key} was answered {self.answered[key]} and is {found[0]}"
            assert found[0] >= self.shown[key], f"shown and lost: {key} was shown as {self.shown[key]} and is {found[0]}"
            assert found[0] <= self.sent[key], f"invented: {key} is {found[0]}, sent was {self.sent[key]}"
        assert self.launched <= set(states), "an instance whose launch was answered is not there"
        assert self.shown_instances <= set(states), "an instance that was shown is not there"
        running = {ident for ident in self.terminated if states[ident] not in ("shutting-down", "terminated")}
        assert not running, f"terminated, and back: {running}"
        return sum(self.answered.values()) + len(self.launched) + len(self.terminated)


@pytest.mark.needs("RunInstances", "DescribeInstances", "TerminateInstances", "DescribeTags", "CreateTags")
def test_two_hundred_kills_lose_nothing_that_was_answered_or_shown(binary, tmp_path):
    chance, rounds, writes = random.Random(SEED), [], 0
    arguments = (binary, "--backend", "none", "--data", tmp_path / "data")
    for _ in range(ROUNDS):
        server = Server(*arguments)
        if rounds:
            writes += rounds[-1].check(server)
        rounds.append(Round(server, chance))
        rounds[-1].run()
    with Server(*arguments) as server:
        for each in rounds:
            each.check(server)
    assert writes > ROUNDS, "no load"
    print(json.dumps({"kills": ROUNDS, "writes": writes, "seed": SEED}))
