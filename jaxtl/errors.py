"""The one kind of error that is meant for a person: a sentence, not a traceback."""


class UserError(ValueError):
    """A mistake that the person who runs jaxtl can mend.

    The message is one sentence: what is wrong, where, why, and the way out. Commands print it without a
    traceback and exit with status 2; code that imports jaxtl catches it like any ``ValueError``.
    """
