"""The verbs about places against a scripted plane: what is printed, what is asked before money is spent, and the exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cli_fakes import JOB, FakeVerbs, job_view, run

from styx.cli.main import main
from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.protocol.http import PlannedTask, PlanView, ResourcesView
from styx.protocol.places import InstanceView, OffersQuery, OfferView, RankedView

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def machine(serial: str, **more: Any) -> InstanceView:
    plain = {
        "ref": f"r/i-{serial}", "provider": "aws", "region": "r", "zone": "ra", "instance_type": "m5", "spot": True, "price": 0.5,
        "state": "UP", "cloud": "running", "age": 60.0, "cost": 0.25, "job_name": "train", "agent": f"agent-{serial}",
    }  # fmt: skip
    return InstanceView(serial, **(plain | more))


def planned(*, free: bool = False, chosen: bool = True, price: float = 6.5) -> PlanView:
    offers = [
        OfferView("aws", "r", "ra", "p4d", True, 1.0, 96.0, 10**12, {"A100": 8}, why="refused lately: no capacity", fits=1, machines=2, hourly=2.0),
        OfferView("aws", "r", "rb", "p4d", True, price, 96.0, 10**12, {"A100": 8}, fits=1, machines=2, hourly=2 * price, chosen=chosen),
    ]  # fmt: skip
    tasks = [PlannedTask("train", [], 2, ResourcesView(), 0, [])]
    ranked = RankedView(["train"], offers, 2, 5_000, {"no A100": 4_990, "too little memory": 8}, 2, free)
    return PlanView("train", tasks, 2, 1, True, "no place is known yet", [ranked], 86_400.0, "aws: a list")


def test_options_of_places_reach_the_spec() -> None:
    verbs = FakeVerbs()
    assert run(
        verbs, "run", "--gpus", "A100:8", "--prefer-spot", "--provider", "aws", "--region", "r", "--zone", "ra", "--instance-type",
        "p4d", "--max-hourly-cost", "30", "--image", "python:3.12", "--budget", "20 USD", "--cpus", "4+", "true",
    ) == 0  # fmt: skip
    spec = verbs.specs[0]
    task = spec.tasks[0]
    assert (task.spot, task.max_hourly, task.image, spec.budget) == (Spot.PREFER, 30_000_000, "python:3.12", 20_000_000)
    assert task.resources == Resources(4_000, 0, 0, (("A100", 8),))
    assert dict(task.labels) == {
        "provider": "aws", "region": "r", "zone": "ra", "instance_type": "p4d", "spot": "true", "runs": "image",
    }  # fmt: skip
    assert run(verbs, "run", "--spot", "true") == 0
    assert verbs.specs[1].tasks[0].spot == Spot.YES
    assert run(verbs, "run", "true") == 0
    assert verbs.specs[2].tasks[0].spot == Spot.NO


def test_wrong_amounts_are_told_in_the_words_of_the_command_line(capfd: Capture) -> None:
    assert run(FakeVerbs(), "run", "--max-hourly-cost", "cheap", "--budget", "0", "true") == 2
    err = capfd.readouterr().err
    assert "--max-hourly-cost must be an amount such as" in err
    assert "--budget must be more than nothing" in err


def test_options_of_places_do_not_go_with_a_file_but_a_budget_does(tmp_path: Path, capfd: Capture) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("run: x")
    assert run(FakeVerbs(), "run", "--instance-type", "p4d", str(path)) == 2
    assert "--instance-type describes one command" in capfd.readouterr().err
    verbs = FakeVerbs()
    assert run(verbs, "run", "--budget", "5", str(path)) == 0
    assert verbs.specs[0].budget == 5_000_000


def test_run_shows_what_it_would_cost_and_spends_nothing_unasked(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.planned = planned()
    assert run(verbs, "run", "true") == 2  # the tests have no terminal
    out, err = capfd.readouterr()
    assert out == ""
    assert not verbs.specs
    assert "offers for train: 2 of 5,000 fit" in err
    assert "no: refused lately: no capacity" in err
    assert "would be taken" in err
    assert "the others lost: no A100 (4,990), too little memory (8)" in err
    assert "up to $13.00 an hour" in err
    assert "-y agrees" in err
    assert verbs.asked == [("plan", 5, True)]


@pytest.mark.parametrize("plan", [planned(free=True), planned(price=0.0)])
def test_run_asks_nothing_where_nothing_is_spent(plan: PlanView) -> None:
    verbs = FakeVerbs()
    verbs.planned = plan
    assert run(verbs, "run", "true") == 0
    assert len(verbs.specs) == 1


def test_what_can_be_had_only_later_is_asked_about_too(capfd: Capture) -> None:
    """During an outage, or when all that fits was refused lately: it costs money as soon as that is over."""
    verbs = FakeVerbs()
    verbs.planned = planned(chosen=False)
    assert run(verbs, "run", "true") == 2
    assert not verbs.specs
    assert "up to $2.00 an hour" in capfd.readouterr().err
    assert run(verbs, "run", "-y", "true") == 0


@pytest.mark.parametrize(
    ("answer", "code", "submitted"), [("y\n", 0, 1), ("\n", 130, 0), ("n\n", 130, 0), ("", 130, 0)]
)
def test_run_does_what_the_person_says(
    answer: str, code: int, submitted: int, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    prompts: list[str] = []

    def read(prompt: str = "") -> str:
        prompts.append(prompt)
        if not answer:
            raise EOFError
        return answer.rstrip("\n")

    monkeypatch.setattr("click.termui.visible_prompt_func", read)
    verbs = FakeVerbs()
    verbs.planned = planned()
    assert run(verbs, "run", "--budget", "9", "true") == code
    assert len(verbs.specs) == submitted
    shown = capfd.readouterr().err + "".join(prompts)
    assert "Bring up machines for up to $13.00 an hour; its budget is $9.00? [y/N]" in shown


def test_yes_asks_nothing_and_needs_no_plan() -> None:
    verbs = FakeVerbs()
    verbs.planned = planned()
    assert run(verbs, "run", "-y", "true") == 0
    assert verbs.asked[0] == ("submit", "")


def test_plan_shows_the_ranked_offers_and_how_old_the_prices_are(tmp_path: Path, capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.planned = planned()
    assert run(verbs, "plan", "true") == 0
    out = capfd.readouterr().out
    assert "offers for train: 2 of 5,000 fit\nPROVIDER" in out
    assert "p4d" in out
    assert "$13.00" in out
    assert "days old; `styx offers --refresh` asks the clouds again\n  from aws: a list" in out
    assert run(verbs, "plan", "--all", "true") == 0
    assert verbs.asked == [("plan", 10, False), ("plan", 0, False)]
    verbs.planned = planned(free=True)
    assert run(verbs, "plan", "true") == 0
    assert "a connected place takes it without them" in capfd.readouterr().out
    assert run(verbs, "plan", "-o", "json", "true") == 0
    ranked = json.loads(capfd.readouterr().out)["rankings"][0]
    assert (ranked["fitting"], ranked["offers"][1]["chosen"], ranked["offers"][0]["why"]) == (
        2,
        True,
        "refused lately: no capacity",
    )


def test_offers_are_filtered_and_say_what_can_be_used(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "offers", "--gpus", "A100:8", "--spot", "--cpus", "4+", "-n", "3", "--region", "r") == 0
    out = capfd.readouterr().out
    assert verbs.asked == [("offers", OffersQuery(region="r", accelerators="A100:8", cpus="4+", spot="true", limit=3))]
    assert "2 of 9 offers fit" in out
    assert "no: no credentials" in out
    assert "can be used: gcp" in out
    assert "cannot be used: aws: no credentials" in out
    assert run(verbs, "offers", "-o", "name") == 0
    assert capfd.readouterr().out == "aws/ra/p4d/spot\ngcp/s/a2\n"


def test_a_refresh_says_what_each_cloud_answered(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "offers", "--refresh", "-o", "json") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["found"] == 2
    assert "aws: 1,234 offers" in err
    assert "gcp: not refreshed: the credentials are not valid" in err
    assert verbs.asked[0] == ("refresh",)


def test_instances_and_what_they_cost(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "instances") == 0
    assert "no machine was brought up" in capfd.readouterr().out
    verbs.machines = [
        machine("7"),
        machine(
            "8", state="REQUESTED", ref="", cloud="", agent="", reason="whether it was brought up is not known yet"
        ),
        machine("r/i-9", state="ORPHAN", orphan=True, price=0.0, agent="", ref="r/i-9"),
    ]
    assert run(verbs, "instances", "--all") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1].split()[:8] == ["7", "aws", "ra", "m5", "(spot)", "UP", "i-7", "running"]
    assert "not known yet" in lines[2]
    assert lines[3].split()[0] == "i-9"
    assert lines[-1] == "2 machines for $1.00 an hour"
    assert verbs.asked[-1] == ("instances", True)


def test_down_asks_unless_it_is_agreed(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.machines = [machine("7"), machine("8")]
    assert run(verbs, "down") == 2
    assert "nothing to take down" in capfd.readouterr().err
    assert run(verbs, "down", "--all") == 2
    assert "would end 2 machines, and nobody can be asked here" in capfd.readouterr().err
    assert run(verbs, "down", "i-7") == 2
    assert "would end 1 machine," in capfd.readouterr().err
    assert not [call for call in verbs.asked if call[0] == "down"]
    assert run(verbs, "down", "--all", "--force", "-y") == 0
    assert capfd.readouterr().out == "2 machines on the way out\n"
    assert verbs.asked[-1] == ("down", (), True, False, True)
    assert run(verbs, "down", "7", "agent-8", "-y", "-o", "json") == 0
    assert json.loads(capfd.readouterr().out) == {"instances": 2}


def test_down_of_orphans_leaves_those_of_other_servers(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.machines = [
        machine("7"),
        machine("r/i-8", state="ORPHAN", orphan=True),
        machine("r/i-9", state="FOREIGN", orphan=True),
    ]
    assert run(verbs, "down", "--orphans") == 2
    assert "would end 1 machine," in capfd.readouterr().err
    assert run(verbs, "down", "--all") == 2
    assert "would end 1 machine," in capfd.readouterr().err


def test_check_says_of_each_whether_and_as_whom(capfd: Capture) -> None:
    assert run(FakeVerbs(), "check") == 69, "one that is in the settings cannot be used"
    out = capfd.readouterr().out
    assert "aws  can be used, as arn:aws:iam::1:user/me\n" in out
    assert "gcp  cannot be used\n  - the credentials are not valid\n    gcloud auth login\n" in out
    assert run(FakeVerbs(), "check", "-o", "name") == 69
    assert capfd.readouterr().out == "aws\n"
    well = FakeVerbs()
    well.unusable = ""
    assert run(well, "check") == 0, "what is in no settings is told, and no fault"


def test_cost_of_a_job_and_of_everything(capfd: Capture) -> None:
    verbs = FakeVerbs()
    assert run(verbs, "cost", JOB) == 0
    out = capfd.readouterr().out
    assert out.startswith("train has cost $1.50 of a budget of $20.00, $6.50 an hour now\n")
    assert "p4d (spot)" in out
    assert run(verbs, "cost") == 0
    assert capfd.readouterr().out.startswith("machines have cost $1.50, $6.50 an hour now\n")
    assert verbs.asked == [("cost", JOB), ("cost", "")]


def test_status_of_a_job_says_what_it_costs(capfd: Capture) -> None:
    verbs = FakeVerbs()
    verbs.view = job_view(cost=0.0123, budget=20.0)
    assert run(verbs, "status", JOB) == 0
    assert "cost       $0.0123 of a budget of $20.00" in capfd.readouterr().out
    verbs.view = job_view(single=False, cost=2.5)
    assert run(verbs, "status", JOB) == 0
    assert "  cost       $2.50\n" in capfd.readouterr().out


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No server, no cloud, no credentials."""
    for name in ("STYX_SERVER_URL", "STYX_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STYX_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_eight_gpus_are_planned_for_without_a_server(alone: Path, capfd: Capture) -> None:
    path = alone / "train.yaml"
    path.write_text("run: train\nresources: {accelerators: {A100: 8}, spot: prefer}\n")
    assert main(["plan", "-o", "json", str(path)]) == 0
    plan = json.loads(capfd.readouterr().out)
    ranked = plan["rankings"][0]
    assert ranked["fitting"] > 0
    assert ranked["offers"][0]["spot"]
    assert [offer["accelerators"]["A100"] >= 8 for offer in ranked["offers"]] == [True] * len(ranked["offers"])
    assert all(offer["why"] for offer in ranked["offers"])
    assert plan["prices_at"] > 1_600_000_000
    path.write_text("run: train\nresources: {accelerators: {A100: 1000}}\n")
    assert main(["plan", str(path)]) == 75
    assert "fewer A100 than asked for" in capfd.readouterr().out


def test_offers_and_checks_without_a_server(alone: Path, capfd: Capture) -> None:
    assert main(["offers", "-o", "json", "--provider", "aws", "--gpus", "T4", "-n", "2"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [set(offer["accelerators"]) for offer in found["items"]] == [{"T4"}, {"T4"}]
    assert "aws" in found["barred"]
    assert main(["offers", "--cpus", "lots"]) == 2
    assert "cpus must be a number of CPUs" in capfd.readouterr().err
    assert main(["check", "-o", "json"]) == 0
    assert {one["provider"]: one["configured"] for one in json.loads(capfd.readouterr().out)}["aws"] is False
    assert main(["instances"]) == 69
