"""Section on the covariates that a model adjusts for, and those that modify its effect."""

from __future__ import annotations

from lndbayes.report.blocks import Group, Paragraph, Section, Table
from lndbayes.report.lookup import parts, ratio_name
from lndbayes.report.rounding import headed, percent, ratio, show, significant
from lndbayes.report.run import Run

__all__ = ["covariates_section"]

_TITLES = {
    "untreated surface": "Adjusted for: the untreated outcome where the covariate is one sd higher",
    "site effect": "Modifiers: the effect at a site one sd above the mean, against one at the mean",
}
_WARNING = (
    "What goes along with a covariate is not what changing it would do. A covariate that the "
    "service itself changes takes part of the effect away from it: whether one does is for those "
    "who know the service to say; the notes of the run say which covariates moved with go-live."
)


def covariates_section(run: Run, outcome: str) -> Section | None:
    """Coefficients per standard deviation, as ratios; None where the model has no covariates.

    Parameters
    ----------
    run : Run
        The run.
    outcome : str
        Outcome.
    """
    table = run.covariate_effects
    if table is None:
        return None
    rows = table[(table["outcome"] == outcome) & (table["scale"] == "link")]
    if rows.empty:
        return None
    unit = str(rows["unit"].iloc[0])
    name = ratio_name(unit.removesuffix(" per sd"))
    groups = []
    for enters, title in _TITLES.items():
        shown = []
        for row in rows[rows["enters"] == enters].to_dict("records"):
            found = (ratio if name else show)(*parts(row))
            one = significant(float(row["one_sd"]), 3)
            shown.append((str(row["covariate"]), one, found.point, found.interval))
        if shown:
            groups.append(Group(title, tuple(shown)))
    ci = percent(float(rows["ci_prob"].iloc[0]))
    what = headed(f"{name} per sd" if name else unit)
    shown_table = Table(
        caption=f"Covariates: median and {ci} interval",
        columns=("Covariate", "One sd, in its own unit", what, f"{ci} interval"),
        groups=tuple(groups),
        numeric=frozenset({1, 2, 3}),
        note="Covariates have mean 0 and standard deviation 1: over site-months where they adjust "
        "the untreated outcome, over sites that go live where they modify the effect.",
    )
    text = Paragraph(_WARNING, style="warning", label="Not effects of the covariates.")
    return Section(f"covariates-{outcome}", "Covariates", (text, shown_table))
