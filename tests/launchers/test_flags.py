from dataclasses import dataclass, field
from typing import Any, Literal, Optional

import pytest

from enas_tf.core.errors import UserError
from launchers.flags import Flags


def option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Common:
    """Flags of every launcher."""

    workdir: str = option("runs/try", "The run's folder.")
    preset: Literal["paper", "tiny"] = option("paper", "A set of defaults.")
    overwrite: bool = option(False, "Removes an earlier run.")
    arc: str = field(default="", metadata={"help": "An architecture.", "once": True})


@dataclass(frozen=True)
class Child:
    """The shared-weight network.

    More about it.
    """

    out_filters: int = option(20, "Filters of the first layer.")
    keep_prob: float = option(0.9, "Probability to keep a unit before the classifier.")
    flip: bool | None = option(None, "Whether to flip images; none: as the data asks.")
    clip: Optional[float] = option(None, "Largest gradient norm.")  # noqa: UP045
    bn: Literal["batch", "moving"] = option("batch", "Statistics of batch norm.")
    ops: Literal[6, 7] = option(6, "Number of operations.")
    name: "str | None" = field(default="enas", metadata={"help": "Its name."})
    num_classes: int = 10

    def __post_init__(self):
        if not 0 < self.keep_prob <= 1:
            raise UserError(f"child.keep_prob must be in (0, 1], not {self.keep_prob}")


@pytest.fixture
def flags():
    made = Flags("""
        Searches.

          python -m launchers.try [VERB] [flags]
        """)
    made.add("", {"paper": Common(), "tiny": Common(workdir="runs/tiny")})
    made.add("child", {"paper": Child(), "tiny": Child(out_filters=4, flip=False, num_classes=3)})
    return made


def parsed(flags, *arguments):
    return flags.parse(["prog", *arguments])


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--child.out_filters=36", "out_filters", 36),
        ("--child.out_filters=-1", "out_filters", -1),
        ("--child.keep_prob=1e-1", "keep_prob", 0.1),
        ("--child.keep_prob=1", "keep_prob", 1.0),
        ("--child.flip", "flip", True),
        ("--child.flip=true", "flip", True),
        ("--child.flip=False", "flip", False),
        ("--nochild.flip", "flip", False),
        ("--child.clip=0.25", "clip", 0.25),
        ("--child.bn=moving", "bn", "moving"),
        ("--child.ops=7", "ops", 7),
        ("--child.name=a=b c", "name", "a=b c"),
        ("--child.name=", "name", ""),
        ("--child.name=none", "name", None),
    ],
)
def test_each_type_of_flag(flags, argument, name, value):
    assert parsed(flags, argument) == []
    read = getattr(flags.config("child", "paper"), name)
    assert read == value
    assert type(read) is type(value)


def test_a_flag_overrides_the_preset_and_the_preset_the_default(flags):
    assert parsed(flags, "search", "--preset", "tiny", "--child.flip=none") == ["search"]
    preset = flags.config("").preset
    assert preset == "tiny"
    assert flags.config("", preset) == Common(preset="tiny", workdir="runs/tiny")
    assert flags.config("child", preset) == Child(out_filters=4, flip=None, num_classes=3)
    assert flags.config("child", "paper") == Child(flip=None)


def test_a_flag_equal_to_the_paper_default_still_overrides_another_preset(flags):
    parsed(flags, "--child.out_filters=20")
    assert flags.config("child", "tiny").out_filters == 20


def test_tells_which_flags_are_given(flags):
    parsed(flags, "--child.out_filters=20")
    assert [flags.is_given(name) for name in ("child.out_filters", "child.flip")] == [True, False]


def test_the_last_value_counts_also_over_several_calls(flags):
    assert parsed(flags, "--child.out_filters=5", "--child.out_filters=6", "train") == ["train"]
    assert flags.config("child").out_filters == 6
    assert parsed(flags, "--child.out_filters=7", "--child.keep_prob=1") == []
    assert flags.config("child") == Child(out_filters=7, keep_prob=1.0)


def test_flags_from_a_file(flags, tmp_path):
    (tmp_path / "flags.txt").write_text("--child.out_filters=5\n--overwrite\n")
    assert parsed(flags, f"--flagfile={tmp_path / 'flags.txt'}", "train") == ["train"]
    assert flags.config("child").out_filters == 5
    assert flags.config("").overwrite is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--child.out_filters=1.5"], "--child.out_filters=1.5: give a whole number"),
        (["--child.keep_prob=x"], "--child.keep_prob=x: give a number"),
        (["--child.keep_prob=nan"], "--child.keep_prob=nan: give a number"),
        (["--child.clip=inf"], "--child.clip=inf: give a number, or none"),
        (["--child.flip=maybe"], "--child.flip=maybe: give true or false, or none"),
        (["--overwrite=none"], "--overwrite=none: give true or false"),
        (["--arc=a", "--arc=b"], "--arc=b: already defined as a"),
        (["--child.bn=x"], "--child.bn=x: give one of batch, moving"),
        (["--child.ops=5"], "--child.ops=5: give one of 6, 7"),
        (["--child.out_filter=5"], "Did you mean: child.out_filters"),
        (["--child.num_classes=5"], "Unknown command line flag 'child.num_classes'"),
        (["--verbosity=1"], "Unknown command line flag 'verbosity'"),
        (["--child.out_filters"], "Missing value for flag --child.out_filters"),
        (["--nochild.flip=1"], "--nochild.flip=1 does not take an argument"),
        (["--flagfile=/no/such"], "Unable to open flagfile"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(flags, capsys, arguments, message):
    with pytest.raises(UserError) as told:
        parsed(flags, *arguments)
    line = str(told.value)
    assert message in line
    assert line.endswith(" (--help lists all flags)")
    assert "\n" not in line
    assert capsys.readouterr() == ("", "")


def test_what_the_config_refuses_passes_through(flags):
    parsed(flags, "--child.keep_prob=2")
    with pytest.raises(UserError, match=r"child.keep_prob must be in \(0, 1\], not 2.0"):
        flags.config("child", "tiny")


@pytest.mark.parametrize("argument", ["--help", "-h"])
def test_help_teaches_and_exits_with_0(flags, capsys, argument):
    with pytest.raises(SystemExit) as stop:
        parsed(flags, "search", argument, "--nonsense=1")
    assert stop.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("Searches.\n\n  python -m launchers.try [VERB] [flags]\n\n")
    assert "\n--child.*  The shared-weight network.\n" in printed.out
    assert (
        "\n  --child.out_filters  a whole number; default 20 (tiny: 4)\n"
        "      Filters of the first layer.\n"
    ) in printed.out
    assert "\n  --child.flip  true or false, or none; default none (tiny: false)\n" in printed.out
    assert "\n  --child.bn  one of batch, moving; default 'batch'\n" in printed.out
    assert "\n  --workdir  text; default 'runs/try' (tiny: 'runs/tiny')\n" in printed.out
    assert printed.out.index("--workdir") < printed.out.index("--child.out_filters")
    for hidden in ("num_classes", "verbosity", "logtostderr", "More about it"):
        assert hidden not in printed.out


@pytest.mark.parametrize("annotation", [list[int], "int | str", "dict"])
def test_an_annotation_without_a_flag_is_refused(annotation):
    @dataclass
    class Odd:
        """Odd."""

        value: annotation = field(default=None, metadata={"help": "A value."})

    with pytest.raises(TypeError, match="no flag can be made for"):
        Flags("").add("odd", {"paper": Odd()})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [([], "auto"), (["--jit"], "true"), (["--nojit"], "false"), (["--jit=auto"], "auto")],
)
def test_a_choice_between_true_and_false_can_go_without_a_value(given, wanted):
    @dataclass(frozen=True)
    class Choice:
        """A choice."""

        jit: Literal["auto", "true", "false"] = option("auto", "Whether to compile.")

    flags = Flags("usage")
    flags.add("", {"only": Choice()})
    assert flags.parse(["program", *given, "search"]) == ["search"]
    assert flags.config("").jit == wanted
