"""`zhinao demo`: the shipped city, live, from nothing but this folder; see streams.demo."""

import logging
import os
import sys
import time
from pathlib import Path

import click
import orjson

from streams.commands.durations import DURATION
from streams.commands.failing import CannotRun
from streams.commands.stopping import stop_wished

SHIPPED = Path(__file__).parents[1] / "recordings" / "pinghu.jsonl.gz"
# What the slowest incident of the recording needs after its end to be handled and verified.
DRAIN_S = 12 * 60.0


@click.command()
@click.option("--for", "for_s", type=DURATION, help="End after so long; default: when the recording is through.")
@click.option("--speed", type=click.FloatRange(0.1, 200), default=20.0, show_default=True)
@click.option(
    "--recording", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=SHIPPED, help="Another."
)
@click.option("--drain", type=DURATION, default=DRAIN_S, help="How long the clock goes on after the recording. [12m]")
@click.option("--json-only", is_flag=True, help="Print nothing but the summary.")
@click.option("--port", type=click.IntRange(1, 65535), hidden=True, help="For the console, which is not built yet.")
@click.option("--no-browser", is_flag=True, hidden=True, help="For the console, which is not built yet.")
@click.option("--lang", type=click.Choice(("zh", "en")), help="Language of texts; default: that of LANG.")
def demo(
    for_s: float | None,
    speed: float,
    recording: Path,
    drain: float,
    json_only: bool,
    port: int | None,
    no_browser: bool,
    lang: str | None,
) -> int:
    """一条命令看全程 / The shipped city, live and self-contained: broker, worker, crews, feed.

    Twenty-five minutes of a synthetic Pinghu at 20 times its speed: illegal parking, congestion, ponding, an accident,
    each from the first sighting to its closing. No Kafka is needed. Ends by itself; Ctrl-C ends it sooner. The last
    line on stdout is a JSON summary.
    """
    from streams.broker import BrokerError
    from streams.commands.demo_screen import Plain, Quiet, Screen
    from streams.demo import Demo, DemoFailed

    del port, no_browser
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    spoken = lang or ("zh" if os.environ.get("LANG", "").startswith("zh") else "en")
    view = Quiet() if json_only else Screen(spoken) if sys.stdout.isatty() else Plain(spoken)
    cause, detail = "", None
    try:
        with stop_wished() as stop, Demo(recording, speed=speed, drain_s=drain, say=view.say) as running:
            try:
                running.start(stop.is_set)
                end_s = None if for_s is None else time.monotonic() + for_s
                running.changed = view.changed  # type: ignore[method-assign]
                view.started(running)
                while not cause:
                    if stop.is_set():
                        cause = "interrupted"
                    elif end_s is not None and time.monotonic() >= end_s:
                        cause = "time_up"
                    else:
                        cause = running.step() or ""
            except DemoFailed as exc:
                cause, detail = exc.cause, str(exc)
            except BrokerError as exc:
                cause, detail = "broker_failed", str(exc)
            view.say("ending")
    finally:
        view.close()
    if detail is not None:
        click.echo(f"zhinao demo: {detail}\nlogs are in {running.logs}", err=True)
    click.echo(orjson.dumps(running.scene.summary(cause, detail)).decode())
    return CannotRun.exit_code if detail is not None else 0
