#!/usr/bin/env bash
# Qlib's risk analysis adds returns up: half an account can be lost without a drawdown.
#
# Version    pyqlib 0.9.7 (from PyPI)
# Guess      risk_analysis, which every Qlib example prints, gives the maximum drawdown of
#            the account that has these returns, and its annualised return.
# Behaviour  By default both are of the sum of the returns, and the sum after the first
#            session is the first peak. A loss of 50 % on that session is a drawdown of 0,
#            three of 60 % are one of -120 %, and an account that lost 44 % of its money
#            has an annualised return of 0. mode="product" compounds, but the first
#            session cannot be a loss there, either.
# Output     returns -0.5 0 0: account -50.0 %, Qlib's drawdown 0.0 %, with mode="product" 0.0 %
#            returns -0.6 -0.6 -0.6: account -93.6 %, Qlib's drawdown -120.0 %, with mode="product" -84.0 %
#            returns 0.5 -0.5 0.5 -0.5: account -43.8 %, Qlib's annualised return 0.0
#
# Exits with 1 if that changes. Needs Python 3.11 with venv and a package index; works in
# a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyqlib==0.9.7
cd "$work"
output=$("$work/venv/bin/python" - 2>/dev/null <<'PY'
import pandas as pd
from qlib.contrib.evaluate import risk_analysis


def of(returns, key, **how):
    return risk_analysis(pd.Series(returns), **{"N": 238, **how})["risk"][key]


def account(returns):
    return ((1 + pd.Series(returns)).prod() - 1) * 100


for returns in ([-0.5, 0, 0], [-0.6, -0.6, -0.6]):
    drawdowns = [of(returns, "max_drawdown", mode=mode) * 100 + 0.0 for mode in ("sum", "product")]
    print(f"returns {' '.join(map(str, returns))}: account {account(returns):.1f} %, Qlib's drawdown {drawdowns[0]:.1f} %, with mode=\"product\" {drawdowns[1]:.1f} %")
returns = [0.5, -0.5, 0.5, -0.5]
print(f"returns {' '.join(map(str, returns))}: account {account(returns):.1f} %, Qlib's annualised return {of(returns, 'annualized_return'):.1f}")
PY
)
printf '%s\n' "$output"
expected='returns -0.5 0 0: account -50.0 %, Qlib'\''s drawdown 0.0 %, with mode="product" 0.0 %
returns -0.6 -0.6 -0.6: account -93.6 %, Qlib'\''s drawdown -120.0 %, with mode="product" -84.0 %
returns 0.5 -0.5 0.5 -0.5: account -43.8 %, Qlib'\''s annualised return 0.0'
if [ "$output" != "$expected" ]; then
  echo "the behaviour has changed" >&2
  exit 1
fi
