"""Silently dropped connections, machines that disappear, names that move: in network namespaces, which need root."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SERVER = """
import sys, threading
from watched import Gate
with Gate(sys.argv[2], address=sys.argv[1]):
    print("up", flush=True)
    threading.Event().wait()
"""
CLIENT = """
import sys
from rawbert.serving import Client
with Client(sys.argv[1].split(","), model="m") as client:
    print("up", flush=True)
    for line in sys.stdin:
        try:
            print(int(client.embed(["5"], timeout=float(line))[0, 0]), flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *" ".join(words).split()], check=True, capture_output=True)


def possible() -> bool:
    try:
        ip("netns add rawbert-probe")
        ip("netns del rawbert-probe")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt" or not possible(), reason="needs root, and iproute2"),
]


class Network:
    """A namespace with a client, one with servers at 10.213.7.2 to .4, and a link between them.

    The model servers are outside of both namespaces: one per number, on a Unix socket, which works across namespaces.
    """

    def __init__(self, models: dict[int, str]) -> None:
        self.models = models
        self.near, self.far = f"rawbert-c{os.getpid()}", f"rawbert-s{os.getpid()}"
        self.names = Path("/etc/netns") / self.near / "hosts"  # `ip netns exec` puts it in the place of /etc/hosts.
        self.names.parent.mkdir(parents=True)
        self.name("10.213.7.2")
        self.processes: dict[str, subprocess.Popen[str]] = {}
        for space in (self.near, self.far):
            ip("netns add", space)
            ip("-n", space, "link set lo up")
        ip("link add rb0 netns", self.near, "type veth peer name rb1 netns", self.far)
        ip("-n", self.near, "addr add 10.213.7.1/24 dev rb0")
        ip("-n", self.near, "link set rb0 up")
        ip("-n", self.far, "link set rb1 up")
        ip("netns exec", self.far, "sysctl -qw net.ipv4.conf.rb1.promote_secondaries=1")

    def name(self, *addresses: str) -> None:
        """Change the addresses of the name ``bert``."""
        self.names.write_text("".join(f"{address} bert\n" for address in addresses))

    def _start(self, space: str, code: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
        process = subprocess.Popen(
            ["ip", "netns", "exec", space, sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    def server(self, number: int) -> str:
        """A server at ``10.213.7.number``, whose model has ``number`` as its version."""
        address = f"10.213.7.{number}"
        ip("-n", self.far, f"addr replace {address}/24 dev rb1")
        self.processes[address] = self._start(self.far, SERVER, f"{address}:8500", self.models[number])
        return address

    def vanish(self, address: str) -> None:
        """Remove the machine: connections to it get no answer at all."""
        ip("-n", self.far, f"addr del {address}/24 dev rb1")
        self.stop(address)

    def stop(self, address: str) -> None:
        self.processes.pop(address).kill()

    def client(self, *addresses: str) -> Any:
        process = self.processes["client"] = self._start(self.near, CLIENT, ",".join(addresses))

        def call(timeout: float) -> str:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{timeout}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        return call

    def drop_flows(self) -> None:
        """Forget all current connections: their packets are dropped silently, as by NAT."""
        for name in ("tcp", "tcp6"):
            command = ["ip", "netns", "exec", self.near, "cat", f"/proc/net/{name}"]
            for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[1:]:
                _, local, remote, state, *_ = line.split()
                if state == "01" and remote.endswith(":2134"):  # Established, to port 8500.
                    ip("-n", self.far, f"rule add ipproto tcp dport {int(local.rpartition(':')[2], 16)} blackhole")

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for space in (self.near, self.far):
            ip("netns del", space)
        self.names.unlink()
        self.names.parent.rmdir()


@pytest.fixture
def network(side: Any, tmp_path: Path) -> Iterator[Network]:
    with ExitStack() as stack:
        sockets = {number: f"unix:{tmp_path}/{number}" for number in (2, 3, 4)}
        for number, address in sockets.items():
            stack.enter_context(side.numbers(address=address, versions=[number]))
        made = Network(sockets)
        stack.callback(made.close)
        yield made


def test_a_flow_that_is_dropped_silently(network: Network) -> None:
    call = network.client(f"{network.server(2)}:8500")
    assert call(5) == "2"
    network.drop_flows()
    assert [call(5), call(5)] == ["2", "2"]
    network.drop_flows()
    # A deadline that is too short for that shows at least that the connection is dead.
    assert [call(1) for _ in range(4)] == ["DeadlineExceeded", "2", "2", "2"]


def test_a_machine_that_vanishes(network: Network) -> None:
    addresses = [network.server(2), network.server(3)]
    call = network.client(*(f"{address}:8500" for address in addresses))
    assert {call(5) for _ in range(4)} == {"2", "3"}
    network.vanish(addresses[0])
    assert [call(5) for _ in range(10)] == ["3"] * 10
    begun = time.monotonic()
    assert [call(1) for _ in range(10)] == ["3"] * 10
    assert time.monotonic() - begun < 2
    late = network.client(*(f"{address}:8500" for address in addresses))
    assert [late(5) for _ in range(4)] == ["3"] * 4


def test_a_name_that_moves_twice(network: Network) -> None:
    first, second = network.server(2), network.server(3)
    call = network.client("bert:8500")
    assert call(5) == "2"
    for old, new, number in ((first, second, "3"), (second, network.server(4), "4")):
        network.name(new)
        network.vanish(old)
        assert [call(5), call(5)] == [number, number]


def test_a_name_that_gets_another_address(network: Network) -> None:
    addresses = [network.server(2), network.server(3)]
    call = network.client("dns:///bert:8500")
    assert call(5) == "2"
    network.name(*addresses)
    begun, seen = time.monotonic(), set()
    while len(seen) < 2:
        seen.add(call(5))
        time.sleep(0.2)
        assert time.monotonic() - begun < 30


def test_a_single_server_that_restarts(network: Network) -> None:
    address = network.server(2)
    call = network.client(f"{address}:8500")
    assert call(5) == "2"
    network.stop(address)
    timer = threading.Timer(6, network.server, [2])
    timer.start()
    assert call(30) == "2"
    timer.join()
