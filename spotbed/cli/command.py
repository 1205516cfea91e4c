"""How a function becomes a command: options that all commands have, and one place where errors end."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_type_hints

import typer

from spotbed.cli.failures import OK, tell
from spotbed.cli.tables import Format
from spotbed.cli.terminal import Terminal

_PANEL = "Output"
_PRINTED: dict[str, Any] = {
    "help": "How the result is printed.",
    "rich_help_panel": _PANEL,
    "show_default": "table",
}
Output = Annotated[Format | None, typer.Option("--output", "-o", **_PRINTED)]
_OutputInFull = Annotated[Format | None, typer.Option("--output", **_PRINTED)]  # where -o is a command's own
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours; so does NO_COLOR.", rich_help_panel=_PANEL)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.", rich_help_panel=_PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="The traceback of an error.", rich_help_panel=_PANEL)]
_COMMON: dict[str, tuple[Any, Any]] = {
    "output": (Output, None),
    "no_color": (NoColor, False),
    "quiet": (Quiet, False),
    "debug": (Debug, False),
}

Work = Callable[..., int | None]


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of options that several commands share: its fields are typer's parameters. A command that wants them has one
    parameter of such a class."""


def command(app: typer.Typer, name: str | None = None) -> Callable[[Work], Work]:
    """Register a function whose first parameter is the Terminal, and which returns an exit code or None for 0.

    The options of `_COMMON` may stand before the command's name or after it. A command may have a -o of its own, and
    parameters that are `Options`.
    """

    def register(work: Work) -> Work:
        shared = _shared(work)

        @functools.wraps(work)
        def guarded(context: typer.Context, **values: Any) -> None:
            own = {option: values.pop(option) for option in _COMMON}
            for parameter, kind in shared.items():
                values[parameter] = kind(**{each.name: values.pop(each.name) for each in dataclasses.fields(kind)})
            code = run_guarded(_terminal(context, own), work, values)
            if code:
                raise typer.Exit(code)

        _give_signature(guarded, work)
        app.command(name)(guarded)
        return work

    return register


def run_guarded(terminal: Terminal, work: Work, values: dict[str, Any]) -> int:
    """Run a command's function; whatever it raises is told on stderr and becomes the exit code."""
    try:
        code = work(terminal, **values)
        sys.stdout.flush()
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 the one place where everything ends
        return tell(terminal, error)
    return code or OK


def _terminal(context: typer.Context, own: dict[str, Any]) -> Terminal:
    root = context.find_root().params
    chosen = {option: own[option] or root.get(option) for option in _COMMON}
    return Terminal(
        format=chosen["output"] or Format.table,
        color=not chosen["no_color"],
        quiet=bool(chosen["quiet"]),
        debug=bool(chosen["debug"]),
    )


def _shared(work: Work) -> Mapping[str, type[Options]]:
    """The parameters that stand for several options."""
    hints = get_type_hints(work, include_extras=True)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Options)}


def _parameters(work: Work) -> Iterator[inspect.Parameter]:
    """The function's own parameters without its Terminal; one that stands for several options is all of them."""
    hints, shared = get_type_hints(work, include_extras=True), _shared(work)
    for parameter in list(inspect.signature(work).parameters.values())[1:]:
        if parameter.name not in shared:
            yield parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        kind = shared[parameter.name]
        options = get_type_hints(kind, include_extras=True)
        for each in dataclasses.fields(kind):
            yield inspect.Parameter(
                each.name, inspect.Parameter.KEYWORD_ONLY, annotation=options[each.name], default=each.default
            )


def _give_signature(guarded: Callable[..., None], work: Work) -> None:
    """What typer reads: the context, the function's own parameters without its Terminal, then the common options."""
    kind = inspect.Parameter.KEYWORD_ONLY
    own = list(_parameters(work))
    parameters = [inspect.Parameter("context", kind, annotation=typer.Context), *own]
    common = _COMMON
    declared = (each for parameter in own for each in get_args(parameter.annotation))
    if any("-o" in (getattr(each, "param_decls", None) or ()) for each in declared):
        common = {**_COMMON, "output": (_OutputInFull, None)}
    parameters += [
        inspect.Parameter(option, kind, annotation=annotation, default=default)
        for option, (annotation, default) in common.items()
    ]
    setattr(guarded, "__signature__", inspect.Signature(parameters))  # noqa: B010 mypy knows no such attribute
    guarded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
