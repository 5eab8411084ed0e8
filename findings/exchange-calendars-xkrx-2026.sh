#!/usr/bin/env bash
# exchange_calendars keeps the Korean exchange open on two closed days of 2026.
#
# Version    exchange_calendars 4.13.2, holidays 0.109 (both from PyPI)
# Guess      The package that backtesters take their sessions from knows the closures of
#            the present year, as the package of public holidays does.
# Behaviour  2026-06-03 (local elections) and 2026-07-17 (Constitution Day, a holiday
#            again from 2026) are sessions for the one and closed for the other: who
#            takes sessions from the first waits for bars that cannot come.
# Output     2026-06-03 exchange_calendars: session ; holidays: Local Election Day
#            2026-07-17 exchange_calendars: session ; holidays: Constitution Day
#
# Exits with 1 if that changes. Needs Python with venv and a package index; works in a
# temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet exchange_calendars==4.13.2 holidays==0.109
"$work/venv/bin/python" - <<'PY'
import sys

import exchange_calendars
import holidays

sessions = exchange_calendars.get_calendar("XKRX", start="2026-01-02", end="2026-12-30")
closed = holidays.financial_holidays("XKRX", years=2026)
same = False
for day in ("2026-06-03", "2026-07-17"):
    is_session, name = sessions.is_session(day), closed.get(day)
    print(day, "exchange_calendars:", "session" if is_session else "closed", "; holidays:", name)
    same = same or not is_session or name is None
sys.exit(same)
PY
