# Writes what internal/calendar embeds (XNYS.txt, XKRX.txt), what its tests
# compare with (testdata/*.golden, testdata/*.holidays), and where these differ
# (testdata/differences.csv), from the facts of two Python packages:
#
#   python3 -m venv /tmp/xc
#   /tmp/xc/bin/pip install exchange_calendars==4.13.2 "pandas==2.2.3" "numpy==2.2.6" holidays==0.109
#   /tmp/xc/bin/python -W ignore internal/calendar/testdata/facts.py
#
# With pandas 3 that version of exchange_calendars loses the Saturdays on which
# XKRX traded until December 1998, without saying so: hence the pin, and the check.
#
# The holidays of XKRX begin with 2000 in the package holidays; before that its
# public holidays of South Korea stand in, to which the exchange adds the days
# around the turn of the year and Labour Day.
import csv, hashlib, pathlib, sys
from datetime import date, timedelta

import exchange_calendars, holidays, pandas

FIRST, LAST = date(1990, 1, 1), date(2050, 12, 31)  # XKRX's holidays are recorded to 2050
SATURDAYS_UNTIL = {"XKRX": date(1998, 12, 5)}
DOC = {"XNYS": "New York Stock Exchange", "XKRX": "Korea Exchange"}
here = pathlib.Path(__file__).parent
origin = f"exchange_calendars {exchange_calendars.__version__} with pandas {pandas.__version__}"
other = f"holidays {holidays.__version__}"

days = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]

def decide(day, open_in_first, name):
    """What the calendar says of a weekday on which the two packages differ: closed or session, and why."""
    if open_in_first and day.year < 2000:
        return "closed", f"{name}: a public holiday by decree, and the exchange closes on public holidays; exchange_calendars has every other election day from 1991 on, and lacks this one"
    if open_in_first:
        return "closed", {"Local Election Day": "Local Election Day: a public holiday (Public Official Election Act, article 34)",
            "National Assembly Election Day": "National Assembly Election Day: a public holiday (Public Official Election Act, article 34)",
            "Presidential Election Day": "Presidential Election Day: a public holiday (Public Official Election Act, article 34)",
            "Constitution Day": "Constitution Day: a public holiday again from 2026 (Public Holidays Act as amended in 2026)",
            "Alternative holiday for Labor Day": f"{name}: a substitute holiday from 2026 on (Public Holidays Act)",
            "Alternative holiday for Constitution Day": f"{name}: a substitute holiday from 2026 on (Public Holidays Act)",
        }.get(name, f"{name}: a substitute holiday (Public Holidays Act), which exchange_calendars does not count out")
    if (day.month, day.day) >= (12, 27):
        return "closed", "the exchange was closed from here to the end of the year; holidays knows the last weekday only, and none before 2000"
    if (day.month, day.day) <= (1, 3):
        return "closed", "the exchange opened its year later; no public holiday"
    if (day.month, day.day) == (5, 1):
        return "closed", "Labour Day: the exchange closes, and it was no public holiday until 2026"
    if (day.month, day.day) == (3, 10):
        return "closed", "Labour Day, on 10 March until 1993: the exchange closed, and it was no public holiday"
    return "closed", "exchange_calendars has it in its list of closures, and holidays knows no reason; kept"

differences = []
for name in ("XNYS", "XKRX"):
    index = exchange_calendars.get_calendar(name, start=str(FIRST), end=str(LAST)).sessions
    sessions = [t.date() for t in index]
    held = set(sessions)
    saturdays = [d for d in sessions if d.weekday() == 5]
    until = SATURDAYS_UNTIL.get(name)
    if (saturdays[-1] if saturdays else None) != until or any(d.weekday() == 6 for d in sessions):
        sys.exit(f"{name}: the last Saturday is not {until}, or there are Sundays")

    with open(here / f"{name}.golden", "w") as f:
        f.write(f"# {name}, {origin}; made by facts.py.\n")
        f.write("# sha256 of all sessions, each YYYY-MM-DD and a line feed.\n")
        f.write("sha256 " + hashlib.sha256("".join(f"{d}\n" for d in sessions).encode()).hexdigest() + "\n")
        for year in range(FIRST.year, LAST.year + 1):
            f.write(f"sessions {year} {sum(d.year == year for d in sessions)}\n")
        for d in days:
            if d.weekday() < 5 and d not in held:
                f.write(f"closed {d}\n")
        for d in saturdays:
            f.write(f"saturday {d}\n")

    closed = dict(holidays.financial_holidays(name, years=range(FIRST.year, LAST.year + 1)))
    if name == "XKRX":
        closed |= dict(holidays.country_holidays("KR", years=range(FIRST.year, 2000)))
    with open(here / f"{name}.holidays", "w") as f:
        f.write(f"# {name}, the weekdays that {other} has for holidays; made by facts.py.\n")
        if name == "XKRX":
            f.write("# Its XKRX begins with 2000; before that, its public holidays of South Korea.\n")
        for d in days:
            if d.weekday() < 5 and d in closed:
                f.write(f"closed {d}\n")

    for d in days:
        if d.weekday() >= 5 or (d in held) != (d in closed):
            continue
        ours, reason = decide(d, d in held, closed.get(d))
        differences.append([name, d, "session" if d in held else "closed", "closed" if d in closed else "session", ours, reason])
        if ours == "session":
            held.add(d)
        else:
            held.discard(d)

    shut = [d for d in days if d.weekday() < (6 if until and d <= until else 5) and d not in held]
    with open(here.parent / f"{name}.txt", "w") as f:
        f.write(f"# {DOC[name]}: closed days of the trading week, a year a line, as month-day.\n")
        f.write(f"# Facts of {origin} and of {other}; made by testdata/facts.py.\n")
        f.write(f"first {FIRST}\nlast {LAST}\n")
        if until:
            f.write(f"saturdays {until}\n")
        for year in range(FIRST.year, LAST.year + 1):
            f.write(" ".join([str(year)] + [f"{d:%m-%d}" for d in shut if d.year == year]) + "\n")

with open(here / "differences.csv", "w") as f:
    w = csv.writer(f, lineterminator="\n")
    w.writerow(["calendar", "day", "exchange_calendars", "holidays", "ours", "reason"])
    w.writerows(differences)
