# Writes what internal/calendar embeds (XNYS.txt, XKRX.txt) and, in another
# form, what its test compares with (testdata/*.golden), from the facts of the
# Python package exchange_calendars:
#
#   pip install --target /tmp/xc exchange_calendars==4.13.2 "pandas==2.2.3" "numpy==2.2.6"
#   PYTHONPATH=/tmp/xc python3 -W ignore internal/calendar/testdata/facts.py
#
# With pandas 3 that version of the package loses the Saturdays on which XKRX
# traded until December 1998, without saying so: hence the pin, and the check.
import hashlib, pathlib, sys
from datetime import date, timedelta

import exchange_calendars, pandas

FIRST, LAST = date(1990, 1, 1), date(2050, 12, 31)  # XKRX's holidays are recorded to 2050
SATURDAYS_UNTIL = {"XKRX": date(1998, 12, 5)}
DOC = {"XNYS": "New York Stock Exchange", "XKRX": "Korea Exchange"}
here = pathlib.Path(__file__).parent
origin = f"exchange_calendars {exchange_calendars.__version__} with pandas {pandas.__version__}"

for name in ("XNYS", "XKRX"):
    index = exchange_calendars.get_calendar(name, start=str(FIRST), end=str(LAST)).sessions
    sessions = [t.date() for t in index]
    held = set(sessions)
    saturdays = [d for d in sessions if d.weekday() == 5]
    until = SATURDAYS_UNTIL.get(name)
    if (saturdays[-1] if saturdays else None) != until or any(d.weekday() == 6 for d in sessions):
        sys.exit(f"{name}: the last Saturday is not {until}, or there are Sundays")

    days = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
    closed = [d for d in days if d.weekday() < (6 if until and d <= until else 5) and d not in held]
    with open(here.parent / f"{name}.txt", "w") as f:
        f.write(f"# {DOC[name]}: closed days of the trading week, a year a line, as month-day.\n")
        f.write(f"# Facts of {origin}; made by testdata/facts.py.\n")
        f.write(f"first {FIRST}\nlast {LAST}\n")
        if until:
            f.write(f"saturdays {until}\n")
        for year in range(FIRST.year, LAST.year + 1):
            f.write(" ".join([str(year)] + [f"{d:%m-%d}" for d in closed if d.year == year]) + "\n")

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
