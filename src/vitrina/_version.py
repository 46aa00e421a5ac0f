"""The version of the package, and of the packages that results depend on."""

from __future__ import annotations

from collections.abc import Iterable

__version__ = "0.1.0"


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of vitrina, Python and other packages.

    Parameters
    ----------
    packages : iterable of str
        Names of distributions.

    Returns
    -------
    dict of str to str
        Versions by name. Packages that are not installed are left out.
    """
    # imported here, because `import vitrina` needs only `__version__` and should be fast
    import platform
    from contextlib import suppress
    from importlib.metadata import PackageNotFoundError, version

    found = {"vitrina": __version__, "python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
