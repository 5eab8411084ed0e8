package model

import (
	"quant"
)

// The ways of splitting.
const (
	Method        = "purged_walk_forward"         // each block is judged by what came before it
	Combinatorial = "combinatorial_purged_k_fold" // each combination of groups by all the others
)

// Policy is how samples are split into what a model learns from and what it is
// judged on. It is stored as experiments.split_policy_json. Counts are
// sessions.
//
// The sessions that have samples are cut, in time order, into a first training
// part and Folds test blocks. The model of a fold learns from samples before
// its test block only, from all of them (an expanding window), less those whose
// label window [t, t1] meets the block's window [first t, last t1]: these are
// purged. Nothing after a test block is ever learned from in its fold, which is
// more than an embargo asks; the embargo does its work where training samples
// may follow a test block: in the inner split that chooses alpha, a purged
// k-fold inside the training part of a fold.
//
// With the method Combinatorial (Lopez de Prado, ch. 12) the sessions are cut into
// Groups groups instead, of equal length but for the last one, which takes what is
// over, and each combination of TestGroups of them is the test of one fold. It learns
// from all other samples, before and after, less those that are purged or embargoed
// at either side of each test group. The predictions of a group are put together to
// TestGroups/Groups x C(Groups, TestGroups) paths, each of which covers every session
// once.
type Policy struct {
	Method           string      `json:"method"`
	Folds            int         `json:"folds"`
	Horizon          int         `json:"horizon"`
	Embargo          int         `json:"embargo"`
	MinTrainSessions int         `json:"min_train_sessions"` // of the first fold, after purging
	From             *quant.Date `json:"from"`               // first and last day t of a sample; null: all that there are
	To               *quant.Date `json:"to"`
	Groups           int         `json:"groups,omitempty"` // of Combinatorial
	TestGroups       int         `json:"test_groups,omitempty"`
}

// The bounds and defaults of a policy.
const (
	DefaultFolds            = 5
	DefaultMinTrainSessions = 60
	maxFolds                = 100
	DefaultGroups           = 6
	DefaultTestGroups       = 2
	maxGroups               = 50
	maxCombinations         = 500
)

// Validate reports the first rule that the policy breaks, as Usage.
func (p Policy) Validate(l Label) error {
	switch {
	case p.Method != Method && p.Method != Combinatorial:
		return quant.Errorf(quant.Usage, "split method %q is not known", p.Method).WithHint("use %s or %s", Method, Combinatorial)
	case p.Method == Combinatorial && (p.Groups < 3 || p.Groups > maxGroups):
		return quant.Errorf(quant.Usage, "groups %d is not between 3 and %d", p.Groups, maxGroups).WithHint("--groups 6")
	case p.Method == Combinatorial && (p.TestGroups < 1 || p.TestGroups >= p.Groups-1):
		return quant.Errorf(quant.Usage, "test-groups %d is not between 1 and %d", p.TestGroups, p.Groups-2).WithHint("--test-groups 2")
	case p.Method == Combinatorial && combinations(p.Groups, p.TestGroups) > maxCombinations:
		return quant.Errorf(quant.Usage, "%d of %d groups make more than %d folds", p.TestGroups, p.Groups, maxCombinations).WithHint("--groups 6 --test-groups 2 makes 15")
	case p.Folds < 1 || p.Folds > maxFolds:
		return quant.Errorf(quant.Usage, "folds %d is not between 1 and %d", p.Folds, maxFolds).WithHint("--folds 5")
	case p.Horizon != l.Horizon:
		return quant.Errorf(quant.Usage, "the policy's horizon of %d sessions is not that of %s", p.Horizon, l).WithHint("create the experiment anew")
	case p.Embargo < 0 || p.Embargo > maxHorizon:
		return quant.Errorf(quant.Usage, "embargo %d is not between 0 and %d sessions", p.Embargo, maxHorizon).WithHint("leave --embargo out for the label's horizon")
	case p.MinTrainSessions < 1 || p.MinTrainSessions > maxHorizon:
		return quant.Errorf(quant.Usage, "min-train %d is not between 1 and %d sessions", p.MinTrainSessions, maxHorizon).WithHint("--min-train 60")
	case p.From != nil && p.To != nil && *p.From > *p.To:
		return quant.Errorf(quant.Usage, "from %s is after to %s", p.From, p.To).WithHint("swap them")
	}
	return nil
}

// block is a test block: sessions First to Last, by the calendar's index, and
// its samples [lo, hi) where samples are in the order of time.
type block struct {
	First, Last int
	lo, hi      int
}

// keeps reports whether a sample at session t may be learned from when b is
// what is judged: neither purged nor embargoed.
func (p Policy) keeps(b block, t int) bool { return !p.meets(b, t) && !p.embargoes(b, t) }

// meets reports whether the sample's label window [t, t1] meets the window of
// the block, [first t, last t1]: it is purged.
func (p Policy) meets(b block, t int) bool {
	return t <= b.Last+p.Horizon && t+p.Horizon >= b.First
}

// embargoes reports whether the sample begins within the embargo after the
// block's window.
func (p Policy) embargoes(b block, t int) bool {
	return t > b.Last+p.Horizon && t <= b.Last+p.Horizon+p.Embargo
}

// walkForward cuts so many samples, given by the sessions that they are of, into
// the test blocks of the policy. Refused: there are too few.
func (p Policy) walkForward(starts []sessionStart, samples int) ([]block, error) {
	n := len(starts)
	first := (n + p.Folds) / (p.Folds + 1) // equal parts, the first of which is for training alone
	for first < n && p.trainable(starts, first) < p.MinTrainSessions {
		first++
	}
	if n-first < p.Folds {
		return nil, quant.Errorf(quant.Refused, "%d sessions with samples are too few: %d folds need at least %d", n, p.Folds, first+p.Folds).
			WithHint("compute features and labels of more days, or choose fewer folds, a shorter horizon or a lower --min-train")
	}
	return cut(starts, samples, first, p.Folds), nil
}

// trainable counts the sessions before the one at position first that remain
// after purging for a block that begins there.
func (p Policy) trainable(starts []sessionStart, first int) int {
	k := first
	for k > 0 && starts[k-1].session+p.Horizon >= starts[first].session {
		k--
	}
	return k
}

// sessionStart is a session and its first sample.
type sessionStart struct{ session, at int }

// cut cuts the sessions of so many samples from the position first on into n
// blocks of equal length, the longer ones first.
func cut(starts []sessionStart, samples, first, n int) []block {
	blocks := make([]block, n)
	from := first
	for k := range n {
		rest := len(starts) - from
		length := (rest + n - k - 1) / (n - k)
		to := from + length
		b := block{First: starts[from].session, Last: starts[to-1].session, lo: starts[from].at, hi: samples}
		if to < len(starts) {
			b.hi = starts[to].at
		}
		blocks[k] = b
		from = to
	}
	return blocks
}

// innerBlocks is the number of parts of the inner split.
const innerBlocks = 3
