"""Rule objects: what the derivative of `svd` does where singular values (nearly) coincide.

Every rule takes ``degeneracy_rtol`` and ``rank_rtol``, both relative to the largest
singular value; some have a parameter of their own. A name (``rule="inv"``) stands for the
rule with its defaults.

>>> from svdinv.rules import Inv, Taylor
>>> Inv(degeneracy_rtol=1e-6)
Inv(degeneracy_rtol=1e-06, rank_rtol=None, limit=None)
>>> Taylor(terms=5).terms
5
"""

from svdinv_core import rules as _rules
from svdinv_core.rules import *

_names = {type(_rules.get_rule(name)).__name__ for name in _rules.rule_names()}
__all__ = sorted(_names | {"Rule", "rule_names"})
