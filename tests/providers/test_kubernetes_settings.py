"""What `[providers.kubernetes]` may say, and what is made of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kube_schema import faults_of

from styx.core.resources import Resources
from styx.errors import SpecError
from styx.protocol.messages import Run, Secret, Spec
from styx.providers.base import Context, RunOrder
from styx.providers.kubernetes import make
from styx.providers.kubernetes.pod import pod_of, secret_of
from styx.providers.kubernetes.settings import Gpu, Place, Settings, read

ENVIRON = {"HOME": "/home/me"}


def order(resources: Resources, **changes: Any) -> RunOrder:
    spec = Spec(1, 0, "j", "j.0", "t", ("echo $HOME",), True, 0, resources, (), "", 90_500, 2_500, image="i")
    return RunOrder("c" * 32, spec, Run(7, 0, 1), **changes)


def problems(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as error:
        read(given, ENVIRON)
    return {one.path: one.message for one in error.value.problems}


def test_the_least() -> None:
    found = read({"contexts": [{"context": "c"}]}, ENVIRON)
    assert found == Settings((Place("c"),), "/home/me/.kube/config")
    assert found.places[0].name == "c/default"
    assert found.places[0].capacity.cpus == 6_400_000


def test_all_of_it() -> None:
    given = {
        "kubeconfig": "~/a:/b",
        "image": "python:3.12",
        "image_wait": "1m",
        "contexts": [
            {
                "context": "arn:aws:eks:eu-west-1:1:cluster/x",
                "namespace": "batch",
                "cpus": 64,
                "memory": "256GB",
                "gpus": {"A100": 8, "T4": {"count": 2, "resource": "g/t4", "select": {"gpu": "t4"}}},
                "pods": 7,
                "node_selector": {"pool": "spot"},
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "service_account": "runner",
                "image_pull_secrets": ["registry"],
            },
            {"context": "in-cluster", "image": "busybox"},
        ],
    }
    found = read(given, ENVIRON)
    assert found.kubeconfig == "/home/me/a:/b"
    first, second = found.places
    assert (first.image, second.image, second.image_wait) == ("python:3.12", "busybox", 60.0)
    assert first.capacity == Resources(64_000, 256_000_000_000, 1 << 60, (("A100", 8), ("T4", 2)))
    assert first.gpu("T4") == Gpu(2, "g/t4", (("gpu", "t4"),))
    assert (first.pods, first.tolerations) == (7, ({"key": "spot", "operator": "Exists"},))


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({}, "contexts", "must be a list of tables"),
        ({"contexts": []}, "contexts", "must be a list of tables"),
        ({"contexts": [{"namespace": "n"}]}, "contexts[0].context", "names its context"),
        ({"contexts": [{"context": "c"}, {"context": "c"}]}, "contexts", "stands in it twice"),
        ({"contexts": [{"context": "c", "namespce": "n"}]}, "contexts[0].namespce", "no setting"),
        ({"contexts": [{"context": "c", "namespace": "N_"}]}, "contexts[0].namespace", "name of a namespace"),
        ({"contexts": [{"context": "c", "pods": 0}]}, "contexts[0].pods", "from 1 to"),
        ({"contexts": [{"context": "c", "cpus": "many"}]}, "contexts[0].cpus", "must be"),
        ({"contexts": [{"context": "c", "gpus": {"A100": "x"}}]}, "contexts[0].gpus", "whole number"),
        ({"contexts": [{"context": "c", "gpus": {"A100": {"number": 1}}}]}, "contexts[0].gpus", "such as"),
        ({"contexts": [{"context": "c", "tolerations": [{"kee": "x"}]}]}, "contexts[0].tolerations", "'kee'"),
        ({"contexts": [{"context": "c", "labels": {"a": "b c"}}]}, "contexts[0].labels", "63"),
        ({"contexts": [{"context": "c"}], "image": 3}, "image", "must be"),
        ({"contexts": [{"context": "c"}], "kubeconfig": 3}, "kubeconfig", "path"),
        ({"contexts": [{"context": "c"}], "nodes": 3}, "nodes", "no setting"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(given: dict[str, Any], path: str, words: str) -> None:
    found = problems(given)
    assert words in found[f"$.providers.kubernetes.{path}"]


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(problems({"contexts": [{"context": "c", "pods": 0, "cpus": ""}], "image": 1, "x": 2})) == 4


def test_a_pod_has_what_it_asks_for_and_goes_where_that_is() -> None:
    place = Place(
        "c",
        gpus=(("A100", Gpu(8, select=(("nvidia.com/gpu.product", "A100"),))),),
        node_selector=(("pool", "batch"),),
        tolerations=({"key": "batch", "operator": "Exists"},),
        limit_cpus=True,
    )
    pod = pod_of(order(Resources(1_500, 1 << 30, 1 << 33, (("A100", 2),))), place)
    assert faults_of("Pod", pod) == []
    spec = pod["spec"]
    expected = {
        "cpu": "1500m",
        "memory": str(1 << 30),
        "ephemeral-storage": str(1 << 33),
        "nvidia.com/gpu": "2",
    }
    assert spec["containers"][0]["resources"] == {"requests": expected, "limits": expected}
    assert spec["nodeSelector"] == {"pool": "batch", "nvidia.com/gpu.product": "A100"}
    assert [one["key"] for one in spec["tolerations"]] == ["batch", "nvidia.com/gpu"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["activeDeadlineSeconds"]) == (
        "Never",
        3,
        3_691,
    )
    assert spec["containers"][0]["command"] == ["/bin/sh", "-c", "echo $$HOME"]
    assert not spec["automountServiceAccountToken"]


def test_a_pod_with_everything_is_valid() -> None:
    full = order(
        Resources(100),
        secrets=(Secret("A", "secretword"),),
        results=(("one", b"x"),),
        archive="a" * 64,
        archive_url="https://s/$x",
        archive_token="t",
        archive_ca="-----BEGIN",
    )
    place = Place("c", service_account="sa", priority_class="low", image_pull_secrets=("r",), labels=(("team", "a"),))
    pod, secret = pod_of(full, place), secret_of(full, "uid")
    assert secret is not None
    assert faults_of("Pod", pod) + faults_of("Secret", secret) == []
    assert "secretword" not in str(pod)
    assert pod["metadata"]["name"] == secret["metadata"]["name"] == f"styx-{'c' * 32}-7"


def test_no_library_is_imported_before_the_first_call(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, os\nfrom pathlib import Path\nfrom styx.providers.base import Context\n"
        "from styx.providers.kubernetes import make\n"
        "made = make({'contexts': [{'context': 'c'}]}, Context(Path('.'), os.environ, lambda: 0, asyncio.sleep))\n"
        "assert made.runners and made.provisioner is None\n"
        "assert not [name for name in sys.modules if name.startswith('kubernetes_asyncio')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_each_place_is_a_node_of_its_own(tmp_path: Path) -> None:
    contexts = [{"context": "a"}, {"context": "a", "namespace": "n"}, {"context": "b"}]
    made = make({"contexts": contexts}, Context(tmp_path, {}, lambda: 0, asyncio.sleep))
    assert list(made.runners) == ["a/default", "a/n", "b/default"]
    assert made.runners["a/n"].labels == (
        ("provider", "kubernetes"),
        ("region", "a"),
        ("runs", "image"),
        ("zone", "n"),
    )
