"""`python -m denoiselab`: the command line, for launchers that start a process a device."""

from denoiselab.commands.main import main

if __name__ == "__main__":
    main()
