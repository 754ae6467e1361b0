"""Runs the code of pages in a process of its own: `python -m tests.docs.run_pages FOLDER PAGE...`.

Python blocks run as they are, all of a page in one namespace; commands marked with `run` do, too,
but for a search and a training of fewer steps. Each page works in a folder of its own. What came of
each block goes to FOLDER/results.json, by its place.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import traceback
from pathlib import Path

from launchers.cli import launch
from tests.docs.blocks import launcher_of, read_blocks

FEWER_STEPS = [
    "--space.num_nodes=1",
    "--child.out_filters=4",
    "--search.num_epochs=1",
    "--search.max_steps=2",
    "--search.updates_per_epoch=1",
    "--search.arcs_per_update=2",
    "--derive.num_samples=2",
    "--train.out_filters=4",
    "--train.num_epochs=2",
    "--train.max_steps=3",
]


def run_command(words):
    """Runs a launcher that needs no server; its exit status."""
    name, arguments = launcher_of(words)
    if name == "predict":
        return 0
    verb = arguments and not arguments[0].startswith("-")
    more = [] if verb else FEWER_STEPS
    usage = importlib.import_module(f"launchers.{name}").__doc__
    return launch(name.upper(), usage, [name, *arguments, *more])


def run_block(block, namespace):
    """Runs a block; a page's Python has one namespace."""
    status, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if block.language == "python":
                # So that a traceback tells the page's line.
                code = "\n" * block.line + block.text
                exec(compile(code, block.page, "exec"), namespace)
            else:
                status = max(map(run_command, block.commands))
        except BaseException:
            status = 1
            traceback.print_exc()
    return status, out.getvalue(), err.getvalue()


def main(folder, pages):
    """Runs the pages' blocks, in their order."""
    results = {}
    for page in pages:
        work = Path(folder, page).with_suffix("")
        work.mkdir(parents=True)
        os.chdir(work)
        namespace = {"__name__": "page"}
        for block in read_blocks(page):
            if block.language == "python" or block.mark == "run":
                results[str(block)] = run_block(block, namespace)
    Path(folder, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
