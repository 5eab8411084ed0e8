#!/usr/bin/env bash
# vectorbt annualises bars of trading days over a year of 365 of them.
#
# Version    vectorbt 1.2.0 (from PyPI)
# Guess      Given daily bars of an exchange (freq="1D", an index of business days), the
#            Sharpe ratio is mean / deviation x sqrt(252), as everywhere else.
# Behaviour  freq="1D" says how long a bar is, and the year that it is divided into is
#            settings["returns"]["year_freq"], 365 days: sqrt(365), 1.2 times as much, for
#            the same returns. The index is not looked at. A ranking within vectorbt is
#            right, a figure beside another program's is not.
# Output     vectorbt's Sharpe 0.352; by 252 sessions a year 0.292; by 365 0.352
#
# Exits with 1 if that changes. Needs Python 3.11 with venv and a package index; works in
# a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check vectorbt==1.2.0 numpy==2.4.6 numba==0.68.1 pandas==3.1.1
cd "$work"
output=$("$work/venv/bin/python" - 2>/dev/null <<'PY'
import numpy as np
import pandas as pd
import vectorbt as vbt

days = pd.date_range("2024-01-01", periods=300, freq="B")
price = pd.Series(100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0.0005, 0.01, 300))), index=days)
account = vbt.Portfolio.from_holding(price, freq="1D")
returns = account.returns()
daily = returns.mean() / returns.std()
print(f"vectorbt's Sharpe {account.sharpe_ratio():.3f}; by 252 sessions a year {daily * 252 ** 0.5:.3f}; by 365 {daily * 365 ** 0.5:.3f}")
PY
)
printf '%s\n' "$output"
if [ "$output" != "vectorbt's Sharpe 0.352; by 252 sessions a year 0.292; by 365 0.352" ]; then
  echo "the behaviour has changed" >&2
  exit 1
fi
