"""What a report cannot be made of."""


class ReportError(Exception):
    """One sentence that says what about the study stands in the way."""

    exit_status = 2
