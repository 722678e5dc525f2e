"""The manifests: they render, they are valid, they are safe, and the commands in them are real."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charloom.cli import arguments_of, build_app
from charloom.settings import Settings, options, variable
from serving.server import LIVENESS, SERVICE

KEY_LINES = "CHARLOOM_SERVE_STATE_KEY_LINES"
K8S = Path(__file__).parents[2] / "k8s"
KUSTOMIZATIONS = ["base", "training", "generation", "merge", "overlays/single-node", "gpu"]
TO_JSON = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"
CORES = "2"
"""What Kubernetes puts where a manifest asks for the limit of cores."""
SMALL = {
    "CHARLOOM_TRAIN_CELLS": "16",
    "CHARLOOM_TRAIN_BATCH": "16",
    "CHARLOOM_TRAIN_EPOCHS": "1",
    "CHARLOOM_TRAIN_PREVIEW_LENGTH": "0",
    "CHARLOOM_TRAIN_PRECISION": "float32",
}
Object = dict[str, Any]


def environment(command: str) -> set[str]:
    """The variables that a command reads."""
    arguments = arguments_of(build_app(Settings({})), command)
    return {variable(command, option.name) for option in options(arguments)}


def test_every_variable_is_an_option() -> None:
    used = {
        name
        for path in [*K8S.rglob("*.yaml"), *K8S.rglob("*.md"), K8S.parent / "Dockerfile"]
        for name in re.findall(r"CHARLOOM_[A-Z0-9_]+", path.read_text())
    }
    assert used <= environment("serve") | environment("train")
    assert "CHARLOOM_SERVE_HOST" in used


def test_every_kustomization_is_tested() -> None:
    found = {path.parent.relative_to(K8S).as_posix() for path in K8S.rglob("kustomization.yaml")}
    assert found - {"components/gpu"} == {*KUSTOMIZATIONS} - {"gpu"}


@pytest.fixture(scope="module")
def render(
    tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[Object]]:
    """Renders a kustomization, validates it, and gives its objects; `gpu` is training on a GPU."""
    kubectl, validate = tool("kubectl"), tool("kubernetes-validate")
    folder = tmp_path_factory.mktemp("k8s")

    def paths(*names: str) -> list[str]:
        return [os.path.relpath(K8S / name, folder) for name in names]

    (folder / "kustomization.yaml").write_text(
        json.dumps({"resources": paths("training"), "components": paths("components/gpu")})
    )

    def render(name: str) -> list[Object]:
        source = folder if name == "gpu" else K8S / name
        rendered = run(kubectl, "kustomize", str(source))
        (folder / "rendered.yaml").write_text(rendered)
        run(validate, "--strict", str(folder / "rendered.yaml"))
        # Our own environment has no YAML parser; that of kubernetes-validate has.
        objects: list[Object] = json.loads(
            run(str(Path(validate).with_name("python")), "-c", TO_JSON, stdin=rendered)
        )
        return objects

    return render


def run(*command: str, stdin: str = "") -> str:
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def pods(objects: list[Object]) -> Iterator[Object]:
    """The pod templates."""
    for item in objects:
        if "template" in item.get("spec", {}):
            yield item["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def the(objects: list[Object], kind: str) -> Object:
    """The only object of a kind."""
    [found] = [item for item in objects if item["kind"] == kind]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_pods_are_safe(render: Callable[[str], list[Object]], name: str) -> None:
    templates = list(pods(render(name)))
    assert templates
    for pod in templates:
        spec = pod["spec"]
        assert spec["enableServiceLinks"] is False, "CHARLOOM_SERVE_PORT=tcp://... would reach the command"
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == "charloom"
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert not re.search(r":latest$|^[^:]*$", container["image"])


@pytest.mark.slow
def test_server_accepts_its_command(
    render: Callable[[str], list[Object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    [pod] = pods(render("base"))
    [server] = containers(pod)
    names = {entry["name"] for entry in server["env"]}
    assert names <= environment("serve")
    for entry in server["env"]:
        if entry["name"] != KEY_LINES:
            monkeypatch.setenv(entry["name"], entry.get("value", CORES))
    build_app(Settings({})).parse_args(server["args"], exit_on_error=False, print_error=False)


@pytest.mark.slow
def test_job_trains_exports_and_goes_on(
    render: Callable[[str], list[Object]], text_file: Path, tmp_path: Path
) -> None:
    [pod] = pods(render("training"))
    train, export = containers(pod)
    shutil.copytree(text_file.parent, tmp_path / "text")

    def start(container: Object) -> str:
        """Runs a container's command, with /data and /text in a folder of the test."""
        entries = {entry["name"]: entry.get("value", CORES) for entry in container.get("env", [])}
        assert set(entries) <= environment("train")
        words = [*container.get("command", ["charloom"]), *container["args"]]
        moved = [
            re.sub(r"(?<!\S)/(data|text)/", rf"{tmp_path}/\1/", word) for word in [*words, *entries.values()]
        ]
        result = subprocess.run(
            moved[: len(words)],
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "OMP_WAIT_POLICY": "passive",
                **SMALL,
                **dict(zip(entries, moved[len(words) :], strict=True)),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    assert "resuming" not in start(train)
    assert "wrote" in start(export)
    assert "resuming" in start(train)
    assert "wrote" in start(export)
    assert (tmp_path / "data/bundles/model/manifest.json").is_file()


@pytest.mark.slow
def test_jobs_generate_in_shards_and_merge_them(
    render: Callable[[str], list[Object]], record_bundle_dir: Path, tmp_path: Path
) -> None:
    [job], [merging] = render("generation"), render("merge")
    [generate], [merge] = (containers(next(pods([one]))) for one in (job, merging))
    shutil.copytree(record_bundle_dir, tmp_path / "data/bundles/model")
    shards = job["spec"]["completions"]
    assert job["spec"]["completionMode"] == "Indexed"

    def start(words: list[str]) -> str:
        moved = [word.replace("/data/", f"{tmp_path}/data/") for word in words]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        result = subprocess.run(
            moved, env={"PATH": path}, capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stderr

    words = [word.replace("--count=10000000", "--count=20") for word in generate["args"]]
    for index in range(shards):
        shard = [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in words]
        assert f"of shard {index}/{shards}" in start(["charloom", *shard, "--label", "p"])
    assert "wrote 20 records" in start([*merge["command"], *merge["args"]])


@pytest.mark.slow
def test_server_is_probed_and_reached_where_it_listens(render: Callable[[str], list[Object]]) -> None:
    objects = render("base")
    spec = the(objects, "Deployment")["spec"]["template"]["spec"]
    [server] = spec["containers"]
    values = {entry["name"]: entry.get("value") for entry in server["env"]}
    port = int(values["CHARLOOM_SERVE_PORT"])
    assert (values["CHARLOOM_SERVE_HOST"], values["CHARLOOM_SERVE_INSECURE_PUBLIC"]) == ("0.0.0.0", "true")
    assert server["startupProbe"]["grpc"] == {"port": port}
    assert server["readinessProbe"]["grpc"] == {"port": port, "service": SERVICE}
    assert server["livenessProbe"]["grpc"] == {"port": port, "service": LIVENESS}
    opened = {entry["name"]: entry["containerPort"] for entry in server["ports"]}
    assert opened == {"grpc": port, "metrics": int(values["CHARLOOM_SERVE_METRICS_PORT"])}
    service = the(objects, "Service")["spec"]
    assert service["clusterIP"] == "None"
    assert {entry["targetPort"]: entry["port"] for entry in service["ports"]} == opened
    assert spec["terminationGracePeriodSeconds"] > float(values["CHARLOOM_SERVE_GRACE"])


@pytest.mark.slow
def test_selectors_choose_servers_and_not_jobs(render: Callable[[str], list[Object]]) -> None:
    objects = render("overlays/single-node")
    deployment, job = the(objects, "Deployment"), the(objects, "Job")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        the(objects, "Service")["spec"]["selector"],
        the(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"][
            "matchLabels"
        ],
    ]
    for selector in selectors:
        assert "app.kubernetes.io/name" in selector
        assert selector.items() <= labels.items()
        assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.slow
def test_one_node_needs_no_shared_storage(render: Callable[[str], list[Object]]) -> None:
    claims = [the(render(name), "PersistentVolumeClaim") for name in ("base", "overlays/single-node")]
    assert [claim["spec"]["accessModes"] for claim in claims] == [["ReadWriteMany"], ["ReadWriteOnce"]]


@pytest.mark.slow
def test_gpu_goes_to_training_alone(render: Callable[[str], list[Object]]) -> None:
    [pod] = pods(render("gpu"))
    train, export = containers(pod)
    assert train["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert train["resources"]["limits"]["memory"]
    assert "nvidia.com/gpu" not in export["resources"]["limits"]
