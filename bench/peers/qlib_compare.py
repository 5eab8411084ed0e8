"""The comparing half of qlib_example.sh, in its folder: python qlib_compare.py shift|compare"""
import json
import sys

import numpy as np
import pandas as pd


def shift():
    scores = pd.read_csv("qlib/scores.csv")
    days = sorted(pd.read_csv("prices.csv", usecols=["date"])["date"].unique())
    scores["ts"] = scores["ts"].map(dict(zip(days, days[1:])))
    scores.dropna().to_csv("shifted.csv", index=False)


def account(returns, year=252):
    """As quant defines them: compounded, and a year of 252 sessions."""
    growth = (1 + returns).cumprod()
    return {"cagr": growth.iloc[-1] ** (year / len(returns)) - 1, "sharpe": returns.mean() / returns.std() * year**0.5,
            "max_dd": (growth / np.maximum(growth.cummax(), 1) - 1).min()}


def compare():
    key = ["ts", "symbol"]
    theirs = pd.read_parquet("qlib/features.parquet")
    theirs["ts"] = theirs["ts"].astype(str).str[:10]
    ours = pd.read_csv("features.csv")
    names = [name for name in theirs.columns if name not in key]
    both = ours.merge(theirs, on=key, suffixes=("", "_theirs"))
    print(f"features: {len(names)} of {len(both)} bars of the test segment")
    worst = {}
    for name in names:
        a, b = both[name].to_numpy(float), both[name + "_theirs"].to_numpy(float)
        there = np.isfinite(a) & np.isfinite(b)
        worst[name] = np.abs(a - b)[there].max() / np.std(b[there]), int((np.isfinite(a) != np.isfinite(b)).sum())
    for bound in [1e-6, 1e-5, 1e-4, 1e-3]:
        print(f"  largest difference below {bound:g} of the feature's deviation: {sum(w < bound for w, _ in worst.values())}")
    print("  the largest:", ", ".join(f"{n} {w:.2g}" for n, (w, _) in sorted(worst.items(), key=lambda x: -x[1][0])[:5]))
    print("  value in one alone:", {n: m for n, (_, m) in worst.items() if m} or "none")

    days = sorted(pd.read_csv("prices.csv", usecols=["date"])["date"].unique())
    label = pd.read_csv("qlib/label.csv")
    label["ts"] = label["ts"].map(dict(zip(days, days[1:])))
    joined = label.merge(pd.read_csv("labels.csv"), on=key, suffixes=("_theirs", ""))
    print(f"label: {len(joined)} of {len(label)} found a session later, largest difference {np.abs(joined['label'] - joined['label_theirs']).max():.2g}")

    figures, factor = json.load(open("qlib/figures.json")), json.load(open("factor.json"))
    rows = {row["name"]: row for row in factor["coefficients"]} if "coefficients" in factor else factor
    for name, ours, theirs in [("IC", rows["ic"]["mean"], figures["IC"]), ("ICIR", rows["ic"]["icir"], figures["ICIR"]),
                               ("Rank IC", rows["rank_ic"]["mean"], figures["Rank IC"]), ("Rank ICIR", rows["rank_ic"]["icir"], figures["Rank ICIR"])]:
        print(f"{name}: Qlib {theirs:.8f}, quant {ours:.8f}, difference {abs(ours - theirs):.1g}")

    shifted = pd.read_csv("shifted.csv").merge(joined, on=key)
    for name in ["label_theirs", "label"]:
        days = [day["score"].rank().corr(day[name].rank()) for _, day in shifted.groupby("ts")]
        print(f"Rank IC by pandas, of Qlib's scores and {'Qlib' if name != 'label' else 'quant'}'s label: {np.mean(days):.8f}, ICIR {np.mean(days) / np.std(days, ddof=1):.8f}")

    report = pd.read_csv("qlib/report.csv")
    returns = report["return"] - report["cost"]
    print("Qlib's account, as Qlib judges it:", {k: round(v, 4) for k, v in figures["account"].items()})
    print("Qlib's account, as quant judges it:", {k: round(float(v), 4) for k, v in account(returns).items()})
    print("Qlib's turnover a session:", round(report["turnover"].iloc[2:].mean(), 4), "costs a year:", round(report["cost"].mean() * 252, 4))
    book = pd.read_csv("returns.csv")
    print("quant's account, as quant judges it:", {k: round(float(v), 4) for k, v in account(book["ret"]).items()})
    print("quant's account, as quant stores it:", {k: round(json.load(open("book.json"))[0][k], 4) for k in ["cagr", "sharpe", "max_dd"]})
    same = report.assign(ours=returns).merge(book, left_on="datetime", right_on="ts")
    print(f"returns of both accounts on {len(same)} sessions: correlation {same['ours'].corr(same['ret']):.4f}")


{"shift": shift, "compare": compare}[sys.argv[1]]()
