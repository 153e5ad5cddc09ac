"""The group `zhinao`: each command's file is imported when it is called for, so that `--help` answers at once.

A wrong use, a missing file or an unreachable broker is one clear line on stderr. Exit codes: 0 fine, 1 findings,
2 could not run, 130 interrupted. A command returns its exit code; None is 0.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from streams.commands.failing import CannotRun, one_line

# pyproject.toml's, which the image does not hold and `make demo` does not install; a test holds them the same.
VERSION = "0.1.0"
INTERRUPTED = 128 + signal.SIGINT
READER_GONE = 128 + signal.SIGPIPE

# In the order of the help: to see it, to write rules, to run it, to look at what runs. A test holds the texts and the
# commands' own to be the same.
COMMANDS = {
    "demo": "一条命令看全程 / The shipped city, live and self-contained: broker, worker, crews, feed",
    "replay": "回放录制文件 / A recording through the whole core, without a broker",
    "rules": "规则工具 / The rule authors' tools",
    "zones": "区域工具 / Check zone files",
    "registry": "登记表工具 / Check the registry of devices, segments and units",
    "contracts": "对外契约工具 / The published contracts: write and check them",
    "feeds": "数据源工具 / Check whether feeds are in the coordinates they declare",
    "tables": "数据表工具 / Check the tables: types, deadlines, calendars, responsibilities",
    "worker": "检测与处置工作进程 / Run the Detectors and the Desk against Kafka; prints `ready` and its partitions",
    "crews": "模拟处置队伍 / Simulated field units that answer the orders",
    "deliver": "派单外送 / Deliver the orders to the units' own system",
    "topics": "Kafka 主题 / Create and check the topics",
    "feed": "录音送入 Kafka / Send a recording to Kafka, paced by its own clock",
    "record": "Kafka 存成录音 / Write what arrives on topics to a recording",
    "tail": "跟踪主题 / Follow a topic, one line a record",
    "dead-letters": "死信工具 / Dead letters: list them, show one, send the records again",
    "backup": "备份 / All that a city decided and remembers, in one file",
    "restore": "恢复备份 / A backup put back where nothing is",
    "board": "城市看板 / The live board of the city: show it, or keep it in Redis",
    "settings": "全部设置 / Every setting, its value and where it comes from",
}


class Zhinao(click.Group):
    """Loads `streams.commands.<name>` and takes the command of that name from it; a hyphen is an underscore there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"streams.commands.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        sys.exit(self._exit_code(args, prog_name, complete_var, extra))

    def _exit_code(
        self, args: Sequence[str] | None, prog_name: str | None, complete_var: str | None, extra: dict[str, Any]
    ) -> int:
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as nothing_asked:
            click.echo(nothing_asked.ctx.get_help(), err=True)
            return CannotRun.exit_code
        except click.ClickException as refused:
            click.echo(one_line(refused, prog_name or "zhinao"), err=True)
            return CannotRun.exit_code
        except (click.Abort, KeyboardInterrupt):
            return INTERRUPTED
        except BrokenPipeError:
            _leave_quietly()
        except Exception as bug:  # noqa: BLE001 (a mistake of ours must not look like findings: 2, with its trace)
            if (known := CannotRun.of(bug)) is not None:
                click.echo(one_line(known, prog_name or "zhinao"), err=True)
            else:
                traceback.print_exc()
            return CannotRun.exit_code
        return code if isinstance(code, int) else 0


def _leave_quietly() -> NoReturn:
    """Whoever read our output has gone, as `| head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(READER_GONE)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"zhinao {VERSION}")
        ctx.exit()


@click.group(cls=Zhinao, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def zhinao() -> None:
    """智脑：城市实时事件引擎 / A real-time city event engine.

    From what cameras, traffic detectors, sensors and the hotline see to an incident that somebody has dealt with.
    Settings come from the environment, see `zhinao settings`. Exit codes: 0 fine, 1 findings, 2 could not run.
    """
