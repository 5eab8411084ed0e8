#!/usr/bin/env bash
# empyrical's annual return counts days without a return as time, its Sharpe ratio does not.
#
# Version    empyrical-reloaded 0.7.1 (from PyPI), with which pyfolio and others report
# Guess      A NaN in the returns, such as the first one of pct_change() or a day on which
#            a stock was halted, is left out: cum_returns and sharpe_ratio do that, and
#            annual_return of the series is that of the series without it.
# Behaviour  annual_return and what divides by it (calmar_ratio) take the number of years
#            from all rows, those with NaN as well: half of the rows missing, and a year
#            of returns is spread over two. sharpe_ratio leaves them out. So in one table
#            some figures are of 252 days and others of 504.
# Output     252 returns:             annual 28.6 %, Sharpe 22.43
#            252 returns and 252 NaN: annual 13.4 %, Sharpe 22.43
#
# Exits with 1 if that changes. Needs Python 3.11 with venv and a package index; works in
# a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check empyrical-reloaded==0.7.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
output=$("$work/venv/bin/python" - 2>/dev/null <<'PY'
import numpy as np
import pandas as pd
import empyrical

days = pd.date_range("2022-01-03", periods=504, freq="B")
returns = pd.Series(np.nan, index=days)
returns.iloc[::2] = 0.001 + 0.001 * np.sin(np.arange(252))
for what, r in (("252 returns:", returns.dropna()), ("252 returns and 252 NaN:", returns)):
    print(f"{what:24} annual {100 * empyrical.annual_return(r):.1f} %, Sharpe {empyrical.sharpe_ratio(r):.2f}")
PY
)
printf '%s\n' "$output"
expected='252 returns:             annual 28.6 %, Sharpe 22.43
252 returns and 252 NaN: annual 13.4 %, Sharpe 22.43'
if [ "$output" != "$expected" ]; then
  echo "the behaviour has changed" >&2
  exit 1
fi
