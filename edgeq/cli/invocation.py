"""The command line as it was given, for the report."""

from __future__ import annotations

import shlex

import click
from click.core import ParameterSource


def command_line() -> str:
    """The running command with the arguments and options that were given, quoted for a shell."""
    context = click.get_current_context()
    words = context.command_path.split()
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += _words(parameter, context.params.get(name))
    return shlex.join(words)


def _words(parameter: click.Parameter, value: object) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, tuple) else (value,)
    if not isinstance(parameter, click.Option):
        return [str(each) for each in values]
    option = max(parameter.opts, key=len)
    if parameter.is_flag:
        return [option]
    return [word for each in values for word in (option, str(each))]
