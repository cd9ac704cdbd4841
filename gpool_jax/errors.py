"""The two exceptions that the command line turns into one line and exit code 2."""


class InputError(ValueError):
    """A value, file or folder from outside that cannot be used.

    The message is one line: the name of the field or file, the bad value, what is allowed. Every
    exception but this and `RunError` is a bug in the program and keeps its traceback.
    """


class RunError(RuntimeError):
    """A run that had to stop: a checkpoint that cannot be written, a loss that is not finite.

    The message is one line and says what is safe and how to go on.
    """
