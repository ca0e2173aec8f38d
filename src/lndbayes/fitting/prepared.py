"""One outcome ready to be fitted: spec, data, design and key, each made once and passed on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from lndbayes.data.covariates import column_values
from lndbayes.data.evaluation import EvaluationData, with_rows_of
from lndbayes.files.source import source_hash, versions
from lndbayes.fitting.threads import one_blas_thread
from lndbayes.model.design import Design, build_design
from lndbayes.model.support import supported_design
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["SCHEMA", "PreparedOutcome", "fit_key", "prepare_outcome"]

#: Version of what a fit file holds; part of the key under which finished fits are reused.
SCHEMA = 9

#: What makes a fit's numbers, all of it: this name is not imported, since it rests on this module.
_MAKER = "lndbayes.fitting.fit"


@dataclass(frozen=True, slots=True)
class PreparedOutcome:
    """One outcome ready to be fitted; made by `prepare_outcome`, so that its parts belong together.

    Attributes
    ----------
    spec : ModelSpec
        Model, priors and sampler settings.
    data : EvaluationData
        The data, of this outcome and no other.
    design : Design
        Of this spec and these data.
    key : str
        From `fit_key`.
    """

    spec: ModelSpec
    data: EvaluationData
    design: Design
    key: str


@one_blas_thread
def prepare_outcome(
    spec: ModelSpec, data: EvaluationData, *, supported: bool = True
) -> PreparedOutcome:
    """Build the design of an outcome and its key.

    On one thread, as everything that a fit's numbers come from.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    supported : bool
        Whether the data must carry the model: see `lndbayes.model.support.supported_design`.

    Raises
    ------
    DataError
        If the outcome is absent, has cells that the family cannot use, or lacks what it must have.
    """
    design = (supported_design if supported else build_design)(spec, data)
    light = with_rows_of(data, spec.outcome.name)
    return PreparedOutcome(spec, light, design, fit_key(spec, data))


def fit_key(spec: ModelSpec, data: EvaluationData) -> str:
    """Identify everything that a fit's numbers depend on.

    Parameters
    ----------
    spec : ModelSpec
        The spec; check thresholds are left out, since they judge a fit and do not change it.
    data : EvaluationData
        The data, by content hash.

    Returns
    -------
    str
        SHA-256 over spec, data, schema, package versions and the source text that a fit comes from.
    """
    settings = json.loads(spec.canonical())
    settings.pop("checks")
    parts = {
        "spec": settings,
        "data": data.hash,
        "schema": SCHEMA,
        "versions": versions(),
        "source": source_hash(_MAKER),
    }
    if spec.covariates.effect:
        # the content hash is of what the contract knows: a spec may name more
        named = (name for name in spec.covariates.effect if name in data.site_columns)
        parts["columns"] = {name: column_values(data, name)[0].tolist() for name in named}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
