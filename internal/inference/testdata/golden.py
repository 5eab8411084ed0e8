"""Makes golden.json: the same figures by other programs, which the tests hold ours to.

    python3 -m venv V
    V/bin/pip install numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 statsmodels==0.15.0 arch==8.0.0 \
        empyrical-reloaded==0.7.1 quantstats==0.0.86 skfolio==1.12.2 trialgate==0.6.0
    V/bin/python golden.py > golden.json
"""

import json
from importlib.metadata import version

import empyrical
import numpy as np
import pandas as pd
import quantstats.stats as qs
import scipy.stats as st
import skfolio.measures as sk
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from statsmodels.stats.multitest import multipletests
from trialgate.validation import probability_of_backtest_overfitting

rng = np.random.default_rng(20150227)


def returns(n, carried, mean=0.0005):
    """Fat tails, losses that are worse than gains, and some memory."""
    noise = st.skewnorm.rvs(-2, size=n, random_state=rng) * 0.006 + rng.standard_t(4, n) * 0.004
    noise -= noise.mean()
    out = np.empty(n)
    before = 0.0
    for i, e in enumerate(noise):
        before = carried * before + e
        out[i] = mean + before
    return out.round(9)


benchmark = returns(756, 0.05)
own = (0.7 * benchmark + returns(756, 0.15, 0.0003)).round(9)
days = pd.bdate_range("2020-01-01", periods=756)
r, b = pd.Series(own, days), pd.Series(benchmark, days)
golden = {
    "versions": {p: version(p) for p in ("numpy", "pandas", "scipy", "statsmodels", "arch", "empyrical-reloaded", "quantstats", "skfolio", "trialgate")},
    "returns": own.tolist(),
    "benchmark": benchmark.tolist(),
}

# Sharpe ratios.
per_session = own.mean() / own.std(ddof=1)
# skfolio's moments are corrected for the sample; ours are scipy's population ones. So its formula with ours.
skew, kurtosis = st.skew(own), st.kurtosis(own, fisher=False)
golden["sharpe"] = float(empyrical.sharpe_ratio(r))
golden["moments"] = {"sharpe": float(per_session), "skew": float(skew), "kurtosis": float(kurtosis)}
golden["psr_skfolio"] = float(sk.probabilistic_sharpe_ratio(own))
golden["psr_quantstats"] = float(qs.probabilistic_sharpe_ratio(r))
golden["moments_unbiased"] = {"skew": float(st.skew(own, bias=False)), "kurtosis": float(st.kurtosis(own, fisher=False, bias=False))}
golden["moments_skfolio"] = {
    "sharpe": float(own.mean() / sk.standard_deviation(own)),
    "skew": float(sk.skew(own)),
    "kurtosis": float(sk.kurtosis(own)),
}

# Tails, drawdowns.
golden["var"] = {str(t): float(empyrical.value_at_risk(r, t)) for t in (0.05, 0.01)}
golden["es"] = {str(t): float(empyrical.conditional_value_at_risk(r, t)) for t in (0.05, 0.01)}
golden["max_dd"] = float(empyrical.max_drawdown(r))
details = qs.drawdown_details(qs.to_drawdown_series(r)).sort_values("max drawdown", kind="stable").head(5)
place = {d.strftime("%Y-%m-%d"): i for i, d in enumerate(days)}
as_place = lambda d: place[pd.Timestamp(d).strftime("%Y-%m-%d")]
golden["drawdowns"] = [
    {"first_below": as_place(row["start"]), "trough": as_place(row["valley"]), "last_below": as_place(row["end"]), "depth": float(row["max drawdown"]) / 100}
    for _, row in details.iterrows()
]

# Against the benchmark.
lags = int(np.floor(4 * (len(own) / 100) ** (2 / 9)))
fit = sm.OLS(own, sm.add_constant(benchmark)).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
greeks = qs.greeks(r, b)
excess = own - benchmark
golden["regression"] = {
    "alpha": float(greeks["alpha"]),
    "alpha_statsmodels": float(fit.params[0] * 252),
    "beta": float(fit.params[1]),
    "beta_empyrical": float(empyrical.beta(r, b)),
    "alpha_t": float(fit.tvalues[0]),
    "beta_t": float(fit.tvalues[1]),
    "lags": lags,
    "r_squared": float(fit.rsquared),
    "tracking_error": float(empyrical.annual_volatility(pd.Series(excess))),
    "information_ratio": float(qs.information_ratio(r, b) * np.sqrt(252)),
    "excess_sharpe": float(empyrical.excess_sharpe(r, b) * np.sqrt(252)),
}
at = [125, 126, 300, 755]
golden["rolling"] = {
    "at": at,
    "sharpe": [float(qs.rolling_sharpe(r, rolling_period=126).loc[days[i]]) for i in at],
    "beta": [float(empyrical.beta(r.iloc[i - 125 : i + 1], b.iloc[i - 125 : i + 1])) for i in at],
}

# Newey and West.
ic = returns(400, 0.8, 0.002)
golden["ic"] = ic.tolist()
golden["newey_west"] = []
for l in (0, 4, 19, 59):
    fit = sm.OLS(ic, np.ones(len(ic))).fit(cov_type="HAC", cov_kwds={"maxlags": l})
    golden["newey_west"].append({"lags": l, "mean": float(fit.params[0]), "error": float(fit.bse[0]), "t": float(fit.tvalues[0])})

# Several tests at once.
p = np.concatenate([rng.uniform(0, 1, 20), rng.uniform(0, 0.004, 6), [0.01, 0.01, 1.0, 0.0]]).round(12)
golden["p"] = p.tolist()
golden["holm"] = multipletests(p, method="holm")[1].tolist()
golden["bhy"] = multipletests(p, method="fdr_by")[1].tolist()

# Stationary bootstrap. The peer draws other series: 20,000 of them.
golden["block_lengths"] = [float(optimal_block_length(x)["stationary"].iloc[0]) for x in (own, benchmark, ic)]
figures = lambda x: np.array(
    [
        x.mean() / x.std(ddof=1) * np.sqrt(252),
        np.prod(1 + x) ** (252 / len(x)) - 1,
        (lambda e: (e / np.maximum.accumulate(e) - 1).min())(np.concatenate([[1.0], np.cumprod(1 + x)])),
    ]
)
bootstrap = StationaryBootstrap(max(1, golden["block_lengths"][0]), own, seed=1)
low, high = bootstrap.conf_int(figures, reps=20000, method="percentile", size=0.95)
golden["intervals"] = [[float(l), float(h)] for l, h in zip(low, high)]
golden["spread"] = [float(s) for s in bootstrap.apply(figures, 4000).std(axis=0)]

# Overfitting: 12 trials, one of them with some skill, 334 sessions: 14 in no block. The peer drops
# the last ones and we the first, so it is given the others.
common = returns(334, 0.0, 0.0)
trials = np.array([(0.6 * common + returns(334, 0.0, 0.0012 if k == 3 else 0.0)) for k in range(12)]).round(9)
golden["trials"] = trials.tolist()
one = probability_of_backtest_overfitting(trials[:, 334 % 16 :].T.tolist(), block_count=16)
golden["pbo"] = {"probability": one.pbo, "combinations": one.combinations_evaluated, "sessions": one.observations}
chance = np.array([returns(334, 0.0, 0.0) for k in range(9)])
golden["chance"] = chance.tolist()
golden["pbo_chance"] = probability_of_backtest_overfitting(chance[:, 334 % 16 :].T.tolist(), block_count=16).pbo
correlations = np.corrcoef(trials)
golden["mean_correlation"] = float((correlations.sum() - 12) / (12 * 11))

# What the peer does not say, by the paper's steps in numpy.
from itertools import combinations

blocks = np.split(trials[:, 334 % 16 :], 16, axis=1)
inside, outside = [], []
for chosen in combinations(range(16), 8):
    one = np.concatenate([blocks[i] for i in chosen], axis=1)
    other = np.concatenate([blocks[i] for i in range(16) if i not in chosen], axis=1)
    ratio, after = (x.mean(axis=1) / x.std(axis=1, ddof=1) for x in (one, other))
    best = ratio.argmax()
    inside.append(ratio[best])
    outside.append(after[best])
golden["pbo"]["loss"] = float((np.array(outside) < 0).mean())
golden["pbo"]["slope"] = float(np.polyfit(inside, outside, 1)[0])

print(json.dumps(golden))
