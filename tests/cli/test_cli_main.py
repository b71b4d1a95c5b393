"""The program around the commands: help, mistakes, exit codes, and a quick start."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from edgeq.cli.main import Program, edgeq
from edgeq.cli.options import debug_option
from edgeq.errors import DeviceError, EdgeqError, ModelError, PluginError, ValidationFailed

HEAVY = ("PIL", "numpy", "onnx", "onnx_ir", "onnxruntime", "rich")


def program(error):
    """A program with one command, ``go``, that raises."""

    @click.command()
    @debug_option
    def go():
        raise error

    @click.group(cls=Program, commands=[go])
    @debug_option
    def group():
        pass

    return group


def outcome(error, *arguments):
    return CliRunner().invoke(program(error), [*arguments])


def test_starting_imports_nothing_heavy():
    code = (
        "import sys; import edgeq.cli.main; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_and_version_of_the_installed_program():
    command = [sys.executable, "-m", "edgeq"]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("quantize", "validate", "inspect", "list"):
        assert f"  {name} " in told
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("edgeq 0.")


@pytest.mark.parametrize("command", ["quantize", "validate", "inspect", "list"])
def test_every_command_explains_every_option(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    for parameter in edgeq.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help


def test_without_a_command_the_help_is_shown(run):
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quantise", "m.onnx"], "no command 'quantise'. Did you mean 'quantize'?"),
        (
            ["zzz"],
            "Known: calibrate, device, evaluate, export, guide, inspect, list, optimize, pack, "
            "quantize, run, table, tune, validate",
        ),
        (["--jsn"], "no option '--jsn'"),
        (["quantize", "m.onnx", "--callib", "d"], "'--callib'. Did you mean '--calib'?"),
        (["quantize", "m.onnx", "--max-sample", "3"], "Did you mean '--max-samples'?"),
        (["quantize", "m.onnx", "--threads", "two"], "'--threads'"),
        (["quantize", "m.onnx", "--max-samples", "0"], "'--max-samples'"),
        (["quantize", "m.onnx", "--calib"], "'--calib' requires an argument"),
        (["quantize"], "Missing argument 'MODEL'"),
        (["quantize", "m.onnx", "n.onnx"], "unexpected extra argument"),
        (["validate", "a.onnx", "b.onnx"], "Missing option '--data'"),
        (["validate", "a.onnx", "b.onnx", "--data", "d", "--min-cosine", "2"], "'--min-cosine'"),
        (["list", "target"], "Did you mean 'targets'?"),
    ],
)
def test_a_wrong_command_line_is_told_in_two_lines(run, work, refused, arguments, said):
    refused(run(*arguments), said)
    assert not list(work.iterdir())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelError("broken", where="net.onnx", remedy="Mend it"), 2),
        (PluginError("broken", where="net.onnx", remedy="Mend it"), 2),
        (DeviceError("broken", where="net.onnx", remedy="Mend it"), 2),
        (ValidationFailed("broken", where="net.onnx", remedy="Mend it"), 1),
        (EdgeqError("broken", where="net.onnx", remedy="Mend it"), 3),
    ],
)
def test_an_error_is_a_line_and_a_remedy_and_its_exit_code(error, code):
    result = outcome(error, "go")
    assert result.exit_code == code
    assert result.stderr == "error: net.onnx: broken\n  Mend it\n"


def test_an_error_says_only_what_it_knows():
    assert outcome(ModelError("broken"), "go").stderr == "error: broken\n"


def test_a_message_cannot_break_its_line_or_send_escape_sequences():
    result = outcome(ModelError("a\nb\x1b[2J", where="x\ty"), "go")
    assert result.stderr == "error: x y: a b\\x1b[2J\n"


def test_a_defect_asks_for_debug_and_shows_no_traceback():
    result = outcome(KeyError("lost"), "go")
    assert result.exit_code == 3
    first, second = result.stderr.splitlines()
    assert first == "error: edgeq failed unexpectedly: KeyError: 'lost'"
    assert "--debug" in second


@pytest.mark.parametrize("arguments", [("--debug", "go"), ("go", "--debug")])
@pytest.mark.parametrize(("error", "code"), [(KeyError("lost"), 3), (ModelError("lost"), 2)])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(arguments, error, code):
    result = outcome(error, *arguments)
    assert result.exit_code == code
    assert "Traceback" in result.stderr
    assert "raise error" in result.stderr


def test_an_interrupt_is_130():
    result = outcome(KeyboardInterrupt(), "go")
    assert result.exit_code == 130
    assert result.stderr == "error: interrupted, nothing was written\n"


def test_out_of_memory_is_told_as_such():
    result = outcome(MemoryError(), "go")
    assert result.exit_code == 2
    assert "out of memory" in result.stderr


def test_an_error_of_click_itself_is_told_alike():
    result = outcome(click.FileError("net.onnx", "gone"), "go")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_a_reader_that_leaves_is_no_error():
    code = (
        "import sys, subprocess; "
        "p = subprocess.Popen([sys.executable, '-m', 'edgeq', 'list', 'ops', '--json'], "
        "stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.close(); "
        "e = p.stderr.read(); p.wait(); print(p.returncode, e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "141 b''"
