"""Charloom: what its programs and clients agree on.

Vocabularies, the bundle format, the burst contract, the Python client and the command line. It
imports none of the other packages, which all stand on it.
"""

__version__ = "0.1.0"
