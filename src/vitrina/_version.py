"""The version of the package, and of the packages that results depend on."""

from __future__ import annotations

from collections.abc import Iterable

__version__ = "0.1.0"


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of vitrina, Python and the given distributions; those not installed are left out."""
    # imported here: `import vitrina` needs the version alone
    import platform
    from contextlib import suppress
    from importlib.metadata import PackageNotFoundError, version

    found = {"vitrina": __version__, "python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
