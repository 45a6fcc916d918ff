"""The one error that a user is meant to read."""


class UserError(ValueError):
    """One sentence that names what is wrong and the mend; the command line prints it and exits with 2."""


class StorageError(UserError):
    """Results cannot be written: no further work makes sense before that is mended."""
