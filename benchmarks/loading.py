"""What the benchmarks of servers are told on the command line."""

import argparse
from collections.abc import Iterable
from pathlib import Path


def parser_of(
    module: str, description: str | None, measures: Iterable[str], contenders: Iterable[str]
) -> argparse.ArgumentParser:
    """A parser of what all of them take."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(measures)}; without a name, all of them")
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 128, 512], help="how many ask at once")
    choices = list(contenders)
    parser.add_argument("--contender", nargs="+", choices=choices, default=choices, help="who is asked")
    parser.add_argument("--seconds", type=float, default=20, help="how long each is asked")
    parser.add_argument("--warm-up", type=float, default=4, help="how long before that")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each contender")
    parser.add_argument("--quick", action="store_true", help="whether it runs at all; the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    return parser


def given_by(
    parser: argparse.ArgumentParser, arguments: list[str] | None, measures: Iterable[str]
) -> argparse.Namespace:
    """What was given; in a quick run a little of each."""
    given = parser.parse_args(arguments)
    if unknown := set(given.what) - set(measures):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(measures)}")
    if given.quick:
        given.clients, given.seconds, given.warm_up, given.repeat = [4], 1.0, 1.0, 1
    return given
