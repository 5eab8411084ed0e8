// Package backtest replays the decisions of a strategy on prices: an account
// of cash and fractional shares that pays for what it trades. It decides
// nothing: what was decided stands in targets, and how prices are read is
// price's. The simulation itself (Simulate) knows no database.
package backtest
