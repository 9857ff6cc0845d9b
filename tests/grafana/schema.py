"""The JSON schema of Grafana's Classic dashboards, made of the types that Grafana publishes (PyPI: grafana-foundation-sdk).

Grafana generates those types and its `dashboard.jsonschema.json` from the same definitions, but only the types are in a package
registry. What the generated schema leaves open, the options of each kind of panel and the queries, is filled in here from the same
package. As there, an object may have no key that its type does not know.
"""

from __future__ import annotations

import enum
import importlib
import types
import typing
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # Grafana would rather have its newer model; ours is Classic on purpose
    from grafana_foundation_sdk.cog import variants
    from grafana_foundation_sdk.models import dashboard, prometheus

JSON = dict[str, Any]

_PLAIN: dict[Any, JSON] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    object: {},
    Any: {},
    type(None): {"type": "null"},
}


class _Asked(dict[str, Any]):
    """An empty object that remembers which keys were looked for in it."""

    def __init__(self) -> None:
        self.keys_asked: list[str] = []

    def __contains__(self, key: object) -> bool:
        self.keys_asked.append(str(key))
        return False


class Schema:
    """Definitions, gathered as they are met."""

    def __init__(self) -> None:
        self.definitions: dict[str, JSON] = {}

    def of(self, hint: Any) -> JSON:
        """Return the schema of a type hint."""
        if hint in _PLAIN:
            return _PLAIN[hint]
        arguments = typing.get_args(hint)
        match typing.get_origin(hint):
            case typing.Literal:
                return {"enum": list(arguments)}
            case typing.Union | types.UnionType:
                return {"anyOf": [self.of(one) for one in arguments]}
            case kind if kind is list:
                return {"type": "array", "items": self.of(arguments[0])}
            case kind if kind is dict:
                return {"type": "object", "additionalProperties": self.of(arguments[1])}
            case _:
                return self._named(prometheus.Dataquery if hint is variants.Dataquery else hint)

    def _named(self, cls: Any) -> JSON:
        name = f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}"
        if name not in self.definitions:
            self.definitions[name] = {}  # types that contain themselves end here
            self.definitions[name] = _enum(cls) if issubclass(cls, enum.Enum) else self._object(cls)
        return {"$ref": f"#/definitions/{name}"}

    def _object(self, cls: Any) -> JSON:
        asked, usual = _Asked(), cls().to_json()
        cls.from_json(asked)
        keys = {key.replace("_", "").lower(): key for key in (*asked.keys_asked, *usual)}
        properties, required = {}, []
        for attribute, hint in typing.get_type_hints(cls).items():
            key = keys[attribute.removesuffix("_val").replace("_", "").lower()]
            properties[key] = self.of(hint)
            if key in usual and key not in asked.keys_asked:  # a constant; as "type" it tells what an object is
                properties[key] = {"const": usual[key]}
                required += [key] if key == "type" else []
            elif type(None) not in typing.get_args(hint):
                required.append(key)
            elif key not in usual:  # left out rather than null
                properties[key] = self.of(typing.Union[tuple(set(typing.get_args(hint)) - {type(None)})])  # noqa: UP007
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _enum(cls: type[enum.Enum]) -> JSON:
    return {"enum": [member.value for member in cls]}


def _document(hint: Any) -> JSON:
    schema = Schema()
    start = schema.of(hint)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **start, "definitions": schema.definitions}


def of_dashboard() -> JSON:
    """Return the schema of a whole board."""
    return _document(dashboard.Dashboard)


def of_panel(kind: str) -> tuple[JSON, JSON | None]:
    """Return the schemas of `options` and of `fieldConfig.defaults.custom` of a kind of panel ("stat", "state-timeline")."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module(f"grafana_foundation_sdk.models.{kind.replace('-', '')}")
    config = module.variant_config()
    assert config.identifier == kind, kind
    custom = config.field_config_from_json_hook
    return _document(module.Options), _document(custom.__self__) if custom else None
