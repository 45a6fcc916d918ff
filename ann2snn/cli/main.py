"""The entry point of the command line, `ann2snn COMMAND ...`, and its exit codes."""

import argparse
import sys

from ann2snn import interrupts
from ann2snn.cli import process
from ann2snn.cli.parser import parser
from ann2snn.errors import UserError

OUT_OF_MEMORY = ("failed to map segment", "allocate memory", "can't start new thread")  # in messages of libraries


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command and its options; by default those of the process.

    Returns:
        The exit code: 0, what the command returned, 2 for an error that is printed in one sentence, 130 after Ctrl-C,
        141 if the reader of the output has closed it.
    """
    if arguments is None:
        interrupts.exit_on_interrupt()
    process.replace_unencodable()
    process.sleep_while_waiting()
    try:
        namespace = argparse.Namespace(arguments=sys.argv[1:] if arguments is None else arguments)
        options = parser().parse_args(arguments, namespace)
        from ann2snn.cli import commands

        return commands.run(options) or 0
    except UserError as error:
        print(f"ann2snn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interrupts.RESUMES}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        print(
            f"ann2snn: {error.filename or 'a file'}: {error.strerror or error}; fix that and run it again.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        message = " ".join(str(error).split()) or "MemoryError"
        print(f"ann2snn: out of memory ({message}); free memory, or raise the limit (`ulimit -v`).", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
