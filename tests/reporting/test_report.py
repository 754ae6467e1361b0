import base64
import html
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from enas_tf.reporting.report import write_report
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.compare import summary
from enas_tf.training.run_folder import Run

ARC, OTHER = "0 0 1 1", "0 3 0 2"
FLAGS = ["--workdir=my runs", "--preset=tiny"]
GIVEN = "'--workdir=my runs' --preset=tiny"
DATASET = "text:</pre><script>alert(1)</script> & more"
VOID = {"meta", "img"}

CHROMIUM = shutil.which("chromium")

# Shows the page in a frame of each width, and writes what does not fit or cannot be decoded.
PROBE = """<!DOCTYPE html><pre id="found"></pre><script>
const page = PAGE, found = [];
for (const width of [400, 1280]) {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 900;
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    const images = [...frame.contentDocument.images];
    found.push({
      width: width,
      needed: root.scrollWidth,
      images: images.length,
      shown: images.filter(image => image.naturalWidth > 100).length,
      plot: frame.contentDocument.querySelector(".plots img").width,
      verdict: frame.contentDocument.querySelector(".verdict").innerText,
    });
    document.getElementById("found").textContent = JSON.stringify(found);
  };
  frame.srcdoc = page;
  document.body.append(frame);
}
</script>"""


class Page(HTMLParser):
    """A page's elements; fails where they are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.headings, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def images(self):
        """Each image's alternative text and its root element."""
        found = {}
        for tag, attrs in self.elements:
            if tag == "img":
                kind, data = attrs["src"].split(",", 1)
                assert kind == "data:image/svg+xml;base64"
                found[attrs["alt"]] = ElementTree.fromstring(base64.b64decode(data))
        return found


def record(phase, step, seconds, **numbers):
    return {"phase": phase, "step": step, "epoch": 0, "seconds": seconds, **numbers}


def described(gap):
    ops = {"tanh": 150, "relu": 50, "sigmoid": 0, "identity": 0}
    inputs = {"node 0": 180, "node 1": 20}
    return {"reward": 0.3, "gap": gap, "gap_error": 0.05, "ops": ops, "inputs": inputs}


def comparison():
    space = RnnSpace(2)
    trained = [
        {"arc": ARC, "from": "controller", "reward": 0.4, "stand_alone_reward": 0.6, "seconds": 5},
        {"arc": OTHER, "from": "uniform", "reward": 0.2, "stand_alone_reward": 0.3, "seconds": 7},
    ]
    return {
        "verdict": "Better, 0.1 < 0.2 & so on.",
        "controller": summary(space, 3 * [ARC] + ["0 0 0 1"], {ARC: 0.4, "0 0 0 1": 0.2}),
        "uniform": summary(space, [OTHER, "0 1 0 1"], {OTHER: 0.2, "0 1 0 1": 0.1}),
        "entropy": {"controller": 2.5, "uniform": 3.47},
        "trained": trained,
    }


def write_lines(run, name, records):
    # A killed process may leave half a line.
    run.write_text(name, "".join(json.dumps(one) + "\n" for one in records) + '{"phase": "tr')


def write_config(run, reward="weights", truth=None):
    config = {"dataset": DATASET, "preset": "tiny", "seed": 3, "deterministic": True}
    config |= {"precision": "float32", "space": {"num_nodes": 2}}
    config |= {"search": {"reward": reward}, "truth": truth}
    versions = {"python": "3.11", "tensorflow": "2.21"}
    devices = ["CPU:0", "GPU:0", "GPU:1"]
    run.write_json("config.json", {"config": config, "versions": versions, "devices": devices})
    return run


@pytest.fixture
def run(tmp_path):
    """A folder with a configuration only."""
    return write_config(Run(tmp_path))
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with all that verbs leave, and a report."""
    run = write_config(Run(tmp_path_factory.mktemp("whole")))
    arcs = [
        {"arc": ARC, "reward": 0.5 - n / 100, "params": 1000 + n, "madds": 70_000, "front": not n}
        for n in range(12)
    ]
    run.write_json("arcs.json", arcs)
    run.write_text("arc.txt", ARC + "\n")
    run.write_json("compare.json", comparison())
    search = [
        record("child", 5, 30.0, loss=6.0, perplexity=400.0),
        record("child", 10, 60.0, loss=5.0, perplexity=None),
        record("controller", 12, 90.0, reward=0.2, baseline=0.1, entropy=1.0, loss=0.0),
        record("valid", 12, 900.0, best_reward=0.3, divergence=0.1, **described(0.1)),
        record("valid", 24, 900.0, best_reward=0.4, divergence=0.2, **described(0.2)),
    ]
    write_lines(run, "search/metrics.jsonl", search)
    train = [record(phase, 3, 36.0, loss=5.0, perplexity=150.0) for phase in ("train", "valid")]
    write_lines(run, "train/metrics.jsonl", train)
    result = {"arc": ARC, "params": 1234567, "test": {"loss": 4.9, "perplexity": 134.3}}
    run.write_json("train/result.json", result | {"best_valid": {"epoch": 0}, "epochs": 1})
    return write(run)


def write(run):
    write_report(run, "ptb_rnn", FLAGS, RnnSpace.of)
    return run


def text_of(run):
    return run.path("report.html").read_text(encoding="utf-8")


def test_shows_a_training_whose_loss_is_not_finite(run):
    train = [record(phase, 3, 36.0, loss=None, accuracy=0.5) for phase in ("train", "valid")]
    write_lines(run, "train/metrics.jsonl", train)
    result = {"arc": ARC, "params": 9, "test": {"loss": None, "accuracy": 0.25}, "epochs": 1}
    run.write_json("train/result.json", result | {"best_valid": {"epoch": 0, "loss": None}})
    text = Page(text_of(write(run))).text
    assert "on the test split: loss not finite on the test split: accuracy 0.2500" in text
    assert "best on validation: epoch 0 best on validation: loss not finite" in text


def test_shows_all_that_a_run_holds(whole):
    page = Page(text_of(whole))
    assert page.headings == [
        "What was run",
        "The search",
        "The architecture",
        "The best 10 of 12 derived architectures",
        "Is the search better than chance?",
        "Training from scratch",
        "Costs",
        "Commands",
    ]
    images = page.images()
    assert list(images) == [
        "plot: Loss of the shared weights",
        "plot: Perplexity of the shared weights",
        "plot: Reward of drawn architectures",
        "plot: Entropy of the controller",
        "plot: Divergence from the controller at the start",
        "plot: Controller's draws less uniform ones",
        "plot: Ops that the controller draws",
        "plot: Inputs that it chooses",
        "drawing of the architecture; words follow below",
        "plot: Rewards and parameters of derived architectures",
        "plot: Rewards with shared weights",
        "plot: Ops",
        "plot: Trained from scratch",
        "plot: Loss",
        "plot: Perplexity",
    ]
    assert all(root.tag == "{http://www.w3.org/2000/svg}svg" for root in images.values())
    for words in (
        "seed 3",
        "python 3.11, tensorflow 2.21",
        "not the accuracy that one reaches when it is trained from scratch",
        "1 0.5000 1,000 70,000 0 0 1 1 2 0.4900 1,001 70,000",
        "node 2 = relu on node 1",
        "Better, 0.1 < 0.2 & so on.",
        "architectures drawn 4 2 distinct ones among them 2 2",
        "mean reward 0.3500 0.1500",
        "entropy in nats 2.50 3.47",
        "on the test split: perplexity 134.3000",
        "parameters 1,234,567",
        # Two GPUs: 900 s are half a device hour.
        "device hours (devices: 2) search 900 0.500 train 36 0.020 compare's trainings 12 0.007",
        f"python -m launchers.ptb_rnn train {GIVEN} python -m launchers.ptb_rnn export {GIVEN}",
    ):
        assert words in page.text


def test_needs_no_other_file_and_no_network(whole):
    page = Page(text_of(whole))
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object"} == set()
    for _, attrs in page.elements:
        assert "href" not in attrs and attrs.get("src", "data:").startswith("data:")
    text = text_of(whole)
    assert "http" not in text.replace(html.escape(DATASET), "")
    assert "url(" not in text and "@import" not in text


def test_escapes_what_comes_from_outside(whole):
    page = Page(text_of(whole))
    assert ("h1", {}) in page.elements
    assert f"ptb_rnn on {DATASET}" in page.words
    assert "<script>" not in text_of(whole)


def test_leaves_out_what_is_not_there(run):
    assert Page(text_of(write(run))).headings == ["What was run", "Costs", "Commands"]


def test_an_architecture_from_elsewhere_is_named_in_the_command(run):
    result = {"arc": ARC, "params": 1, "test": {"loss": 1.0}, "best_valid": None, "epochs": 1}
    run.write_json("train/result.json", result)
    write_lines(run, "train/metrics.jsonl", [record("train", 1, 1.0, loss=1.0)])
    page = Page(text_of(write(run)))
    assert page.headings[1:3] == ["The architecture", "Training from scratch"]
    assert f"train {GIVEN} --arc='{ARC}' python" in page.text


def test_the_same_run_gives_the_same_bytes(whole):
    first = text_of(whole)
    assert text_of(write(whole)) == first


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH: the page is not tried in a browser")
def test_a_browser_shows_it_on_wide_and_narrow_screens(whole, tmp_path):
    text = text_of(whole)
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.replace("PAGE", json.dumps(text).replace("</", "<\\/")))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    options += [f"--user-data-dir={tmp_path}/profile", "--dump-dom", probe.as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=120)
    shown = html.unescape(done.stdout.split('<pre id="found">')[1].split("</pre>")[0])
    found = {one["width"]: one for one in json.loads(shown)}
    assert set(found) == {400, 1280}
    for width, one in found.items():
        assert one["needed"] <= width
        assert one["shown"] == one["images"] == 14
        assert one["verdict"] == "Better, 0.1 < 0.2 & so on."
    # A plot takes the whole of a narrow screen, and one column of a wide one.
    assert 330 <= found[400]["plot"] <= 400
    assert 330 <= found[1280]["plot"] <= 1280 / 2


def test_shows_latencies_where_they_are_the_cost(run):
    costs = {"params": 1000, "madds": 5, "latency_ms": 2.3456}
    run.write_json("arcs.json", [{"arc": ARC, "reward": 0.5, **costs, "front": True}])
    page = Page(text_of(write(run)))
    assert "plot: Rewards and latencies of derived architectures" in page.images()
    words = " ".join(page.words)
    assert "multiply-adds latency, ms architecture" in words and "1,000 5 2.35 " in words


def test_holds_the_result_against_the_truth(tmp_path):
    run = write_config(Run(tmp_path), "truth", "a.csv")
    of_arc = {"arc": ARC, "reward": 0.5, "params": 1000, "madds": 5, "front": True}
    run.write_json("arcs.json", [of_arc])
    of = {"accuracy": 88.22, "rank": 1234, "of": 15625, "percentile": 92.1, "regret": 0.94}
    measures = {"tau": {"value": 0.41, "low": 0.3, "high": 0.52}}
    truth = {"source": "a.csv, test,", "derived": of, "random_search": None, "draws": 199}
    run.write_json("truth.json", truth | {"agreement": measures})
    told = {"truth": 80.0, "uniform_truth": 76.0}
    records = [record("valid", 12, 90.0, best_reward=0.3, **told, **described(0.1))]
    # Of a space that leaves no choice of inputs.
    write_lines(run, "search/metrics.jsonl", [one | {"inputs": {}} for one in records])
    page = Page(text_of(write(run)))
    assert "Held against the truth" in page.headings
    images = page.images()
    assert "plot: True accuracy of drawn architectures" in images
    assert "plot: Inputs that it chooses" not in images
    words = " ".join(page.words)
    for shown in ("a.csv, test", "1,234 of 15,625", "88.22", "92.10", "0.94", "0.41", "0.52"):
        assert shown in words
    assert "These rewards are true accuracies, of a.csv." in words and "random" not in words


def test_shows_accuracies_by_class_and_what_is_taken_for_what(run):
    details = {"class_accuracy": {"<cat>": 0.75, "dog": 0.5, "owl": None}}
    details["confusion"] = [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    run.write_json("train/classes.json", details)
    text = text_of(write(run))
    section = text.split("Test images by class")[1]
    worst, best = "<td>dog</td><td>0.5000", "<td>&lt;cat&gt;</td><td>0.7500"
    assert section.index(worst) < section.index(best) and "<td>owl" not in section
    assert "plot: What is taken for what" in Page(text).images()


def test_tells_what_a_training_started_from(run):
    write_lines(run, "train/metrics.jsonl", [record("train", 3, 36.0, loss=5.0, perplexity=150.0)])
    result = {"arc": ARC, "params": 12, "test": {"loss": 4.9}, "best_valid": None, "epochs": 1}
    init = {"from": "runs/<a>", "taken_weights": 1200, "weights": 3400}
    run.write_json("train/result.json", result | {"init": init})
    text = text_of(write(run))
    assert "Training from given weights" in Page(text).headings
    assert "<td>started from</td><td>runs/&lt;a&gt;: 1,200 of 3,400 weights</td>" in text
