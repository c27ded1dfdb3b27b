"""Opening what the configuration selected."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from backchat.config.sections import Selected
from backchat.errors import ConfigError
from backchat.ports.component import Component
from backchat.ports.providers import LLMProvider, ProviderBackend, ProviderWrapper

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def opened(
    selected: Selected[Component[Callable[Concatenate[Any, P], AbstractAsyncContextManager[T]]]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> AsyncGenerator[T, None]:
    """Open a component with its settings and ``args``, as its port says.

    A driver that is not installed, and a ConfigError of the component itself, become a ConfigError that begins with the
    path of its section.
    """
    component = selected.component
    async with AsyncExitStack() as stack:
        try:
            thing = await stack.enter_async_context(component.open(selected.settings, *args, **kwargs))
        except ImportError as error:
            if component.extra is None:
                raise
            needs = component.extra if "[" in component.extra else f"backchat[{component.extra}]"
            problem = f"{selected.path}: the {component.name} backend needs: pip install '{needs}'"
            raise ConfigError(problem) from error
        except ConfigError as error:
            raise ConfigError([f"{selected.path}: {problem}" for problem in error.problems]) from error
        yield thing


@asynccontextmanager
async def opened_provider(selected: Selected[ProviderBackend | ProviderWrapper]) -> AsyncGenerator[LLMProvider, None]:
    """Open a provider; one that wraps another after that one."""
    async with AsyncExitStack() as stack:
        inner = [await stack.enter_async_context(opened_provider(selected.inner))] if selected.inner else []
        component: Selected[Any] = selected
        yield await stack.enter_async_context(opened(component, *inner))
