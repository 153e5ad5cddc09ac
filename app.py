"""The entry point: the command `zhinao`, also `python -m app …`. Wiring only; nothing imports it."""

from streams.commands.group import zhinao


def main() -> None:
    """Run one command and end the process with its exit code."""
    zhinao(prog_name="zhinao")


if __name__ == "__main__":
    main()
