"""Blocks of code in the pages of the project, and the commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "BUILD.md", "CONTRIBUTING.md", "deploy/README.md"]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[\w ]+) -->\n)?^```(?P<language>\w*)\n(?P<fenced>.*?)^```$"
    r"|(?<=\n\n)(?P<indented>(?: {4}[^\n]*\n|\n(?= {4}))+)",
    re.MULTILINE | re.DOTALL,
)
_SEPARATORS = ";|&\n"


class Block(NamedTuple):
    """A block of code.

    `mark` is what the comment on the line before it says, such as `run`; "" where there is none.
    An indented block is of the language `bash`.
    """

    page: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        """The words of each command; of a console, those behind a prompt."""
        text = self.text
        if self.language == "console":
            text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        return split_commands(text)

    @property
    def output(self):
        """What a console shows behind its one command."""
        return self.text.partition("\n")[2]


def read_blocks(page):
    """All blocks of a page."""
    text = (ROOT / page).read_text()
    blocks = []
    for match in _BLOCK.finditer(text):
        if match["indented"]:
            start, language, body = match.start(), "bash", match["indented"]
        else:
            start, language, body = match.start("language"), match["language"], match["fenced"]
        line = 1 + text[:start].count("\n")
        blocks.append(Block(page, line, language, match["mark"] or "", body))
    return blocks


def split_commands(text):
    """The words of each command of a shell's text, without comments and a synopsis's `[parts]`."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r" \[[^\]\n]*\]| +#.*", "", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=_SEPARATORS)
    lexer.whitespace, lexer.commenters = " \t", ""
    lexer.whitespace_split = True
    commands = [[]]
    for word in lexer:
        if set(word) <= set(_SEPARATORS):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]


def launcher_of(words):
    """The launcher that a command calls, and its arguments; None for other commands."""
    if words[0] == "srun":
        return launcher_of(words[words.index("python") :])
    words = [words[0].removeprefix(".venv/bin/"), *words[1:]]
    if re.fullmatch(r"python[\d.]*", words[0]) and words[1] == "-m":
        package, _, name = words[2].partition(".")
        return (name, words[3:]) if package == "launchers" else None
    if words[0].startswith("enas-"):
        return words[0].removeprefix("enas-").replace("-", "_"), words[1:]
    return None
