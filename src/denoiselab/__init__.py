"""denoiselab: experiments on denoising, corruption x architecture x schedule in one grid."""

__version__ = "0.1.0"


def load(path, plugins=()):
    """A finished run, for a notebook: see `denoiselab.run.loaded.Run`. `plugins`: the packages that it may import."""
    # Importing torch takes seconds: `import denoiselab` and the command line's help must not wait for it.
    from denoiselab.run.loaded import Run

    return Run(path, plugins=plugins)
