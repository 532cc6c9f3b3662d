"""Feature repositories: Feast definitions read from a folder, and the store they are applied to."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.base_feature_view import BaseFeatureView
from feast.data_source import DataSource
from feast.entity import Entity
from feast.errors import FeastError, FeatureViewNotFoundException
from feast.feature_service import FeatureService
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig
from feast.type_map import feast_value_type_to_python_type
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from intermodal.features.files import registry_file, registry_settings
from intermodal.features.registry import is_registry
from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError, StoreError, nearest
from intermodal.runtime.secret_values import named_variables, refuse_secrets, with_variables
from intermodal.runtime.tree import check_staged
from intermodal.runtime.user_code import load_module

_WHOLE = "intermodal.features.registry.WholeFileRegistryStore"
_DEFAULTS: dict[str, Any] = {
    "provider": "local",
    "offline_store": {"type": "intermodal.features.asof.AsofOfflineStore"},
    "entity_key_serialization_version": 3,
}


class FeatureRepository:
    """The Feast objects that the Python files of a folder define, their relative file sources read from a folder of tables."""

    def __init__(self, path: Path, tables: Path | str) -> None:
        """Read the definitions.

        Args:
            path: The folder of `*.py` files.
            tables: A folder or a URI: what the relative paths of file sources start from.

        Raises:
            ConfigurationError: A file fails, or none defines anything.
            DataError: Files of a staged folder were deleted or changed.
        """
        check_staged(path)
        self.path = path
        found: dict[int, Any] = {}
        for file in sorted(path.glob("*.py")):
            for value in _defined(file):
                if isinstance(value, Entity | DataSource | BaseFeatureView | FeatureService):
                    found[id(value)] = value
        self.objects = list(found.values())
        if not self.views:
            raise ConfigurationError(f"{path}: no feature view is defined in its *.py files; define one, for instance in definitions.py")
        folder = str(tables) if "://" in str(tables) else str(Path(tables).absolute())
        #: Names of the sources that read something else than the tables.
        self.outside: list[str] = []
        for view in self.views:
            source = getattr(view, "batch_source", None)
            if source is None:  # computed from other views
                continue
            uri = source.file_options.uri if isinstance(source, FileSource) else ""
            if uri and "://" not in uri and not Path(uri).is_absolute():
                # Feast takes a path that is still relative to start from the repository.
                source.file_options.uri = f"{folder.rstrip('/')}/{uri}"
            elif not uri.startswith(f"{folder.rstrip('/')}/"):  # a source that two views share is met again, with its path made absolute
                self.outside.append(source.name)

    @property
    def views(self) -> list[Any]:
        """The feature views."""
        return [each for each in self.objects if isinstance(each, BaseFeatureView)]

    def service(self, name: str) -> FeatureService:
        """Return a feature service.

        Args:
            name: Its name; empty: the only one there is.

        Raises:
            ConfigurationError: There is none of that name (the message names the nearest), or none or several and no name.
        """
        services = {each.name: each for each in self.objects if isinstance(each, FeatureService)}
        if not name and len(services) == 1:
            return next(iter(services.values()))
        if not name:
            names = ", ".join(services) or "none"
            raise ConfigurationError(f"{self.path}: it defines {len(services)} feature services ({names}); set `service` to one")
        if name not in services:
            raise ConfigurationError(f"{self.path}: there is no feature service {name!r}; {nearest(name, services)}")
        return services[name]

    def created(self, service: FeatureService) -> list[str]:
        """Return the names of a service's views whose source declares a column of creation times."""
        names = {projection.name for projection in service.feature_view_projections}
        sources = {view.name: getattr(view, "batch_source", None) for view in self.views if view.name in names}
        return [name for name, source in sources.items() if source and source.created_timestamp_column]


def with_created_filter(settings: dict[str, Any], filter_by_created_timestamp: bool) -> dict[str, Any]:
    """Return settings in which our offline store leaves out what was created later, or not.

    Another offline store has no such setting: Feast passes it an argument in a retrieval, and nothing in a materialisation.

    Args:
        settings: As in feature_store.yaml.
        filter_by_created_timestamp: Whether it does.
    """
    offline = settings.get("offline_store", _DEFAULTS["offline_store"])
    if not isinstance(offline, dict) or offline.get("type") != _DEFAULTS["offline_store"]["type"]:
        return settings
    return settings | {"offline_store": offline | {"filter_by_created_timestamp": filter_by_created_timestamp}}


def open_store(settings: dict[str, Any], repository: Path) -> FeatureStore:
    """Return a Feast store.

    Args:
        settings: As in feature_store.yaml; what is absent is: the local provider, our offline store. ``${NAME}`` in a text stands for that
            variable of the task's environment, so that no credential is in a parameter.
        repository: The folder that relative paths of Feast's own start from.

    Raises:
        ConfigurationError: Feast refuses the settings, or a variable is not set.
        StoreError: The registry cannot be reached.
    """
    refuse_secrets(settings, "store")
    secret = bool(named_variables(settings))
    settings = with_variables(settings, "store")
    if file := registry_file(settings, repository):
        if file.exists() and not is_registry(file):
            raise StoreError(f"registry {file}: its writing was stopped half way; run materialize_features, which makes it anew")
        settings = settings | {"registry": registry_settings(settings) | {"registry_store_type": _WHOLE}}
    if unknown := settings.keys() - _keys():
        name = sorted(unknown)[0]
        raise ConfigurationError(f"store: Feast has no setting {name!r}; {nearest(name, _keys())}")
    try:
        store = FeatureStore(config=RepoConfig(**(_DEFAULTS | _with_integers(settings)), repo_path=repository))
        with reaching("registry"):
            # A view that is being loaded, or whose loading was killed, goes on serving what it has.
            store.registry.serve_features_while_materializing = True
    except (ValueError, FeastError) as error:
        reason = " ".join(str(error).split())
        # Not chained: the cause would show what the variables hold.
        raise ConfigurationError(f"store: {reason}; the keys are those of Feast's feature_store.yaml") from (None if secret else error)
    return store


def _keys() -> set[str]:
    """Return the keys that feature_store.yaml may have: Feast itself lets any other pass unread."""
    return {field.alias or name for name, field in RepoConfig.model_fields.items()} | set(RepoConfig.model_fields)


@contextmanager
def reaching(store: str, *folders: Path) -> Iterator[None]:
    """Turn whatever a registry or an online store of any kind raises when it cannot be reached into one sentence.

    Args:
        store: What to call it.
        folders: Where its files lie, if it is files of this machine.

    Raises:
        StoreError: It cannot be reached, or refuses.
        MachineError: A disk of this machine is full.
    """
    try:
        with room(store, *folders) if folders else nullcontext():
            yield
    except (ConnectionError, TimeoutError, RedisError, SQLAlchemyError, sqlite3.Error) as error:
        reason = str(error).strip().partition("\n")[0]
        raise StoreError(f"{store}: it cannot be reached or refuses ({reason}); check its address in the feature store's settings") from error


def read_online(
    store: FeatureStore, service: FeatureService, entity_rows: Sequence[dict[str, Any]], timestamp: datetime | None = None
) -> list[dict[str, Any]]:
    """Read the newest feature values, and null in place of those that have outlived their view's TTL.

    Feast's online stores keep a value until a newer one comes and call it present, whatever its age; the offline store gives null.

    Args:
        store: The store, as `open_store` gives it, its views materialised.
        service: The features to read.
        entity_rows: Join key to value, one object a row.
        timestamp: As of when, with a zone; now where absent. Values that are newer still are given: the store keeps no older ones.

    Returns:
        For each entity row its keys and the features by their plain names; null where there is no value, or none that is still good.
        A value counts until its TTL has passed, inclusive.

    Raises:
        StoreError: The online store cannot be reached, or has no such view.
    """
    if not entity_rows:
        return []
    timestamp = timestamp or datetime.now(UTC)
    try:
        views = {each.name_to_use(): store.get_feature_view(each.name) for each in service.feature_view_projections}
    except FeatureViewNotFoundException as error:
        raise StoreError(f"registry: {error} of feature service {service.name!r}; run materialize_features first") from error
    ttls = {
        f"{each.name_to_use()}__{field.name}": (field.name, views[each.name_to_use()].ttl)
        for each in service.feature_view_projections
        for field in each.features
    }
    with reaching("online store"):
        response = store.get_online_features(features=service, entity_rows=list(entity_rows), full_feature_names=True).proto
    read: list[dict[str, Any]] = [{} for _ in entity_rows]
    for name, column in zip(response.metadata.feature_names.val, response.results, strict=True):
        feature, ttl = ttls.get(name, (name, None))
        for row, value, stamp in zip(read, column.values, column.event_timestamps, strict=True):
            stale = ttl and stamp.ToDatetime(UTC) < timestamp - ttl
            row[feature] = None if stale else feast_value_type_to_python_type(value)
    return read


def _with_integers(value: Any) -> Any:
    """Return settings whose whole numbers are integers again: a pipeline parameter carries them as floats."""
    if isinstance(value, dict):
        return {key: _with_integers(each) for key, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _defined(file: Path) -> Iterator[Any]:
    """Run a definitions file, and yield what it defines, lists' elements too."""
    for value in vars(load_module(file)).values():
        yield from value if isinstance(value, list | tuple) else [value]
