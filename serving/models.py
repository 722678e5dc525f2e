"""The models of a server, found by name."""

from collections.abc import Container, Iterator, Sequence
from copy import copy

from charloom.errors import CharloomError
from charloom.options import InvalidRequestError, Violation
from serving.errors import ForbiddenModelError, UnknownModelError
from serving.served_model import ServedModel


class DuplicateModelError(CharloomError):
    """Two bundles have the same name."""

    exit_code = 2

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"two bundles have the same name: {', '.join(names)}; export one with another --name"
        )


class Models:
    """Everything that is served, by name."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Takes at least one model.

        Raises:
            DuplicateModelError: two have the same name.
        """
        assert models, "there is a model to serve"
        self._models = {model.name: model for model in models}
        self._allowed: Container[str] | None = None
        if len(self._models) != len(models):
            raise DuplicateModelError([model.name for model in models])

    def __iter__(self) -> Iterator[ServedModel]:
        return (model for model in self._models.values() if self._may_use(model.name))

    def among(self, names: Container[str] | None) -> "Models":
        """Returns a view for a caller that may use the models of these names; all for None."""
        view = copy(self)
        view._allowed = names
        return view

    def find(self, name: str) -> ServedModel:
        """Returns the model of this name; the only one for an empty name.

        Raises:
            UnknownModelError: no model has the name.
            ForbiddenModelError: the caller may not use a model of this name.
            InvalidRequestError: the name is empty, and there are several models.
        """
        models = {model.name: model for model in self}
        if name and not self._may_use(name):
            raise ForbiddenModelError(name)
        if not name and len(models) == 1:
            [name] = models
        if not name:
            reason = f"must name one of the models that are served: {', '.join(models) or 'none to you'}"
            raise InvalidRequestError([Violation("model", reason)])
        if name not in models:
            raise UnknownModelError(name, list(models))
        return models[name]

    def get(self, name: str) -> ServedModel | None:
        """Returns the model of this name, whoever may use it; None if there is none."""
        return self._models.get(name)

    @property
    def only(self) -> ServedModel | None:
        """The model, if a single one is served, whoever may use it."""
        models = list(self._models.values())
        return models[0] if len(models) == 1 else None

    def _may_use(self, name: str) -> bool:
        return self._allowed is None or name in self._allowed
