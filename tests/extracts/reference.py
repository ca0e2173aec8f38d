"""The rules of who counts, written plainly: one person and one month at a time, no SQL.

Slow and obvious on purpose. It shares nothing with the code that it judges.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import pandas as pd

SENTENCES = ("1 up to 3 months", "2 3 to 6 months", "3 6 to 12 months", "4 over 12 months")
BINS = ("1 first hearing", "2 to 30 days", "3 to 90 days", "4 to 180 days", "5 over 180 days")
SOURCE = {
    "custody": "pnc",
    "offending": "pnc",
    "ae_attendances": "hes_ae",
    "mh_referrals": "mhsds",
    "mh_attendances": "mhsds",
    "iapt_referrals": "iapt",
    "iapt_attendances": "iapt",
    "drug_alcohol_referrals": "ndtms",
    "drug_alcohol_attendances": "ndtms",
    "wellbeing": "ndtms",
    "court_duration": "hmcts",
    "hearings": "hmcts",
}


class Reference:
    """Everything an assembly says, computed the slow way."""

    def __init__(self, tables: dict[str, pd.DataFrame], settings: dict) -> None:
        self.grid = pd.period_range(settings["first_month"], settings["last_month"], freq="M")
        self.extract = pd.Timestamp(settings["extract_date"])
        self.site_go_live = {
            row["site"]: pd.Period(row["go_live"], "M") if row["go_live"] else None
            for row in tables["sites"].to_dict("records")
        }
        self.sources = {row["source"]: row for row in tables["sources"].to_dict("records")}
        self.persons = {row["study_id"]: row for row in tables["persons"].to_dict("records")}
        self.rows = {}
        for name in ("referrals", *self.sources):
            records = tables[name].to_dict("records")
            for row in records:
                row["day"] = pd.Timestamp(row["date"])
                row["month"] = row["day"].to_period("M")
            self.rows[name] = records
        self.of = {name: defaultdict(list) for name in self.rows}
        for name, records in self.rows.items():
            for row in records:
                self.of[name][row["study_id"]].append(row)

    # --- months -----------------------------------------------------------------------------------

    def covered(self, source: str, month: pd.Period) -> bool:
        first = pd.Period(self.sources[source]["first_month"], "M")
        last = pd.Period(self.sources[source]["last_month"], "M")
        return first <= month <= last and month in self.grid

    def coverage(self, source: str, month: pd.Period) -> float:
        delay = self.sources[source]["reporting_delay_months"]
        if not delay:
            return 1.0
        months = (self.extract.to_period("M") - month).n
        return 1 - math.exp(-(months + 0.5) / float(delay))

    def counted(self, source: str, month: pd.Period) -> bool:
        return self.covered(source, month) and self.coverage(source, month) >= 0.5

    def observed_to(self, source: str) -> pd.Timestamp:
        covered = [month for month in self.grid if self.covered(source, month)]
        return min(self.extract, covered[-1].end_time.normalize())

    def window(self, person: dict) -> list[pd.Period]:
        start = pd.Period(person["contact_date"][:7], "M")
        months = [start + k for k in range(12)]
        if person["death_date"]:
            months = [m for m in months if m <= pd.Period(person["death_date"][:7], "M")]
        return months

    def who(self, source: str) -> list[dict]:
        return [
            person
            for person in self.persons.values()
            if person["consented"] == "1" and person[f"matched_{source}"] == "1"
        ]

    def stratum(self, person: dict) -> str:
        needs = sum(int(person[n]) for n in ("mental_health", "drug_alcohol", "other_need"))
        return {0: "none", 1: "one"}.get(needs, "several")

    def person_months(self, source: str, person: dict) -> list[pd.Period]:
        return [month for month in self.window(person) if self.counted(source, month)]

    def confined(self, person: dict) -> set[pd.Period]:
        """Months with a day in custody."""
        found = set()
        for row in self.of["pnc"][person["study_id"]]:
            if row["kind"] != "disposal" or int(row["custody_days"]) == 0:
                continue
            if not self.covered("pnc", row["month"]):
                continue
            last = row["day"] + pd.Timedelta(days=int(row["custody_days"]) // 2)
            found |= set(pd.period_range(row["day"], last, freq="M"))
        return found

    # --- outcomes ---------------------------------------------------------------------------------

    def cells(self, outcome: str) -> tuple[Counter, Counter]:
        """Exposure by (site, month, stratum); count by (site, month, stratum, category)."""
        exposure: Counter = Counter()
        count: Counter = Counter()
        source = SOURCE[outcome]
        for person in self.who(source):
            found = getattr(self, f"_{self._way(outcome)}")(source, person)
            for month, amount, counts in found:
                key = person["site"], str(month), self.stratum(person)
                exposure[key] += amount
                for category, events in counts.items():
                    count[(*key, category)] += events
        return exposure, count

    @staticmethod
    def _way(outcome: str) -> str:
        if outcome == "ae_attendances" or outcome.endswith("_referrals"):
            return "rates"
        return "attendances" if outcome.endswith("_attendances") else outcome

    def _rates(self, source, person):
        for month in self.person_months(source, person):
            rows = [r for r in self.of[source][person["study_id"]] if r["month"] == month]
            events = [r for r in rows if source == "hes_ae" or r["kind"] == "referral"]
            yield month, 1, {"": len(events)}

    def _attendances(self, source, person):
        rows = self.of[source][person["study_id"]]
        for referral in (r for r in rows if r["kind"] == "referral"):
            if referral["month"] not in self.person_months(source, person):
                continue
            if (self.observed_to(source) - referral["day"]).days < 182:
                continue
            attended = [
                row
                for row in rows
                if row["kind"] == "attendance"
                and row["referral_id"] == referral["referral_id"]
                and (row["day"] - referral["day"]).days <= 182
                and self.covered(source, row["month"])
            ]
            yield referral["month"], 1, {"": len(attended)}

    def _offending(self, source, person):
        for month in self.person_months(source, person):
            if month in self.confined(person):
                continue
            rows = [r for r in self.of["pnc"][person["study_id"]] if r["month"] == month]
            yield month, 1, {"": int(any(r["kind"] == "offence" for r in rows))}

    def _custody(self, source, person):
        months = self.person_months(source, person)
        rows = [
            (row["day"], -int(row["custody_days"]), row["month"])
            for row in self.of["pnc"][person["study_id"]]
            if row["kind"] == "disposal" and row["month"] in months
        ]
        if not rows:
            return
        _, minus_days, month = min(rows)
        days = -minus_days
        if days == 0:
            yield month, 1, {}
        else:
            band = sum(days > limit for limit in (91, 182, 365))
            yield month, 1, {SENTENCES[band]: 1}

    def _cases(self, source, person):
        """First hearing, all hearings and the last day of the person's first case."""
        cases = defaultdict(list)
        for row in self.of["hmcts"][person["study_id"]]:
            if self.covered("hmcts", row["month"]):
                cases[row["case_id"]].append(row)
        months = self.person_months(source, person)
        starts = [(min(r["day"] for r in rows), name) for name, rows in cases.items()]
        starts = [start for start in starts if start[0].to_period("M") in months]
        if not starts:
            return None
        first, name = min(starts)
        done = [row["day"] for row in cases[name] if row["completed"] == "1"]
        return first, cases[name], min(done) if done else None

    def _court_duration(self, source, person):
        case = self._cases(source, person)
        if case is None:
            return
        first, _, done = case
        days = ((done or self.observed_to(source)) - first).days
        name = BINS[sum(days > limit for limit in (0, 30, 90, 180))]
        if done is None and days <= 180:
            name += " open"
        yield first.to_period("M"), 1, {name: 1}

    def _hearings(self, source, person):
        case = self._cases(source, person)
        if case is None:
            return
        first, rows, done = case
        if done is None and (self.observed_to(source) - first).days < 182:
            return
        heard = [row for row in rows if (row["day"] - first).days <= 182]
        yield first.to_period("M"), 1, {"": len(heard)}

    def _wellbeing(self, source, person):
        rows = self.of["ndtms"][person["study_id"]]
        months = self.person_months(source, person)
        starts = [
            (row["day"], int(row["score"]))
            for row in rows
            if row["kind"] == "top_start" and row["month"] in months
        ]
        if not starts:
            return
        start, before = min(starts)
        reviews = [
            (row["day"], int(row["score"]))
            for row in rows
            if row["kind"] == "top_review"
            and 28 <= (row["day"] - start).days <= 182
            and self.covered(source, row["month"])
        ]
        if reviews:
            bands = [
                1 + sum(score > top for top in (7, 11, 15)) for score in (before, min(reviews)[1])
            ]
            yield start.to_period("M"), 1, {f"{bands[0]}>{bands[1]}": 1}

    # --- activity and history ---------------------------------------------------------------------

    def mix(self) -> Counter:
        return Counter(
            (row["site"], str(row["month"]), row["intervention"])
            for row in self.rows["referrals"]
            if self.persons[row["study_id"]]["consented"] == "1"
        )

    def first_referral(self, person: dict) -> dict | None:
        rows = self.of["referrals"][person["study_id"]]
        if person["consented"] != "1" or not rows:
            return None
        return min(rows, key=lambda row: (row["day"], row["site"]))

    def referrals(self) -> Counter:
        firsts = [self.first_referral(person) for person in self.persons.values()]
        return Counter((row["site"], str(row["month"])) for row in firsts if row)

    def history(self, outcome: str) -> tuple[Counter, Counter]:
        """Person-months and events by (site, months from referral, calendar month)."""
        persons: Counter = Counter()
        events: Counter = Counter()
        source = SOURCE[outcome]
        for person in self.who(source):
            referral = self.first_referral(person)
            if referral is None:
                continue
            go_live = self.site_go_live[person["site"]]
            for k in range(-36, 0):
                month = referral["month"] + k
                if not self.counted(source, month) or (go_live is not None and month >= go_live):
                    continue
                if outcome == "offending" and month in self.confined(person):
                    continue
                key = person["site"], k, str(month)
                persons[key] += 1
                rows = [r for r in self.of[source][person["study_id"]] if r["month"] == month]
                if outcome == "mh_referrals":
                    rows = [row for row in rows if row["kind"] == "referral"]
                if outcome == "offending":
                    rows = [row for row in rows if row["kind"] == "offence"][:1]
                events[key] += len(rows)
        return persons, events

    # --- why rows are dropped ---------------------------------------------------------------------

    def judged(self) -> Iterator[tuple[str, str, str]]:
        """Table, reason and study_id of every row."""
        for study_id, person in self.persons.items():
            yield "persons", "kept" if person["consented"] == "1" else "not consented", study_id
        for row in self.rows["referrals"]:
            consented = self.persons[row["study_id"]]["consented"] == "1"
            yield "referrals", "kept" if consented else "not consented", row["study_id"]
        for source in self.sources:
            for row in self.rows[source]:
                yield source, self._reason(source, row), row["study_id"]

    def quality(self) -> Counter:
        """Rows by (table, reason)."""
        return Counter((name, reason) for name, reason, _ in self.judged())

    def quality_persons(self) -> Counter:
        """Different persons by (table, reason), and by (table, "read")."""
        found = {(n, told, who) for n, reason, who in self.judged() for told in (reason, "read")}
        return Counter((name, reason) for name, reason, _ in found)

    def _reason(self, source: str, row: dict) -> str:
        person = self.persons[row["study_id"]]
        if person["consented"] != "1":
            return "not consented"
        if person[f"matched_{source}"] != "1":
            return "unmatched"
        if not self.covered(source, row["month"]):
            return "outside coverage"
        start = self._anchor(source, row, person)
        if start is None:
            return "outside follow-up"
        if not self.covered(source, start.to_period("M")):
            return "outside coverage"
        days = (row["day"] - start).days
        late = row.get("kind") == "attendance" and days > 182
        late |= row.get("kind") == "top_review" and not 28 <= days <= 182
        if start.to_period("M") not in self.window(person) or late:
            return "outside follow-up"
        if not self.counted(source, start.to_period("M")):
            return "reporting delay"
        age = (self.observed_to(source) - start).days
        if row.get("kind") == "attendance" and age < 182:
            return "follow-up not complete"
        if row.get("kind") == "offence" and row["month"] in self.confined(person):
            return "not at liberty"
        return "kept"

    def _anchor(self, source: str, row: dict, person: dict) -> pd.Timestamp | None:
        """Day that decides whether a row is followed."""
        rows = self.of[source][row["study_id"]]
        if row.get("kind") == "attendance":
            own = [r for r in rows if r["kind"] == "referral"]
            return next(r["day"] for r in own if r["referral_id"] == row["referral_id"])
        if row.get("kind") == "top_review":
            months = self.person_months(source, person)
            starts = [r["day"] for r in rows if r["kind"] == "top_start" and r["month"] in months]
            return min(starts) if starts else None
        if source == "hmcts":
            return min(
                r["day"]
                for r in rows
                if r["case_id"] == row["case_id"] and self.covered(source, r["month"])
            )
        return row["day"]
