"""Processes over TLS with a CA of their own: the agent joins by it, the command line and Python believe it, nobody else does."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
from pathlib import Path

import pytest

import styx
from styx.config.tls import trusting
from styx.errors import StyxError, Unreachable, UsageError
from styx.testing.cluster import Cluster, eventually

VALUE = "correct-horse-battery"


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """(CA, the server's certificate, its key) for 127.0.0.1, in PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("test CA"))
        return (
            made.public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = builder("test CA", ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    hosts = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = builder("a server", key).add_extension(hosts, critical=False)
    files = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    files[0].write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(server.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[2].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return files


class TlsCluster(Cluster):
    """A cluster whose server speaks TLS."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.cert, self.key = certificates(folder)
        super().__init__(folder)
        self.url = f"https://127.0.0.1:{self.port}"
        self.env["STYX_CA"] = str(self.ca)

    def healthy(self) -> bool:
        return self.styx("version", "-o", "json").returncode == 0 and bool(self._health())

    def _health(self) -> object:
        async def ask() -> str:
            async with styx.Client(self.url, "", tls=trusting(str(self.ca))) as client:
                return (await client.health()).status

        try:
            return asyncio.run(ask()) == "healthy"
        except StyxError:
            return False


def test_an_agent_joins_over_tls_and_comes_back_by_its_credential(tmp_path: Path) -> None:
    with TlsCluster(tmp_path) as cluster:
        tls = ("--tls-cert", str(cluster.cert), "--tls-key", str(cluster.key))
        cluster.start_server(*tls)
        made = cluster.styx("token", "create", "--join", "--pool", "gpu", "-o", "json")
        assert made.returncode == 0, made.stderr
        join = json.loads(made.stdout)
        assert (join["role"], join["pool"]) == ("join", "gpu")
        assert join["expires_at"] > join["created_at"]
        other = tmp_path / "elsewhere"
        (tmp_path / "join").write_text(join["secret"])
        there = ("--home", str(other), "--token-file", str(tmp_path / "join"))
        cluster.start_agent("a", *there)
        ran = cluster.styx(
            "run", "--secret", "TOKEN=MINE", "--", "sh", "-c", 'echo "it is $TOKEN"; exit 6', env={"MINE": VALUE}
        )
        assert (ran.returncode, ran.stdout) == (6, "it is ***\n"), ran.stderr
        agents = json.loads(cluster.styx("agents", "-o", "json").stdout)
        assert [agent["labels"] for agent in agents] == [{"pool": "gpu"}]
        (folder,) = (other / "agents").iterdir()
        assert [(folder / name).stat().st_mode & 0o777 for name in ("credential", "join.key")] == [0o600, 0o600]
        secret = json.loads((folder / "credential").read_text())["secret"]
        listed = cluster.styx("token", "list")
        assert "gpu" in listed.stdout
        assert agents[0]["agent_id"][:8] in listed.stdout
        assert secret not in listed.stdout + cluster.log("agent-a") + cluster.log("server")
        for process in (cluster.server, cluster.agents["a"], *cluster.owners()):
            assert process is not None
            limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
            (cores,) = [line.split()[4] for line in limits if line.startswith("Max core file size")]
            assert cores == "0"
        # a restart, with the join token revoked: the credential is enough
        assert cluster.styx("token", "revoke", str(join["token_id"])).returncode == 0
        cluster.kill_agent("a")
        cluster.kill_server()
        cluster.start_server(*tls)
        cluster.start_agent("a", *there)
        again = cluster.styx("run", "--", "echo", "back")
        assert (again.returncode, again.stdout) == (0, "back\n"), again.stderr
        assert len(json.loads(cluster.styx("agents", "-o", "json").stdout)) == 1  # it is the same one
        # its credential revoked: it is told, and goes
        tokens = json.loads(cluster.styx("token", "list", "-o", "json").stdout)
        mine = next(token for token in tokens if token["joined_by"])
        assert cluster.styx("token", "revoke", str(mine["token_id"])).returncode == 0
        eventually("the agent has gone", lambda: cluster.agents["a"].poll() is not None)
        assert cluster.agents["a"].returncode == 77


def test_nobody_believes_a_certificate_that_they_cannot_check(tmp_path: Path) -> None:
    with TlsCluster(tmp_path) as cluster:
        cluster.start_server("--tls-cert", str(cluster.cert), "--tls-key", str(cluster.key))
        for believed in ({"STYX_CA": str(cluster.ca)}, {"STYX_CA": "", "SSL_CERT_FILE": str(cluster.ca)}):
            assert cluster.styx("stats", "-o", "json", env=believed).returncode == 0
        assert cluster.styx("--ca", str(cluster.ca), "stats", "-o", "json", env={"STYX_CA": ""}).returncode == 0
        refused = cluster.styx("stats", env={"STYX_CA": ""})
        assert refused.returncode == 69
        assert "certificate" in refused.stderr
        plain = cluster.styx("--server", cluster.url.replace("https", "http"), "stats")
        assert plain.returncode != 0
        assert "Traceback" not in refused.stderr + plain.stderr
        cluster.env["STYX_CA"] = ""
        cluster.start_agent("a", "--token-file", str(cluster.home / "token"))
        eventually("it says why", lambda: "certificate" in cluster.log("agent-a"))
        cluster.start_agent("b", "--ca", str(cluster.ca))
        cluster.env["STYX_CA"] = str(cluster.ca)
        eventually("b is up", lambda: "UP" in cluster.styx("agents").stdout)

        async def main() -> None:
            token = (cluster.home / "token").read_text().strip()
            async with styx.Client(cluster.url, token, tls=ssl.create_default_context()) as client:
                with pytest.raises(Unreachable):
                    await client.stats()

        asyncio.run(main())


def test_a_file_that_is_no_ca_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="holds no certificates"):
        trusting(str(tmp_path / "text"))
    with pytest.raises(UsageError, match="cannot be read"):
        trusting(str(tmp_path / "nothing"))
