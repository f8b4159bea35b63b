"""The command line by itself: every error a sentence, every command a function, and no console that ends the work."""

import argparse
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emohelpers.suite import arguments, commands
from emohelpers.suite.cli import main

HOME = Path(__file__).parents[1]


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for command in [command for group in groups for command in group.choices.values()]:
        yield from leaves(command)
    if not groups:
        yield parser


def test_every_command_has_a_function_that_takes_its_arguments() -> None:
    found = list(leaves(arguments.parser()))
    assert len(found) > 15
    for parser in found:
        module, _, name = parser.get_default("function").rpartition(".")
        function = getattr(importlib.import_module(module), name)
        names = {action.dest for action in parser._actions} - {"help", "debug"}
        inspect.signature(function).bind(**dict.fromkeys(names))
        assert "debug" in {action.dest for action in parser._actions}, parser.prog


def test_a_fault_of_ours_is_a_sentence_and_its_traceback_a_file(tmp_path, monkeypatch, capsys) -> None:
    def fails() -> None:
        raise KeyError("nothing foresaw this")

    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(commands, "page", fails)
    assert main(["page"]) == 1
    said = capsys.readouterr().err
    assert "KeyError: 'nothing foresaw this'" in said and str(tmp_path / "fault.log") in said
    assert "Traceback" not in said and "in fails" in (tmp_path / "fault.log").read_text()
    assert main(["page", "--debug"]) == 1
    assert "in fails" in capsys.readouterr().err


def test_what_was_given_is_refused_without_a_traceback(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMOHELPERS_OUTPUTS", str(tmp_path / "file" / "below"))
    assert main(["page"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    assert main(["page", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="file descriptors of POSIX")
@pytest.mark.parametrize("console", ["nobody reads", "closed", "cp1252", "full disk"])
def test_a_console_never_ends_a_command(tmp_path: Path, console: str) -> None:
    outputs = tmp_path / ("выход" if console == "cp1252" else "out")
    environment = os.environ | {"PYTHONPATH": str(HOME), "EMOHELPERS_OUTPUTS": str(outputs)}
    if console == "cp1252":
        environment |= {"PYTHONIOENCODING": "cp1252"}
    ends = {"nobody reads": "| true", "closed": ">&- 2>&-", "cp1252": "", "full disk": "> /dev/full"}[console]
    command = f"{sys.executable} -m emohelpers page {ends}; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and not ran.stderr
    assert (outputs / "index.html").is_file()
    assert "page: " in ran.stdout or console != "cp1252"
