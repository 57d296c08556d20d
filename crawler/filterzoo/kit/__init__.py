"""The kit for plugin authors: writes a package to start from, and checks a plugin against the contract."""

from filterzoo.kit.checking import check, faults_of
from filterzoo.kit.findings import Finding, Verdict

__all__ = ["Finding", "Verdict", "check", "faults_of"]
