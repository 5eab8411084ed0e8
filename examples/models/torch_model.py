"""A small PyTorch network for `quant train --algo program` (docs/models.md).

    quant train --experiment ID --algo program --param epochs=20 -- python torch_model.py

Needs torch, numpy, pandas and pyarrow. Runs on a GPU where there is one.
"""
import json
import os

import pandas as pd
import torch

protocol = json.load(open(os.environ["QUANT_PROTOCOL"]))
features, params = protocol["features"], protocol["params"]
file = os.path.join(protocol["model"], "model.pt")
direction = protocol["label_kind"] == "direction"
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(protocol["seed"])
torch.use_deterministic_algorithms(True)
network = torch.nn.Sequential(torch.nn.Linear(len(features), 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)).to(device)

def tensor(frame):
    return torch.tensor(frame.to_numpy("float32"), device=device)

if protocol["fit"]:  # stages train and fit
    fit = pd.read_parquet(protocol["fit"])
    x, y, weight = tensor(fit[features]), tensor(fit["label"]), tensor(fit["weight"])
    scale = {"mean": x.mean(0), "deviation": x.std(0) + 1e-8, "size": torch.ones(()) if direction else y.std()}
    optimizer = torch.optim.Adam(network.parameters(), lr=float(params.get("lr", 1e-3)), weight_decay=1e-4)
    loss = torch.nn.BCEWithLogitsLoss(reduction="none") if direction else torch.nn.MSELoss(reduction="none")
    for epoch in range(int(params.get("epochs", 10))):
        for rows in torch.randperm(len(x)).split(1024):
            rows = rows.to(device)
            guess = network((x[rows] - scale["mean"]) / scale["deviation"]).squeeze(1)
            optimizer.zero_grad()
            (weight[rows] * loss(guess, y[rows] / scale["size"])).mean().backward()
            optimizer.step()
    torch.save({"network": network.state_dict(), "scale": scale}, file)
else:  # stage score
    kept = torch.load(file, map_location=device)
    network.load_state_dict(kept["network"])
    scale = kept["scale"]

if protocol["predict"]:  # stages train and score
    rows = pd.read_parquet(protocol["predict"])
    with torch.no_grad():
        guess = network((tensor(rows[features]) - scale["mean"]) / scale["deviation"]).squeeze(1)
        guess = torch.sigmoid(guess) if direction else guess * scale["size"]
    rows["score"] = guess.cpu().double().numpy()
    rows[["symbol", "ts", "score"]].to_parquet(protocol["predictions"])
