"""Fixed text of the report: assumptions, what is not identified, conventions, glossary."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ASSUMPTIONS",
    "CONVENTIONS",
    "ESTIMANDS",
    "GLOSSARY",
    "MIX_WARNING",
    "NOT_IDENTIFIED",
    "SYNTHETIC",
    "TIERS",
]

SYNTHETIC: Final = (
    "These are simulated data with known truth; no number here is an estimate about a real service."
)

#: Estimand to its name in tables, in the order of the table.
ESTIMANDS: Final = {
    "pooled": "Pooled over the evaluated sites, each site counting the same",
    "pooled_referral_weighted": "Pooled, sites weighted by referrals",
    "pooled_superpopulation": "Mean over the kind of sites these stand for",
    "new_site": "One new site of the same kind (predictive)",
    "plateau": "Secondary: plateau of the ramp (extrapolates the ramp's shape)",
}

TIERS: Final = (
    (
        "Tier A",
        "At least 12 untreated months of its own, while other sites were still untreated in the "
        "months to be judged: a comparison of changes, treated against not yet treated.",
    ),
    (
        "Tier B",
        "Some untreated months of its own, but fewer than 12, or no untreated site left to compare "
        "with: its level is seen, its trend comes from the model.",
    ),
    (
        "Tier C",
        "No untreated month of its own, but evidence about its own past (retrospective records or "
        "persons' histories): the effect is as good as that evidence.",
    ),
    (
        "Tier D",
        "Neither: only other sites and prior judgement speak about it. No interval is shown, "
        "because it would describe the model and not the site; it counts through pooling only.",
    ),
)

MIX_WARNING: Final = (
    "These contrasts compare sites that offer different mixes. They say how the effect varies with "
    "the mix across sites, not what receiving one intervention instead of another does to a "
    "person: sites that offer more of one kind may differ in other ways too."
)

ASSUMPTIONS: Final = (
    (
        "A1 One service",
        "The service is comparable across sites, given its mix and reach; otherwise the pooled "
        "effect is an average over different services.",
    ),
    (
        "A2 No early effect",
        "Nothing changes because of the service before go-live, outside a short transition that "
        "is left out.",
    ),
    (
        "A3 Parallel surfaces",
        "Without the service, early and late sites would have moved alike, apart from the drift "
        "and smooth deviations that the model allows. A staggered start does not guarantee this: "
        "the first sites were chosen.",
    ),
    ("A4 No spill-over", "The service in one area does not change outcomes in another."),
    (
        "A5 Same cases counted",
        "Who is counted in the denominator does not change at go-live.",
    ),
    (
        "A6 Evidence within its stated bias",
        "Every source of evidence about the baseline is biased by no more than its prior allows.",
    ),
    (
        "A7 Mix unrelated to potential",
        "For the mix contrasts only: a site's mix does not depend on how large an effect it would "
        "have had anyway.",
    ),
    (
        "A8 Exchangeable effects",
        "Given mix and wave, nothing known beforehand says which site has the larger effect.",
    ),
    (
        "A9 Records as modelled",
        "Linkage, coverage and disclosure control work as modelled and do not step at go-live.",
    ),
    (
        "A10 Sites like these",
        "The mean over the kind of sites these stand for and the prediction for a new site hold "
        "for places where sites like these would be set up. No total for a country is made.",
    ),
    (
        "A11 Smooth courses, passing shocks",
        "Untreated courses are as smooth as the model's, and what moves a site's month beyond them "
        "has passed by the next. Where neither quite holds, intervals are too short: in 500 fits "
        "of ten outcomes to simulated evaluations with rougher courses and with shocks that last "
        "some months, 90% intervals of the pooled effect held the truth in 86%.",
    ),
)

NOT_IDENTIFIED: Final = (
    "The untreated level of a site that was treated from its first observed month: the data show "
    "level plus effect and never the two apart. Only other evidence separates them.",
    "A national shock after the last go-live: it looks exactly like a change of the mean effect.",
    "The length of the ramp against its plateau where follow-up is short, and a fading effect "
    "against a drifting baseline always. Hence the window, and the plateau only as secondary.",
    "A step at go-live in recording, charging, consent or referral practice: it is "
    "indistinguishable from an effect.",
    "The coverage of reconstructed counts against the rate they imply: the prior on coverage is "
    "the prior on the baseline.",
    "How persons in crisis would have recovered without the service, unless sites not yet treated "
    "supply comparable persons.",
    "Outcomes among those charged, sentenced or in treatment only: the service changes who they "
    "are.",
    "The effect of one intervention as against its site: few sites, each with one mix.",
    "The spread between waves: three waves cannot teach a standard deviation.",
    "The marginal cost of prison: it is not in the data, so it is a scenario and not an estimate.",
)

CONVENTIONS: Final = (
    "Intervals are equal-tailed credible intervals: half of what is left out lies below, half "
    "above. Their probability stands with each of them.",
    "Central numbers are posterior medians; tables give standard deviations where they help.",
    "An effect is with the service minus without it: below zero, or a ratio below one, is a fall.",
    "Events averted are expected events without the service minus with it.",
    "A saving is positive when less is spent. Totals are sums within each draw, so rows of a table "
    "of summaries need not add up.",
    "Untreated means local practice before the service as evaluated, not the absence of any "
    "service.",
    "A printed number ends where its Monte Carlo error or a fiftieth of its standard deviation "
    "begins; the files beside this report hold the numbers unrounded.",
)

GLOSSARY: Final = (
    (
        "Baseline",
        "What the outcome would have been at a site without the service, before and after go-live; "
        "here reconstructed, not observed.",
    ),
    ("Channel", "One source of evidence about the baseline, which can be switched off."),
    ("Coverage", "The share of true events that a source recorded."),
    ("Draw", "One of the posterior's simulated answers; every interval is made from all of them."),
    ("Estimand", "The quantity that an analysis sets out to measure, stated before measuring it."),
    (
        "Exposure",
        "What a count is out of: the persons who could have had the event, or time at risk.",
    ),
    ("Go-live", "The first month in which a site ran the service; month 0 of event time."),
    (
        "Leverage",
        "By how much the effect moves when one assumption is off by one unit.",
    ),
    (
        "Log odds",
        "The scale of the model for a share: a difference in log odds is the logarithm of an odds "
        "ratio.",
    ),
    ("Mix", "The shares of a site's contacts that went to each kind of intervention."),
    ("Prior, posterior", "What was assumed before the data, and what is believed after them."),
    (
        "Ramp",
        "The growth of the effect after go-live. Precision that comes from its assumed shape, and "
        "not from a comparison, is called the ramp leak.",
    ),
    ("Tier", "How a site's own baseline is identified, from A (best) to D (not at all)."),
)
