"""What cluster/ ships: each file against its own schema, and what no file may hold."""

from __future__ import annotations

import copy
import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from dpo_core.errors import UserError
from sweeps.cli.options import EXIT_NOTHING_ADMISSIBLE
from sweeps.config.load import load_sweep
from sweeps.jobs.submission import entrypoint, make_submission
from sweeps.run_dir.lock import Busy
from sweeps.sweep import NoWinner
from tests.support.outside_inputs import outside_input
from tests.support.repository import ROOT

CLUSTER = ROOT / "cluster"
LAUNCHER = ("laptop", "onprem", "aws", "gcp")
KUBERAY = {"raycluster": "RayCluster", "rayjob": "RayJob", "raycronjob": "RayCronJob"}
BUILT_IN = (
    *("cronjob", "namespace", "network-policy", "egress-https", "egress-kubernetes-api"),
    "storage",
)
KUBERNETES = "1.32"

Tree = dict[str, Any]


def read(name: str) -> Tree:
    tree: Tree = yaml.safe_load((CLUSTER / name).read_text("utf-8"))
    return tree


def mutated(tree: Tree, change: Callable[[Tree], Any]) -> Tree:
    other = copy.deepcopy(tree)
    change(other)
    assert other != tree
    return other


def walk(value: Any) -> Iterator[Tree]:
    """Every mapping in a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from walk(inner)


# --- the cluster launcher --------------------------------------------------------------------


def prepared(tree: Tree) -> Tree:
    """As `ray up` would see it: defaults filled in, then held against Ray's schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: Tree = prepare_config(copy.deepcopy(tree))
    validate_config(config)
    return config


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_takes_the_launchers_file(name: str) -> None:
    config = prepared(read(f"{name}.yaml"))
    assert "0.0.0.0" not in yaml.safe_dump(config), "a default of the provider came through"
    [start] = [c for c in config["head_start_ray_commands"] if "--head" in c]
    assert "--dashboard-host=127.0.0.1" in start
    for command in [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
        if "ray start" in command:
            assert "export RAY_AUTH_MODE=token" in command
    assert subprocess.run(["bash", "-n", "-c", start], check=False).returncode == 0


@pytest.mark.parametrize("name", LAUNCHER)
@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.update(min_nodes=1),
        lambda tree: tree.update(max_workers="8"),
        lambda tree: tree["provider"].pop("type"),
        lambda tree: tree.update(setup_commands="pip install dpo-sweeps"),
    ],
    ids=["unknown key", "text for a number", "no provider", "text for a list"],
)
def test_ray_refuses_a_mutation(name: str, change: Callable[[Tree], Any]) -> None:
    with pytest.raises((jsonschema.ValidationError, ValueError, KeyError, TypeError)):
        prepared(mutated(read(f"{name}.yaml"), change))


@pytest.mark.parametrize("name", LAUNCHER)
def test_what_a_node_gets_exists_and_installs_the_pins(name: str) -> None:
    tree = read(f"{name}.yaml")
    mounts = {k.partition("/dpo-sweeps/")[2]: v for k, v in tree["file_mounts"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["setuptools"]["packages"]
    assert {name.partition(".")[0] for name in packages} <= set(mounts)
    assert {"pyproject.toml", "README.md", "LICENSE", "cluster"} < set(mounts)
    assert all(name == source for name, source in mounts.items() if name)
    assert all((ROOT / source).exists() for name, source in mounts.items() if name)
    scripts = set(re.findall(r"~/dpo-sweeps/(\S+)", " ".join(tree["setup_commands"])))
    assert scripts == {"cluster/setup_node.sh"}
    assert all((ROOT / script).is_file() for script in scripts)
    assert tree["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_clouds_train_on_spot_from_zero_and_keep_drivers_off_it(name: str) -> None:
    tree = read(f"{name}.yaml")
    head, gpu = (tree["available_node_types"][kind] for kind in ("head", "gpu"))
    assert tree["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0, "driver": 1}
    assert gpu["min_workers"] == 0
    assert gpu["resources"]["GPU"] > 0
    assert "driver" not in gpu["resources"]
    assert "spot" in str(gpu["node_config"]).lower()
    assert "spot" not in str(head["node_config"]).lower()


def test_a_node_installs_the_project_under_the_constraints_twice(tmp_path: Path) -> None:
    """The installer itself is stood in for: it would fetch gigabytes."""
    tools, token = tmp_path / "tools", tmp_path / ".ray" / "auth_token"
    tools.mkdir()
    token.parent.mkdir()
    token.write_text("token")
    token.chmod(0o644)
    uv = tools / "uv"
    uv.write_text(
        '#!/bin/sh\necho "$@" >>"$HOME/calls"\n'
        'if [ "$1" = venv ]; then mkdir -p "$HOME/env/bin"; '
        'touch "$HOME/env/bin/python"; chmod +x "$HOME/env/bin/python"; fi\n'
    )
    uv.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"}
    for _ in range(2):
        script = [CLUSTER / "setup_node.sh", "boto3"]
        subprocess.run(script, env=environment, check=True, cwd=tmp_path)
    venv, *installs = (tmp_path / "calls").read_text().splitlines()
    assert venv == f"venv --quiet --python 3.11 {tmp_path}/env"
    wanted = f"--constraint {CLUSTER}/constraints.txt {ROOT}[postgres] boto3"
    assert len(installs) == 2
    assert all(line.startswith("pip install") and line.endswith(wanted) for line in installs)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


# --- KubeRay ---------------------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """A CRD's schema as JSON Schema, with unknown keys refused, as `kubectl --validate=strict`."""
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(inner) for key, inner in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    closed = isinstance(schema.get("properties"), dict) and "type" in schema
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    return out


@pytest.fixture(scope="module")
def crds() -> dict[str, jsonschema.Draft7Validator]:
    """By kind, of the version v1 that our files name."""
    folder = outside_input("schemas")
    found = {}
    for path in sorted(folder.glob("ray.io_*.yaml")):
        crd = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
        [version] = [v for v in crd["spec"]["versions"] if v["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[crd["spec"]["names"]["kind"]] = jsonschema.Draft7Validator(schema)
    return found


def complaints(crds: dict[str, jsonschema.Draft7Validator], tree: Tree) -> list[str]:
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": tree["metadata"]}, KUBERNETES, True
    )
    return [f"{e.json_path}: {e.message}" for e in crds[tree["kind"]].iter_errors(tree)]


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_takes_the_file(crds: dict[str, Any], name: str) -> None:
    tree = read(f"kuberay/{name}.yaml")
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", KUBERAY[name])
    assert complaints(crds, tree) == []


def cluster_of(tree: Tree) -> Tree:
    """The RayCluster's spec inside any of the three kinds."""
    spec: Tree = tree["spec"]
    spec = spec.get("jobTemplate", spec)
    return spec.get("rayClusterSpec", spec)


MUTATIONS: list[tuple[str, Callable[[Tree], Any]]] = [
    ("raycluster", lambda t: t["spec"].update(headGroup={})),
    ("raycluster", lambda t: t["spec"].pop("headGroupSpec")),
    ("raycluster", lambda t: cluster_of(t)["authOptions"].update(mode="on")),
    ("raycluster", lambda t: cluster_of(t)["workerGroupSpecs"][0].update(maxReplicas="8")),
    ("rayjob", lambda t: t["spec"].update(backOffLimit=3)),
    ("rayjob", lambda t: t["spec"].update(backoffLimit="3")),
    ("rayjob", lambda t: pods(t)[0]["containers"][0].update(resource={})),
    ("raycronjob", lambda t: t["spec"].pop("schedule")),
    ("raycronjob", lambda t: t["spec"].update(concurrencyPolicy="Forbid")),
    ("raycronjob", lambda t: t["spec"]["jobTemplate"].update(entrypoint=["python"])),
]


@pytest.mark.parametrize(("name", "change"), MUTATIONS)
def test_kuberay_refuses_a_mutation(crds: dict[str, Any], name: str, change: Any) -> None:
    assert complaints(crds, mutated(read(f"kuberay/{name}.yaml"), change))


def test_the_three_kinds_run_the_same_pods() -> None:
    specs = [cluster_of(read(f"kuberay/{name}.yaml")) for name in KUBERAY]
    heads = [spec["headGroupSpec"] for spec in specs]
    for head in heads:  # the one that autoscales has a token for the autoscaler
        pod = head["template"]["spec"]
        pod["volumes"] = [v for v in pod["volumes"] if v["name"] != "kubernetes-api"]
    workers = [[w["template"] for w in spec["workerGroupSpecs"]] for spec in specs]
    assert heads[0] == heads[1] == heads[2]
    assert workers[0] == workers[1] == workers[2]
    for spec in specs:
        assert spec["authOptions"] == {"mode": "token", "secretName": "dpo-sweeps-ray-token"}
        assert spec["headGroupSpec"]["resources"] == {"CPU": "0", "driver": "1"}


def test_kueue_can_admit_the_job() -> None:
    """It counts groups of a fixed size, of jobs whose cluster ends with them."""
    job = read("kuberay/rayjob.yaml")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "dpo-sweeps"
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert not cluster_of(job).get("enableInTreeAutoscaling")
    [group] = cluster_of(job)["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]


# --- built-in kinds --------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_kubernetes_takes_the_file(name: str) -> None:
    kubernetes_validate.validate(read(f"kuberay/{name}.yaml"), KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cronjob", lambda t: t["spec"].update(concurrency="Forbid")),
        ("cronjob", lambda t: t["spec"].update(startingDeadlineSeconds="7200")),
        ("cronjob", lambda t: pods(t)[0]["containers"][0].update(args="ray")),
        ("namespace", lambda t: t["metadata"].update(labels=["restricted"])),
        ("network-policy", lambda t: t["spec"].update(policyType=["Ingress"])),
        ("storage", lambda t: t["spec"].update(accessModes="ReadWriteMany")),
    ],
)
def test_kubernetes_refuses_a_mutation(name: str, change: Callable[[Tree], Any]) -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            mutated(read(f"kuberay/{name}.yaml"), change), KUBERNETES, strict=True
        )


def test_two_nights_never_overlap_and_a_late_one_is_not_forgotten() -> None:
    spec = read("kuberay/cronjob.yaml")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] > 0
    assert spec["timeZone"] == "Etc/UTC"


def test_the_cron_jobs_pod_submits_the_night_and_knows_its_exit_codes() -> None:
    job = read("kuberay/cronjob.yaml")["spec"]["jobTemplate"]["spec"]
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    never_again = [UserError.exit_code, NoWinner.exit_code, EXIT_NOTHING_ADMISSIBLE]
    assert rule["onExitCodes"]["values"] == never_again
    [container] = job["template"]["spec"]["containers"]
    [script] = container["args"]
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    assert "dpo-sweeps submit nightly.yaml --nightly" in script


def test_the_shipped_night_can_be_submitted() -> None:
    path = CLUSTER / "nightly" / "nightly.yaml"
    late = datetime(2026, 11, 25, 3, tzinfo=UTC)
    job = make_submission(load_sweep(path), path, nightly=True, working_dir=path.parent, now=late)
    assert job.sweep_id == "nightly-2026-11-24"
    assert job.entrypoint == entrypoint(["nightly", "nightly.yaml", "--date", "2026-11-24"])


# --- the night without Kubernetes ------------------------------------------------------------

NIGHT = CLUSTER / "nightly"
COMMAND = "env/bin/dpo-sweeps nightly /etc/dpo-sweeps/nightly.yaml"


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """A systemd unit: sections of (key, value), of which keys may repeat."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (NIGHT / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.append((key, value))
    return sections


def test_systemd_starts_the_night_and_knows_its_exit_codes() -> None:
    service = dict(unit("dpo-sweeps-nightly.service")["Service"])
    assert service["ExecStart"].endswith(COMMAND)
    assert service["KillSignal"] == "SIGINT"
    assert service["SuccessExitStatus"] == str(Busy.exit_code)
    never_again = {UserError.exit_code, NoWinner.exit_code, EXIT_NOTHING_ADMISSIBLE}
    assert set(map(int, service["RestartPreventExitStatus"].split())) == never_again
    timer = dict(unit("dpo-sweeps-nightly.timer")["Timer"])
    assert timer == {"OnCalendar": "*-*-* 22:00:00 UTC", "Persistent": "true"}


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed, so systemd itself cannot be asked")
    for name in ("dpo-sweeps-nightly.service", "dpo-sweeps-nightly.timer"):
        text = (
            (NIGHT / name).read_text("utf-8").replace("/home/ray/env/bin/dpo-sweeps", "/bin/true")
        )
        (tmp_path / name).write_text(text.replace("User=ray", "User=root"))
    files = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_cron_starts_the_night_every_hour_until_the_morning_of_the_same_night() -> None:
    lines = [line for line in (NIGHT / "crontab").read_text("utf-8").splitlines() if line]
    [entry] = [line for line in lines if re.match(r"[\d*]", line)]
    minute, hours, *days, command = entry.split(maxsplit=5)
    assert (minute, days) == ("0", ["*", "*", "*"])
    assert command.startswith("$HOME/" + COMMAND)
    assert "%" not in command, "cron ends a command there"
    starts = [(22, 24), (23, 24), *((hour, 25) for hour in range(7))]
    assert hours == "22,23,0-6"
    settings = load_sweep(NIGHT / "nightly.yaml").nightly
    dates = {settings.night_of(datetime(2026, 11, day, hour, tzinfo=UTC)) for hour, day in starts}
    assert dates == {date(2026, 11, 24)}


def test_the_nights_sweep_asks_for_what_the_clusters_have() -> None:
    config = load_sweep(NIGHT / "nightly.yaml")
    wanted = config.resources
    assert wanted.autoscaling
    for name in ("aws", "gcp"):
        types = read(f"{name}.yaml")["available_node_types"]
        assert wanted.driver_resource in types["head"]["resources"]
        assert types["gpu"]["resources"]["CPU"] >= wanted.cpus_per_worker
    spec = cluster_of(read("kuberay/raycluster.yaml"))
    assert wanted.driver_resource in spec["headGroupSpec"]["resources"]
    [group] = spec["workerGroupSpecs"]
    assert int(group["resources"]["CPU"]) >= wanted.cpus_per_worker
    assert int(group["resources"]["GPU"]) >= wanted.gpus_per_worker
    mounts = pods(read("kuberay/raycluster.yaml"))[0]["containers"][0]["volumeMounts"]
    assert config.storage in [mount["mountPath"] for mount in mounts]


# --- what no file may hold -------------------------------------------------------------------

FILES = sorted(p for p in CLUSTER.rglob("*") if p.is_file() and p.suffix != ".txt")
MANIFESTS = [f"kuberay/{name}.yaml" for name in (*KUBERAY, *BUILT_IN)]
SECRETS = (
    r"AKIA[0-9A-Z]{16}",
    r"-----BEGIN",
    r"xox[abp]-",
    r"gh[ops]_\w{20}",
    r"hf_\w{20}",
    r"hooks\.slack\.com/services",
    r"://[^/\s]+:[^/\s]+@",
    r"\b[0-9a-fA-F]{40,}\b",
)


def pods(tree: Tree) -> list[Tree]:
    """Every pod's spec in a document."""
    return [found for found in walk(tree) if "containers" in found]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(CLUSTER).as_posix())
def test_nothing_listens_everywhere_is_privileged_or_secret(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "0.0.0.0" not in text
    assert "privileged" not in text
    assert [pattern for pattern in SECRETS if re.search(pattern, text)] == []


def plain_secrets(tree: Tree) -> list[str]:
    """Environment variables that sound secret and hold a value, and whole Secrets."""
    named = [e for e in walk(tree) if "name" in e and "value" in e]
    loud = re.compile("TOKEN|SECRET|PASSWORD|KEY|URL|CREDENTIAL")
    return [e["name"] for e in named if loud.search(e["name"])] + [
        found["kind"] for found in walk(tree) if found.get("kind") == "Secret"
    ]


@pytest.mark.parametrize("name", MANIFESTS)
def test_secrets_come_by_reference(name: str) -> None:
    assert plain_secrets(read(name)) == []


def test_a_plain_secret_would_be_found() -> None:
    leaky = {"env": [{"name": "RAY_AUTH_TOKEN", "value": "x"}, {"name": "MODE", "value": "y"}]}
    assert plain_secrets(leaky) == ["RAY_AUTH_TOKEN"]
    assert plain_secrets({"kind": "Secret"}) == ["Secret"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_meet_the_restricted_standard_and_say_what_they_need(name: str) -> None:
    for pod in pods(read(name)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostNetwork")
        assert pod["automountServiceAccountToken"] is False
        assert not [v for v in pod.get("volumes", ()) if "hostPath" in v]
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert {"/tmp", "/home/ray"} <= set(mounts), "Ray's sessions, and caches"
            assert "/var/run/secrets/kubernetes.io/serviceaccount" not in mounts
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert re.fullmatch(r".+:\d[\w.]*", container["image"]), "no image without a version"


def test_the_policy_guards_every_pod_and_lets_in_the_operator_alone() -> None:
    names = ("network-policy", "egress-https", "egress-kubernetes-api")
    policy, https, autoscaler = (read(f"kuberay/{name}.yaml")["spec"] for name in names)
    assert https["podSelector"]["matchExpressions"] == [
        {"key": "ray.io/node-type", "operator": "In", "values": ["head", "worker"]}
    ]
    assert autoscaler["podSelector"]["matchLabels"]["ray.io/node-type"] == "head"
    assert [rule for rule in policy["egress"] if "to" not in rule] == []
    ours = policy["podSelector"]["matchLabels"].items()
    for name in MANIFESTS:
        for template in walk(read(name)):
            if "containers" in template.get("spec", {}):
                assert ours <= template["metadata"]["labels"].items(), name
    inside, operator = policy["ingress"]
    assert inside["from"] == [{"podSelector": policy["podSelector"]}]
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}


def test_the_image_is_built_from_the_pins_and_is_not_root() -> None:
    lines = (CLUSTER / "kuberay" / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in lines.splitlines() if line and line[0] != "#"]
    assert dict(steps)["FROM"] == "${BASE}"
    assert re.fullmatch(r"BASE=python:3\.11-[\w-]+", next(b for s, b in steps if s == "ARG"))
    installs = [body for step, body in steps if step == "RUN" and "pip install" in body]
    assert installs == ["pip install --no-cache-dir -c constraints.txt '.[postgres]'"]
    copied = [source for step, body in steps if step == "COPY" for source in body.split()[:-1]]
    ignored = (CLUSTER / "kuberay" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert [body for step, body in steps if step == "USER"] == ["1000"]


@pytest.mark.parametrize("name", ["raycluster", "raycronjob"])
def test_the_autoscaler_alone_has_a_token_of_kubernetes(name: str) -> None:
    spec = cluster_of(read(f"kuberay/{name}.yaml"))
    [mount] = [
        mount["name"]
        for mount in spec["autoscalerOptions"]["volumeMounts"]
        if mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    ]
    pod = spec["headGroupSpec"]["template"]["spec"]
    [volume] = [v["projected"]["sources"] for v in pod["volumes"] if v["name"] == mount]
    assert [set(source) for source in volume] == [
        {"serviceAccountToken"},
        {"configMap"},
        {"downwardAPI"},
    ]
    assert mount not in {m["name"] for c in pod["containers"] for m in c["volumeMounts"]}
