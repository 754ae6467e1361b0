"""The files in deploy/: right by their schemas and linters, and the launchers take their flags.

No container engine and no cluster run them here; stand-ins run the Slurm script.
"""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import enas_tf
from enas_tf.serving.server import ServeConfig, _server_flags
from launchers.cli import read_command
from tests.docs.blocks import ROOT, launcher_of, split_commands
from tests.docs.test_pages import check_command
from tests.training.test_trackers import FILTER

DEPLOY = ROOT / "deploy"
MANIFESTS = {
    f"{path.stem} {manifest['kind']}": manifest
    for path in sorted(DEPLOY.glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
}
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
SLURM = DEPLOY / "slurm.sh"

TFJOB = MANIFESTS["tfjob TFJob"]["spec"]
WORKERS = TFJOB["tfReplicaSpecs"]["Worker"]
TRIAL = MANIFESTS["katib Experiment"]["spec"]["trialTemplate"]
SERVING = MANIFESTS["serving Deployment"]["spec"]["template"]


def container(template):
    (found,) = template["spec"]["containers"]
    return found


CONTAINERS = {
    "tfjob": container(WORKERS["template"]),
    "katib": container(TRIAL["trialSpec"]["spec"]["template"]),
    "serving": container(SERVING),
}


def words_of(name):
    return [*CONTAINERS[name]["command"], *CONTAINERS[name].get("args", [])]


def slurm_words():
    """The words of the launcher's command in the Slurm script."""
    (words,) = [w for w in split_commands(SLURM.read_text()) if w[0] == "srun"]
    return words


def settings_of(words):
    name, arguments = launcher_of(words)
    usage = importlib.import_module(f"launchers.{name}").__doc__
    return read_command(getattr(enas_tf, name.upper()), usage, [name, *arguments])[:2]


def installed(program):
    """A program beside this Python, or on the PATH; skips the test where there is none."""
    beside = shutil.which(program, path=Path(sys.executable).parent)
    found = beside or shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed: the extras `test` and `deploy` have it")
    return found


def found_by(program, *arguments):
    """What a linter reports; "" where it finds nothing."""
    done = subprocess.run(
        [installed(program), *map(str, arguments)], capture_output=True, text=True
    )
    return (done.stdout + done.stderr) if done.returncode else ""


def as_kubernetes_knows_them():
    """The manifests of Kubernetes' own kinds; of the others, the parts that are."""
    own = {n: m for n, m in MANIFESTS.items() if m["apiVersion"].split("/")[0] != "kubeflow.org"}
    name = {"metadata": {"name": "made"}}
    template = WORKERS["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **name, "spec": template["spec"]}
    return own | {"pod of the TFJob": pod, "job of a trial": TRIAL["trialSpec"] | name}


@pytest.mark.parametrize("name", as_kubernetes_knows_them())
def test_kubernetes_own_schema_takes_the_manifest(name):
    reason = "kubernetes-validate is not installed: the extra `deploy` has it"
    validate = pytest.importorskip("kubernetes_validate", reason=reason)
    manifest = as_kubernetes_knows_them()[name]
    validate.validate(manifest, "1.31", strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate(manifest | {"specs": {}}, "1.31", strict=True)


def test_there_is_all_that_serving_needs():
    kinds = [name.partition(" ")[2] for name in MANIFESTS if name.startswith("serving ")]
    assert kinds == ["Deployment", "Service", "HorizontalPodAutoscaler"]


def test_linters_find_nothing():
    rules = "{line-length: {max: 100}, document-start: disable}"
    options = ["--strict", "-d", f"{{extends: default, rules: {rules}}}"]
    assert found_by("yamllint", *options, DEPLOY) == ""


def test_hadolint_finds_nothing_in_the_dockerfiles():
    assert found_by("hadolint", *DOCKERFILES) == ""


def test_the_tfjob_is_as_the_training_operator_reads_it():
    """By the types of its API: pkg/apis/kubeflow.org/v1/tensorflow_types.go and common_types.go."""
    assert TFJOB.keys() <= {"runPolicy", "successPolicy", "tfReplicaSpecs", "enableDynamicWorker"}
    assert TFJOB["runPolicy"].keys() <= {
        "cleanPodPolicy",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
        "backoffLimit",
        "schedulingPolicy",
        "suspend",
    }
    assert TFJOB["successPolicy"] == "AllWorkers"
    assert WORKERS.keys() == {"replicas", "restartPolicy", "template"}
    assert WORKERS["restartPolicy"] in ("Always", "OnFailure", "Never", "ExitCode")
    worker = CONTAINERS["tfjob"]
    assert worker["name"] == "tensorflow"
    assert worker["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]


def slurm_options():
    return dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SLURM.read_text(), re.MULTILINE))


@pytest.mark.parametrize("where", ["tfjob", "slurm"])
def test_jobs_of_several_machines_divide_their_work_evenly(where):
    if where == "tfjob":
        words = words_of("tfjob")
        devices = WORKERS["replicas"] * CONTAINERS["tfjob"]["resources"]["limits"]["nvidia.com/gpu"]
    else:
        words, options = slurm_words(), slurm_options()
        assert options["ntasks-per-node"] == "1"
        devices = int(options["nodes"]) * int(options["gpus-per-node"])
    settings, verb = settings_of(words)
    assert verb == "" and settings.common.strategy == "multiworker" and devices > 1
    search, train = settings.search, settings.train
    for number in (search.batch_size, search.arcs_per_update, train.batch_size):
        assert number % devices == 0


def test_every_command_of_an_image_is_a_launchers():
    for path in DOCKERFILES:
        (command,) = re.findall(r"^CMD (\[.*\])$", path.read_text(), re.MULTILINE)
        assert launcher_of(yaml.safe_load(command)) == ("cifar_micro", ["--help"])


@pytest.mark.parametrize("end", ["min", "max"])
def test_a_trial_is_a_training_with_values_from_both_ends(end):
    spec = MANIFESTS["katib Experiment"]["spec"]
    spaces = {one["name"]: one["feasibleSpace"] for one in spec["parameters"]}
    values = {"${trialSpec.Name}": "trial-1"} | {
        name: str(space[end] if end in space else sorted(space["list"])[end == "max"])
        for name, space in spaces.items()
    }
    declared = {one["name"]: one["reference"] for one in TRIAL["trialParameters"]}
    assert set(declared.values()) == set(values)
    text = "\n".join(words_of("katib"))
    assert set(re.findall(r"\$\{trialParameters\.(\w+)\}", text)) == set(declared)
    for name, reference in declared.items():
        text = text.replace(f"${{trialParameters.{name}}}", values[reference])
    assert "$" not in text
    settings, verb = settings_of(text.split("\n"))
    assert verb == "train" and settings.common.workdir.endswith("/trial-1")
    given = sorted(
        (
            settings.train.lr_max,
            settings.train.drop_path_keep_prob,
            settings.train.keep_prob,
            settings.train.l2,
            settings.train.label_smoothing,
        )
    )
    assert given == sorted(float(value) for value in list(values.values())[1:])
    # Else there is nothing that Katib could read.
    assert settings.common.metrics_format == "katib" and not settings.train.use_validation


def test_katibs_filter_takes_the_names_of_the_metrics():
    spec = MANIFESTS["katib Experiment"]["spec"]
    assert spec["metricsCollectorSpec"] == {"collector": {"kind": "StdOut"}}
    objective = spec["objective"]
    names = [objective["objectiveMetricName"], *objective["additionalMetricNames"]]
    assert names == ["valid-accuracy", "train-loss"]
    assert all(FILTER.fullmatch(f"{name}=0.5") for name in names)
    assert [one["name"] for one in objective["metricStrategies"]] == names
    job = TRIAL["trialSpec"]["spec"]["template"]["spec"]
    assert job["containers"][0]["name"] == TRIAL["primaryContainerName"]


def test_the_server_starts_as_the_launcher_starts_it():
    name = "cifar_micro"
    flags = _server_flags(ServeConfig(), name, Path(f"/models/{name}"), batching=True)
    assert words_of("serving") == ["tensorflow_model_server", *flags]
    server = CONTAINERS["serving"]
    assert [port["containerPort"] for port in server["ports"]] == [8500, 8501]
    for probe in ("startupProbe", "readinessProbe"):
        where = {"path": f"/v1/models/{name}/metadata", "port": "rest"}
        assert server[probe]["httpGet"] == where
    (mount,) = server["volumeMounts"]
    # Where the job of tfjob.yaml leaves its export.
    settings, _ = settings_of(words_of("tfjob"))
    assert f"/enas/{mount['subPath']}" == f"{settings.common.workdir}/export/{name}"
    assert mount["mountPath"] == f"/models/{name}"


def test_names_agree_between_the_files():
    for name in ("tfjob", "katib"):
        assert (
            CONTAINERS[name]["image"] == f"registry.example.com/enas-tf:{enas_tf.__version__}-gpu"
        )
    readme = (DEPLOY / "README.md").read_text()
    assert f"registry.example.com/enas-tf:{enas_tf.__version__} " in readme
    assert f"registry.example.com/enas-tf:{enas_tf.__version__}-gpu " in readme
    claim = MANIFESTS["volume PersistentVolumeClaim"]["metadata"]["name"]
    pods = (WORKERS["template"], TRIAL["trialSpec"]["spec"]["template"], SERVING)
    for pod in pods:
        (volume,) = pod["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim
    labels = MANIFESTS["serving Deployment"]["spec"]["selector"]["matchLabels"]
    assert SERVING["metadata"]["labels"] == labels
    assert MANIFESTS["serving Service"]["spec"]["selector"] == labels
    scaled = MANIFESTS["serving HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert scaled == MANIFESTS["serving Deployment"]["metadata"]["name"]
    assert "replicas" not in MANIFESTS["serving Deployment"]["spec"]
    # A trial trains what the job has derived, on the same data.
    job, _ = settings_of(words_of("tfjob"))
    trial = words_of("katib")
    assert f"--arc={job.common.workdir}/arc.txt" in trial
    assert f"--data_dir={job.common.data_dir}" in trial


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_has_what_it_copies_and_runs_as_no_root(path):
    text = path.read_text()
    sources = {
        w for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for w in line.split()
    }
    let_through = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["1000"]
    for pod in (WORKERS["template"], TRIAL["trialSpec"]["spec"]["template"]):
        assert pod["spec"]["securityContext"]["runAsUser"] == 1000


def test_the_base_images_tensorflow_is_one_that_the_requirements_allow():
    text = (DEPLOY / "Dockerfile.gpu").read_text()
    (version,) = re.findall(r"^ARG TENSORFLOW=(.*)$", text, re.MULTILINE)
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").open()]
    needed = {one.name: one for one in map(Requirement, filter(None, lines))}
    assert needed["tensorflow"].specifier.contains(version)
    server, tag = CONTAINERS["serving"]["image"].split(":")
    assert server == "tensorflow/serving" and tag.split(".")[:2] == version.split(".")[:2]


def test_the_slurm_script_asks_for_a_signal_before_its_end():
    options = slurm_options()
    # Without B:, which would signal the script alone.
    assert options["signal"] == "TERM@300" and "requeue" in options
    subprocess.run(["bash", "-n", SLURM], check=True)
    assert found_by("shellcheck", SLURM) == ""
    check_command(slurm_words())


@pytest.mark.parametrize(("status", "asked"), [(0, ""), (2, ""), (143, "requeue 17\n")])
def test_the_slurm_script_queues_again_what_ran_out_of_time(tmp_path, status, asked):
    scripts = {
        "bin/activate": "",
        "srun": f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nexit {status}\n',
        "scontrol": f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n',
    }
    for name, text in scripts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    names = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "SLURM_JOB_ID": "17",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_SUBMIT_DIR": "/shared/my runs",
        "ENAS_ENVIRONMENT": str(tmp_path),
    }
    done = subprocess.run(["bash", SLURM], env=names, capture_output=True, text=True)
    assert done.returncode == status and done.stderr == ""
    assert (tmp_path / "asked").exists() is bool(asked)
    if asked:
        assert (tmp_path / "asked").read_text() == asked
    words = (tmp_path / "words").read_text().splitlines()
    assert "--cpus-per-task=16" in words
    settings, _ = settings_of(["srun", *words])
    assert settings.common.workdir == "/shared/my runs/runs/cifar_micro"
    assert settings.common.data_dir == "/shared/my runs/data"


def test_the_page_names_every_file():
    readme = (DEPLOY / "README.md").read_text()
    names = {path.name for path in DEPLOY.iterdir()} - {"README.md"}
    assert {name for name in names if f"`{name}`" not in readme} == set()
