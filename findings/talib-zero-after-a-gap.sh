#!/usr/bin/env bash
# After one missing price TA-Lib's RSI is 0, strongly oversold, to the end of the series.
#
# Version    TA-Lib 0.8.2 for Python (from PyPI), which holds the C library 0.8.1
# Guess      A NaN makes the values NaN that depend on it: fourteen sessions of a window,
#            or all later ones of a recursion. EMA, ATR, STDDEV and MFI do the latter.
# Behaviour  RSI, CMO and CORREL are 0.0 from the gap to the end, as if prices had fallen
#            every day or were not related. ADX and ULTOSC have numbers that look like
#            any other and are wrong to the end. Nothing is NaN where they are printed,
#            so that dropna() or isfinite() finds nothing. WILLR and CCI recover.
# Output     RSI     60 without the gap: 42.21, with it: 0.00
#            CMO     60 without the gap: -15.57, with it: 0.00
#            CORREL  60 without the gap: 1.00, with it: 0.00
#            ADX     60 without the gap: 11.13, with it: 5.76
#            ULTOSC  60 without the gap: 49.15, with it: 27.91
#            EMA     60 without the gap: 98.04, with it: nan
#
# Exits with 1 if that changes. Needs Python 3.11 with venv and a package index; works in
# a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check TA-Lib==0.8.2 numpy==2.4.6
cd "$work"
output=$("$work/venv/bin/python" - <<'PY'
import numpy as np
import talib

random = np.random.default_rng(1)
close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, 60)))


def last(close):
    high, low = close * 1.01, close * 0.99
    return {
        "RSI": talib.RSI(close, 14),
        "CMO": talib.CMO(close, 14),
        "CORREL": talib.CORREL(close, whole * 1.01, 14),
        "ADX": talib.ADX(high, low, close, 14),
        "ULTOSC": talib.ULTOSC(high, low, close),
        "EMA": talib.EMA(close, 14),
    }


whole = close
gap = close.copy()
gap[20] = np.nan  # one session of sixty
a, b = last(whole), last(gap)
for name in a:
    print(f"{name:7} {len(whole)} without the gap: {a[name][-1]:.2f}, with it: {b[name][-1]:.2f}")
assert (b["RSI"][20:] == 0).all() and (b["CMO"][20:] == 0).all() and (b["CORREL"][20:] == 0).all()
PY
)
printf '%s\n' "$output"
expected='RSI     60 without the gap: 42.21, with it: 0.00
CMO     60 without the gap: -15.57, with it: 0.00
CORREL  60 without the gap: 1.00, with it: 0.00
ADX     60 without the gap: 11.13, with it: 5.76
ULTOSC  60 without the gap: 49.15, with it: 27.91
EMA     60 without the gap: 98.04, with it: nan'
if [ "$output" != "$expected" ]; then
  echo "the behaviour has changed" >&2
  exit 1
fi
