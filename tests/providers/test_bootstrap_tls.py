"""A machine whose server has a certificate of its own: the order carries who signed it, and nobody else is believed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from boot_kit import BootedMachine

from styx.providers.bootstrap import BootstrapOrder, user_data
from styx.providers.bootstrap.bundle import build, own
from styx.testing.cluster import eventually

sys.path.insert(0, str(Path(__file__).parents[1] / "security"))

from test_tls import TlsCluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_it_fetches_joins_and_runs_over_tls(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with TlsCluster(tmp_path / "server") as cluster:
        cluster.start_server("--tls-cert", str(cluster.cert), "--tls-key", str(cluster.key))

        def order(name: str, ca: str) -> BootstrapOrder:
            made = cluster.styx("token", "create", "--join", "--single-use", "-o", "json")
            archive = build(cluster.home / "bootstrap", *own())
            secret = json.loads(made.stdout)["secret"]
            return BootstrapOrder(
                cluster.url, secret, ((*own(), archive.sha256),), token=name, ca=ca, idle_seconds=1_000
            )

        with BootedMachine(tmp_path / "machine") as machine:
            machine.boot(user_data(order("styx-a", cluster.ca.read_text())))
            ran = cluster.styx("run", "--", "sh", "-c", "echo over tls")
            assert (ran.returncode, ran.stdout) == (0, "over tls\n"), ran.stderr + machine.log()
            assert (machine.folder / "ca.pem").read_text() == cluster.ca.read_text()
        with BootedMachine(tmp_path / "other") as other:
            other.boot(user_data(order("styx-b", "")))
            eventually("it does not believe the server", lambda: "CERTIFICATE_VERIFY_FAILED" in other.log())
            assert other.agents() == []
