"""The command line: `ann2snn COMMAND ...`. Nothing heavy is imported before a command runs."""

from ann2snn import interrupts

if __name__ == "__main__":
    interrupts.end_process()  # before anything else is imported
