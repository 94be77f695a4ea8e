"""What every block of a sweep file is."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """A part of a sweep file: unknown keys are faults, and so is `"24"` for a number."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )
