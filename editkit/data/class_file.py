"""The YAML file that describes a zero-shot set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from editkit.errors import DataError, did_you_mean
from editkit.files.paths import start_of
from editkit.files.yaml_text import read_yaml


class ClassFile(BaseModel):
    """The YAML file of a zero-shot set; `table`, `folder`, `parquet` and `shards` are relative to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str = ""
    classes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Left out: the names of the class folders, or those in the Parquet files or beside the shards."""
    template: str | None = None
    templates: tuple[str, ...] = ()
    """In place of `template`: an ensemble."""
    table: Path | None = None
    folder: Path | None = None
    parquet: str | None = None
    """Files with images and labels in them, with wildcards."""
    image: str | None = None
    label: str | None = None
    """The columns of the Parquet files, where they do not say themselves which they are."""
    shards: Path | None = None
    """A folder as CLIP Benchmark lays out its webdatasets."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The templates; none: those beside the shards."""
        return self.templates if self.template is None else (self.template,)

    @model_validator(mode="after")
    def _check(self) -> ClassFile:
        if sum(place is not None for place in (self.table, self.folder, self.parquet, self.shards)) != 1:
            raise ValueError("give either table or folder, or parquet or shards, for the images")
        if self.template is not None and self.templates:
            raise ValueError("give either template or templates")
        if not self.prompts and self.shards is None:
            raise ValueError("the key 'template' is missing")
        for template in self.prompts:
            if template.count("{}") != 1:
                raise ValueError(f"template: '{template}' must contain {{}} once, where the class goes")
        if self.classes is None and self.table is not None:
            raise ValueError("the key 'classes' is missing")
        if (self.image or self.label) and self.parquet is None:
            raise ValueError("image and label name the columns of Parquet files, and there is no parquet")
        return self


def read_class_file(path: Path) -> ClassFile:
    """Read and check the YAML file of a zero-shot set.

    Raises:
        DataError: no such file, not YAML, an unknown, missing or wrong key.
    """
    import yaml

    if not path.is_file():
        raise DataError(f"There is no class file {path}{start_of(path)}.", "Check the path.")
    try:
        content: Any = read_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path} cannot be read: {reason}.", "Check that it is YAML in UTF-8.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no keys.", "Write name, template, classes, and table or folder.")
    try:
        return ClassFile.model_validate(content)
    except ValidationError as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: ValidationError) -> DataError:
    """Turn the first complaint of pydantic into two lines."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    keys = ", ".join(ClassFile.model_fields)
    if first["type"] == "extra_forbidden":
        return DataError(f"{path}: unknown key '{key}'.{did_you_mean(key, ClassFile.model_fields)}", f"Keys: {keys}.")
    if first["type"] == "missing":
        return DataError(f"{path}: the key '{key}' is missing.", f"Keys: {keys}.")
    if first["type"] == "string_type":
        return DataError(f"{path}: {key} is {first['input']!r}, not text.", "Put quotes around it.")
    if first["type"] == "too_short":
        return DataError(f"{path}: the list of classes is empty.", "Name at least one class.")
    message = first["msg"].removeprefix("Value error, ")
    return DataError(f"{path}: {key + ': ' if key else ''}{message}.", "Correct the file.")
