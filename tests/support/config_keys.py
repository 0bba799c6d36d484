"""Every key of a sweep's YAML, from the settings classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes of an annotation: itself, or the members of a union or list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        inner = inner[:1]
    return [model for each in inner for model in models_in(each)]


def is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (list, tuple) or any(map(is_list, get_args(annotation)))


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field of `model` and, by their dotted names, those of the models in it."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key, field
        for inner in models_in(field.annotation):
            yield from fields_of(inner, f"{key}[]." if is_list(field.annotation) else f"{key}.")
