"""The kit for plugin authors: generates a package, and checks a plugin against the contract."""

from filterzoo.kit.checking import check, faults_of
from filterzoo.kit.findings import Finding, Verdict

__all__ = ["Finding", "Verdict", "check", "faults_of"]
