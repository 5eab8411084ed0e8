# Writes talib.csv: a made-up series and what TA-Lib computes from it.
#   pip install TA-Lib==0.8.2 numpy && python -P talib.py > talib.csv
import math
import numpy as np
import talib

n, state, price = 300, 12345, 80.0


def uniform():
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 11) / 2**53


high, low, close = [], [], []
for i in range(n):
    price = round(price * math.exp((uniform() - 0.48) * 0.06), 2)
    close.append(price)
    high.append(round(price * (1 + uniform() * 0.03), 2))
    low.append(round(price * (1 - uniform() * 0.03), 2))
high, low, close = map(np.array, (high, low, close))
macd, signal, _ = talib.MACD(close, 12, 26, 9)
upper, _, lower = talib.BBANDS(close, 20, 2, 2)
columns = [high, low, close, talib.RSI(close, 14), talib.ATR(high, low, close, 14), macd, signal, upper, lower]
print(f"# TA-Lib {talib.__ta_version__.decode()}, python wrapper {talib.__version__}; made by talib.py")
print("high,low,close,rsi_14,atr_14,macd,macd_signal,bb_upper,bb_lower")
for row in zip(*columns):
    print(",".join("" if math.isnan(x) else repr(float(x)) for x in row))
