"""One API under three roofs: what is learnt for one kind of store holds for the others."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, get_type_hints

import pytest

import udfstore
from udfstore import aio
from udfstore.aio import AsyncStore
from udfstore.client.asynchronous import Opening

AWAITED = {"close": "aclose"}
"""Names that asynchronous Python has words of its own for."""

OF_ITS_OWN = {"join"}
"""A thread that lives a node's life, and a conversation for those who live it themselves."""


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> list[tuple[str, inspect._ParameterKind, object]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_every_kind_of_store_has_the_same_names() -> None:
    assert public(udfstore.Store) == public(udfstore.LocalStore)
    assert {AWAITED.get(name, name) for name in public(udfstore.Store)} == public(AsyncStore)


@pytest.mark.parametrize("name", sorted(public(udfstore.Store)))
def test_the_same_name_takes_the_same_parameters(name: str) -> None:
    blocking, local = getattr(udfstore.Store, name), getattr(udfstore.LocalStore, name)
    asynchronous = getattr(AsyncStore, AWAITED.get(name, name))
    if isinstance(blocking, property):
        assert isinstance(local, property)
        assert isinstance(asynchronous, property)
        return
    assert parameters(blocking) == parameters(local)
    assert parameters(blocking) == parameters(asynchronous) or name in OF_ITS_OWN
    ways = (Awaitable, AsyncIterator, AbstractAsyncContextManager, Opening)
    result = get_type_hints(asynchronous, vars(sys.modules[asynchronous.__module__])).get("return")
    assert inspect.iscoroutinefunction(asynchronous) or issubclass(getattr(result, "__origin__", object), ways)


def test_connecting_takes_the_same_parameters() -> None:
    assert parameters(udfstore.connect) == parameters(aio.connect)


def test_what_is_exported_is_there_and_has_a_docstring() -> None:
    for name in udfstore.__all__:
        assert getattr(udfstore, name) is not None
        assert name == "__version__" or inspect.getdoc(getattr(udfstore, name))
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        _ = udfstore.conect


@pytest.mark.parametrize("kind", [udfstore.Store, AsyncStore])
def test_every_method_says_what_it_does(kind: type) -> None:
    assert [name for name in public(kind) if not inspect.getdoc(getattr(kind, name))] == []
