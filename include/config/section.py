"""What every section of the settings is made of."""

from pydantic import BaseModel, ConfigDict, Field

Fraction = Field(ge=0.0, le=1.0)


class Section(BaseModel):
    """A part of the settings: immutable, and strict about unknown keys so that a typo never passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
