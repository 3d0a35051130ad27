"""The command's frame: exit status, one line on stderr, no tracebacks."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from allocator.cli import main as cli
from allocator.errors import ResourceError
from allocator.version import installed_version

Command = Callable[[Callable[[], int]], list[str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Make `allocator probe` run the function given."""

    def install(function: Callable[[], int]) -> list[str]:
        def register(subparsers: Any) -> None:
            subparsers.add_parser("probe").set_defaults(func=lambda args: function())

        module = types.ModuleType("allocator.cli.probe")
        module.register = register  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "allocator.cli.probe", module)
        monkeypatch.setattr(cli, "SUBCOMMANDS", ("probe",))
        return ["probe"]

    return install


def raising(error: BaseException) -> Callable[[], int]:
    def function() -> int:
        raise error

    return function


def test_the_subcommands_status_is_the_commands(command: Command) -> None:
    assert cli.main(command(lambda: 1)) == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ResourceError("bad amount 'cpus:-1'"), "bad amount 'cpus:-1'"),
        (ResourceError("two\nlines"), "two lines"),
        (
            FileNotFoundError(2, "No such file or directory", "x.swf"),
            "x.swf: No such file or directory",
        ),
        (
            ModuleNotFoundError("No module named 'rich'", name="rich.table"),
            "needs rich, which is not installed: python -m pip install rich",
        ),
    ],
)
def test_a_refusal_is_one_line_and_status_2(
    command: Command, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert cli.main(command(raising(error))) == 2
    assert capsys.readouterr().err == f"allocator probe: {line}\n"


def test_defects_are_not_hidden(command: Command) -> None:
    with pytest.raises(ZeroDivisionError):
        cli.main(command(raising(ZeroDivisionError())))
    with pytest.raises(ModuleNotFoundError):
        cli.main(command(raising(ModuleNotFoundError("No module named 'x'", name="x"))))


def test_interrupt_ends_with_130(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(raising(KeyboardInterrupt()))) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "COMMAND"),
        (["no-such-command"], "no-such-command"),
        (["compare", "--agents", "0"], "--agents"),
        (["master", "--port", "65536"], "65536"),
        (["master", "--heartbeat-interval", "a\nb"], "--heartbeat-interval"),
        (["master", "--nonsense", "extra"], "--nonsense extra"),
        (["weights", "set", "eng"], "eng"),
        (["framework", "run"], "--command"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    argv: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(" ".join(["allocator", *argv[:1]]) if argv[1:] else "allocator: ")
    assert ": error: " in line
    assert named in line


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"allocator {installed_version()}\n"


def test_version_of_a_source_tree_that_is_not_installed() -> None:
    assert installed_version("drf-allocator-that-nobody-installed") == "0+source"


def test_help_names_every_subcommand_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for name in cli.SUBCOMMANDS:
        assert f"allocator {name}" in text


def test_every_subcommand_registers_what_main_runs() -> None:
    parser = cli.build_parser()
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    assert set(actions[0].choices) == set(cli.SUBCOMMANDS)
    for subparser in actions[0].choices.values():
        assert callable(subparser.get_default("func"))


def test_an_output_that_was_closed_before_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(command(lambda: 0)) == 2
    assert capsys.readouterr().err == "allocator: stdout: Bad file descriptor\n"


def test_a_closed_pipe_is_quiet() -> None:
    # Ten thousand lines to a reader that takes one: more than any pipe holds.
    script = (
        "import sys; from allocator.cli import main as cli; import types;"
        "module = types.ModuleType('allocator.cli.probe');"
        "print_lines = lambda args: [print(i) for i in range(10**5)] and 0;"
        "module.register = lambda s: s.add_parser('probe').set_defaults(func=print_lines);"
        "sys.modules[module.__name__] = module; cli.SUBCOMMANDS = ('probe',);"
        "sys.exit(cli.main(['probe']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141
