"""A made-up market, in the form of Kaggle's "S&P 500 stock data" (all_stocks_5yr.csv):

    python market.py > all_stocks_5yr.csv
    python market.py --names 150 --clean > all_stocks_5yr.csv

date,open,high,low,close,volume,Name, a row a name and session of the New York exchange
from 2013-02-08 to 2018-02-07. Returns are a common one, times a beta, and one of the
name's own, which has a memory: 2 % of what the name made by itself in five sessions is
given back in the next. That is all that there is to find. As in Kaggle's file a few
cells are empty; --clean leaves these rows out. Needs Python alone; the same everywhere.
"""
import argparse
import datetime
import math
import random

HOLIDAYS = """
2013-02-18 2013-03-29 2013-05-27 2013-07-04 2013-09-02 2013-11-28 2013-12-25
2014-01-01 2014-01-20 2014-02-17 2014-04-18 2014-05-26 2014-07-04 2014-09-01 2014-11-27 2014-12-25
2015-01-01 2015-01-19 2015-02-16 2015-04-03 2015-05-25 2015-07-03 2015-09-07 2015-11-26 2015-12-25
2016-01-01 2016-01-18 2016-02-15 2016-03-25 2016-05-30 2016-07-04 2016-09-05 2016-11-24 2016-12-26
2017-01-02 2017-01-16 2017-02-20 2017-04-14 2017-05-29 2017-07-04 2017-09-04 2017-11-23 2017-12-25
2018-01-01 2018-01-15
""".split()
FIRST, LAST = datetime.date(2013, 2, 8), datetime.date(2018, 2, 7)

options = argparse.ArgumentParser()
options.add_argument("--names", type=int, default=40)
options.add_argument("--clean", action="store_true")
options = options.parse_args()

days = [FIRST + datetime.timedelta(n) for n in range((LAST - FIRST).days + 1)]
days = [day.isoformat() for day in days if day.weekday() < 5 and day.isoformat() not in HOLIDAYS]
chance = random.Random(158)
common = [chance.gauss(0.0003, 0.007) for _ in days]
print("date,open,high,low,close,volume,Name")
for n in range(options.names):
    name = f"N{n + 1:03d}"
    price, own = chance.uniform(20, 200), []
    beta, spread, size = chance.uniform(0.5, 1.5), chance.uniform(0.01, 0.02), chance.uniform(13, 16)
    for t, day in enumerate(days):
        own.append(spread * chance.gauss(0, 1) - 0.02 * sum(own[-5:]))
        start = price * (1 + 0.2 * spread * chance.gauss(0, 1))
        price *= math.exp(beta * common[t] + own[-1])
        high = max(start, price) * (1 + 0.3 * spread * abs(chance.gauss(0, 1)))
        low = min(start, price) * (1 - 0.3 * spread * abs(chance.gauss(0, 1)))
        volume = int(math.exp(size + 0.4 * chance.gauss(0, 1) + 10 * abs(own[-1])))
        missing = (n, t) in {(3, 400), (7, 900)}
        if missing and options.clean:
            continue
        first = "" if missing else f"{start:.2f}"
        print(f"{day},{first},{high:.2f},{low:.2f},{price:.2f},{volume},{name}")
