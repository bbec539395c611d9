"""Faulty servers: rawbert serve with one planted fault.

``python tests/congruence/faults.py FAULT --port=8500 ...`` is such a server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest


def _wrap(target: Any, name: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(target, name, change(getattr(target, name)))


def faults() -> dict[str, Callable[[pytest.MonkeyPatch], None]]:
    """Fault -> function that plants it."""
    import grpc
    from rawbert.serving.server import batcher, failure, lifecycle, metrics, predict, registry
    from rawbert.serving.server.grpc import service
    from rawbert.serving.server.rest import api, writer

    def wrong_code(original: Any) -> Any:
        return lambda message: failure.Failure(grpc.StatusCode.UNKNOWN, message)

    def smallest(original: Any) -> Any:
        return lambda self, model, version, label: original(
            self,
            model,
            min(self._servables.get(model, {}), default=None) if version is label is None else version,
            label,
        )

    return {
        "a wrong code": _wrap(registry, "_absent", wrong_code),
        "a wrong message": _wrap(predict, "invalid", lambda f: lambda _: f("bad")),
        "the smallest version": _wrap(registry.Registry, "_find", smallest),
        "labels ignored": _wrap(registry.Registry, "_find", lambda f: lambda self, m, v, label: f(self, m, v, None)),
        "an output filter ignored": _wrap(predict, "_outputs", lambda f: lambda signature, _: f(signature, ())),
        "rows in another order": _wrap(
            service, "encode_into", lambda f: lambda t, v, c=False: f(t, v[::-1] if v.ndim else v, c)
        ),
        "always tensor_content": _wrap(service, "encode_into", lambda f: lambda t, v, c=False: f(t, v, True)),
        "states in another order": _wrap(
            registry.Registry, "status", lambda f: lambda self, m, v=None: f(self, m, v)[::-1]
        ),
        "metadata of another version": _wrap(
            service,
            "_asked",
            lambda f: lambda r: (f(r)[0], None, None) if r.DESCRIPTOR.name == "GetModelMetadataRequest" else f(r),
        ),
        "never batched": _wrap(
            batcher.Batcher, "run", lambda f: lambda self, s, t, timeout=None: self._run(s, t.inputs, t.outputs)
        ),
        "numbers in another form": _wrap(
            writer, "decimals", lambda f: lambda array: [b"%.2f" % value for value in array.ravel().tolist()]
        ),
        "another status of HTTP": _wrap(api, "_STATUSES", lambda d: {**d, grpc.StatusCode.NOT_FOUND: 400}),
        "calls that are not counted": _wrap(metrics.Metrics, "request", lambda f: lambda *_: nullcontext()),
        "new versions unseen": _wrap(lifecycle._Keeper, "_look", lambda f: lambda self: self.wanted or f(self)),
    }


if __name__ == "__main__":
    fault = sys.argv.pop(1)
    faults()[fault](pytest.MonkeyPatch())
    sys.argv[1:1] = ["serve", "--host=127.0.0.1"] if sys.argv[1:] != ["--version"] else ["serve"]
    from rawbert.serving.cli import main

    main()
