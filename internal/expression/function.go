package expression

import (
	"fmt"
	"math"
	"slices"
	"sync"
)

// fields are those of a bar, on the basis of the symbol's prices. Bars hold no traded
// value, so that $vwap is the typical price, (high + low + close) / 3.
var fields = []string{"open", "high", "low", "close", "volume", "vwap"}

var fieldUnits = map[string]unit{
	"open": pricesUnit, "high": pricesUnit, "low": pricesUnit, "close": pricesUnit, "vwap": pricesUnit, "volume": sharesUnit,
}

// sectorGroup is the group of symbols that a cross-section can be taken within.
const sectorGroup = "sector"

// limit is where numbers end: its square is infinite. What is as large, or is no number,
// is no value.
const limit = 1e100

// Function is an entry of the catalogue.
type Function struct {
	Name       string
	Form       string // how it is called: Mean(x, n)
	Definition string
	Lookback   string // sessions before its own that it reads of its arguments
	Needs      string // of the window's sessions, when there is a value
	Unit       string // what it gives
	Qlib       string // where Qlib differs; "" where it has the function and computes the same
}

// function is what the parser, the types and the kernels need of an entry.
type function struct {
	Function
	arguments string // a letter each: n number, b condition, e either
	window    *span  // nil: it has none
	quantile  bool   // a share from 0 to 1 comes last
	sectional string // the function over a cross-section that the call can be, or is
	gives     byte   // n a number, b a condition, s what its last arguments are
	unit      unitRule
	kernel    kernel
}

// span is which numbers a window or a lag may be, and how many sessions before its own
// a window of n reads.
type span struct {
	least int
	reach func(n int) int
}

var (
	lag     = &span{0, func(n int) int { return n }}
	window  = &span{1, func(n int) int { return n - 1 }}
	window2 = &span{2, func(n int) int { return n - 1 }}
	window3 = &span{3, func(n int) int { return n - 1 }}
	window4 = &span{4, func(n int) int { return n - 1 }}
	decay   = &span{1, func(n int) int { return decayed*n - 1 }}
)

// decayed is how many times n sessions an EMA of n reads: the weight of what lies
// before is below 1.2e-7 of the whole.
const decayed = 8

const (
	share80 = "80 %"
	every   = "every one"
	pointed = "80 %, and its own"
)

var catalogue = []function{
	{Function: Function{"Add", "x + y, Add(x, y)", "sum", "0", "both", "that of x and y, else mixed", ""}, arguments: "nn", gives: 'n', unit: addUnits, kernel: kAdd},
	{Function: Function{"Sub", "x - y, Sub(x, y)", "difference; -x is 0 - x", "0", "both", "that of x and y, else mixed", ""}, arguments: "nn", gives: 'n', unit: addUnits, kernel: kSub},
	{Function: Function{"Mul", "x * y, Mul(x, y)", "product", "0", "both", "product", ""}, arguments: "nn", gives: 'n', unit: mulUnits, kernel: kMul},
	{Function: Function{"Div", "x / y, Div(x, y)", "quotient; by 0 there is no value", "0", "both", "quotient", "infinite by 0"}, arguments: "nn", gives: 'n', unit: divUnits, kernel: kDiv},
	{Function: Function{"Power", "x ** y, Power(x, y)", "x to the power of y", "0", "both", "power", ""}, arguments: "nn", gives: 'n', unit: powerUnits, kernel: kPower},
	{Function: Function{"Abs", "Abs(x)", "absolute value", "0", "x", "that of x", ""}, arguments: "n", gives: 'n', unit: levelUnit, kernel: kAbs},
	{Function: Function{"Sign", "Sign(x)", "1, 0 or -1", "0", "x", "number", ""}, arguments: "n", gives: 'n', unit: signUnit, kernel: kSign},
	{Function: Function{"Log", "Log(x)", "natural logarithm; of 0 and less there is no value", "0", "x", "logarithm of that of x", "infinite of 0"}, arguments: "n", gives: 'n', unit: logUnits, kernel: kLog},
	{Function: Function{"Greater", "Greater(x, y)", "the greater of both", "0", "both", "that of x and y, else mixed", ""}, arguments: "nn", gives: 'n', unit: extremeUnits, kernel: kGreater},
	{Function: Function{"Less", "Less(x, y)", "the lesser of both", "0", "both", "that of x and y, else mixed", ""}, arguments: "nn", gives: 'n', unit: extremeUnits, kernel: kLess},

	{Function: Function{"Gt", "x > y, Gt(x, y)", "whether x is greater, 1 or 0", "0", "both", "condition", "0 where a side is missing"}, arguments: "nn", gives: 'b', unit: compareUnits, kernel: kGt},
	{Function: Function{"Ge", "x >= y, Ge(x, y)", "whether x is greater or equal", "0", "both", "condition", "0 where a side is missing"}, arguments: "nn", gives: 'b', unit: compareUnits, kernel: kGe},
	{Function: Function{"Lt", "x < y, Lt(x, y)", "whether x is less", "0", "both", "condition", "0 where a side is missing"}, arguments: "nn", gives: 'b', unit: compareUnits, kernel: kLt},
	{Function: Function{"Le", "x <= y, Le(x, y)", "whether x is less or equal", "0", "both", "condition", "0 where a side is missing"}, arguments: "nn", gives: 'b', unit: compareUnits, kernel: kLe},
	{Function: Function{"Eq", "x == y, Eq(x, y)", "whether both are equal", "0", "both", "condition", "0 where a side is missing"}, arguments: "nn", gives: 'b', unit: compareUnits, kernel: kEq},
	{Function: Function{"Ne", "x != y, Ne(x, y)", "whether they differ", "0", "both", "condition", "1 where a side is missing"}, arguments: "nn", gives: 'b', unit: compareUnits, kernel: kNe},
	{Function: Function{"And", "a & b, And(a, b)", "whether both hold", "0", "both", "condition", ""}, arguments: "bb", gives: 'b', unit: logicUnits, kernel: kAnd},
	{Function: Function{"Or", "a | b, Or(a, b)", "whether one holds", "0", "both", "condition", ""}, arguments: "bb", gives: 'b', unit: logicUnits, kernel: kOr},
	{Function: Function{"Not", "~a, Not(a)", "whether it does not hold", "0", "a", "condition", ""}, arguments: "b", gives: 'b', unit: logicUnits, kernel: kNot},
	{Function: Function{"If", "If(a, x, y)", "x where the condition holds, y where it does not", "0", "a, and the chosen one", "that of x and y, else mixed", "y where the condition is missing"}, arguments: "bee", gives: 's', unit: chooseUnits, kernel: kIf},

	{Function: Function{"Ref", "Ref(x, n)", "x of n sessions ago", "n", "that session", "that of x", "n = 0 is the first value of all; n < 0 is the future, which is refused here"}, arguments: "e", window: lag, gives: 's', unit: sameUnit, kernel: kRef},
	{Function: Function{"Delta", "Delta(x, n)", "x - Ref(x, n)", "n", "both sessions", "that of x", "n = 0 is the change since the first value of all"}, arguments: "n", window: lag, gives: 'n', unit: spreadUnit, kernel: kDelta},
	{Function: Function{"Mean", "Mean(x, n)", "mean", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, gives: 'n', unit: sameUnit, kernel: kMean},
	{Function: Function{"Sum", "Sum(x, n)", "sum of what there is", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, gives: 'n', unit: levelUnit, kernel: kSum},
	{Function: Function{"Std", "Std(x, n)", "sample standard deviation", "n - 1", share80, "that of x", ""}, arguments: "n", window: window2, gives: 'n', unit: spreadUnit, kernel: kStd},
	{Function: Function{"Var", "Var(x, n)", "sample variance", "n - 1", share80, "that of x, squared", ""}, arguments: "n", window: window2, gives: 'n', unit: squareUnit, kernel: kVar},
	{Function: Function{"Skew", "Skew(x, n)", "sample skewness, bias-corrected; none of equal values", "n - 1", share80, "number", "0 of equal values"}, arguments: "n", window: window3, gives: 'n', unit: shapeUnit, kernel: kSkew},
	{Function: Function{"Kurt", "Kurt(x, n)", "sample excess kurtosis, bias-corrected; none of equal values", "n - 1", share80, "number", "-3 of equal values"}, arguments: "n", window: window4, gives: 'n', unit: shapeUnit, kernel: kKurt},
	{Function: Function{"Max", "Max(x, n)", "greatest value", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, gives: 'n', unit: sameUnit, kernel: kMax},
	{Function: Function{"Min", "Min(x, n)", "least value", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, gives: 'n', unit: sameUnit, kernel: kMin},
	{Function: Function{"IdxMax", "IdxMax(x, n)", "session of the greatest value in the window, 1 the oldest and n today; the oldest of equal ones", "n - 1", share80, "number", "a missing value counts as the greatest"}, arguments: "n", window: window, gives: 'n', unit: shapeUnit, kernel: kIdxMax},
	{Function: Function{"IdxMin", "IdxMin(x, n)", "session of the least value in the window, 1 the oldest and n today; the oldest of equal ones", "n - 1", share80, "number", "a missing value counts as the least"}, arguments: "n", window: window, gives: 'n', unit: shapeUnit, kernel: kIdxMin},
	{Function: Function{"Med", "Med(x, n)", "median", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, gives: 'n', unit: sameUnit, kernel: kMed},
	{Function: Function{"Mad", "Mad(x, n)", "mean distance from the mean", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, gives: 'n', unit: spreadUnit, kernel: kMad},
	{Function: Function{"Quantile", "Quantile(x, n, q)", "quantile, 0 <= q <= 1, linear between neighbours", "n - 1", share80, "that of x", ""}, arguments: "n", window: window, quantile: true, gives: 'n', unit: sameUnit, kernel: kQuantile},
	{Function: Function{"Rank", "Rank(x, n)", "rank of today's value among those of the window, / their number; equal values share the mean of their ranks", "n - 1", pointed, "number", "Rank(x), without n, is CSRank(x) here"}, arguments: "n", window: window, sectional: "CSRank", gives: 'n', unit: shapeUnit, kernel: kRank},
	{Function: Function{"Count", "Count(x, n)", "how many of the window's sessions have a value", "n - 1", "its own bar", "number", ""}, arguments: "e", window: window, gives: 'n', unit: plainUnit, kernel: kCount},
	{Function: Function{"Slope", "Slope(x, n)", "slope of the least-squares line over the sessions 1 to n", "n - 1", share80, "that of x", ""}, arguments: "n", window: window2, gives: 'n', unit: spreadUnit, kernel: kSlope},
	{Function: Function{"Rsquare", "Rsquare(x, n)", "squared correlation with that line; none of equal values", "n - 1", share80, "number", "none where the deviation is below 2e-5"}, arguments: "n", window: window2, gives: 'n', unit: shapeUnit, kernel: kRsquare},
	{Function: Function{"Resi", "Resi(x, n)", "today's distance from that line", "n - 1", pointed, "that of x", ""}, arguments: "n", window: window2, gives: 'n', unit: spreadUnit, kernel: kResi},
	{Function: Function{"WMA", "WMA(x, n)", "mean with weights 1 (oldest) to n (today)", "n - 1", share80, "that of x", "divides by n once more"}, arguments: "n", window: window, gives: 'n', unit: sameUnit, kernel: kWMA},
	{Function: Function{"EMA", "EMA(x, n)", "mean over 8 n sessions with weights (1 - 2/(n + 1))^age", "8 n - 1", share80, "that of x", "over all history, which differs by less than 1.2e-7 of its values' spread"}, arguments: "n", window: decay, gives: 'n', unit: sameUnit, kernel: kEMA},
	{Function: Function{"Corr", "Corr(x, y, n)", "correlation; none where a side has equal values only", "n - 1", "80 % with both", "number", "none where a deviation is below 2e-5"}, arguments: "nn", window: window2, gives: 'n', unit: shapeUnit, kernel: kCorr},
	{Function: Function{"Cov", "Cov(x, y, n)", "sample covariance", "n - 1", "80 % with both", "product", ""}, arguments: "nn", window: window2, gives: 'n', unit: productUnit, kernel: kCov},

	{Function: Function{"CSRank", "CSRank(x), CSRank(x, sector), Rank(x)", "rank among the symbols of the session, / their number; equal values share the mean of their ranks", "0", "x", "number", noSection}, arguments: "n", sectional: "CSRank", gives: 'n', unit: sameUnit, kernel: kCSRank},
	{Function: Function{"CSZScore", "CSZScore(x), CSZScore(x, sector)", "(x - mean) / sample deviation over the symbols of the session; none where all are equal", "0", "x", "number", noSection}, arguments: "n", sectional: "CSZScore", gives: 'n', unit: sameUnit, kernel: kCSZScore},
	{Function: Function{"CSDemean", "CSDemean(x), CSDemean(x, sector)", "x - mean over the symbols of the session", "0", "x", "that of x", noSection}, arguments: "n", sectional: "CSDemean", gives: 'n', unit: sameUnit, kernel: kCSDemean},
	{Function: Function{"CSMean", "CSMean(x), CSMean(x, sector)", "mean over the symbols of the session", "0", "x", "that of x", noSection}, arguments: "n", sectional: "CSMean", gives: 'n', unit: sameUnit, kernel: kCSMean},
	{Function: Function{"CSStd", "CSStd(x), CSStd(x, sector)", "sample deviation over the symbols of the session", "0", "x, and two symbols", "that of x", noSection}, arguments: "n", sectional: "CSStd", gives: 'n', unit: sameUnit, kernel: kCSStd},
	{Function: Function{"CSMed", "CSMed(x), CSMed(x, sector)", "median over the symbols of the session", "0", "x", "that of x", noSection}, arguments: "n", sectional: "CSMed", gives: 'n', unit: sameUnit, kernel: kCSMed},
}

const noSection = "Qlib has no cross-sections in expressions"

var byName = sync.OnceValue(func() map[string]*function {
	m := make(map[string]*function, len(catalogue))
	for i := range catalogue {
		m[catalogue[i].Name] = &catalogue[i]
	}
	return m
})

func functionNames() []string {
	names := make([]string, len(catalogue))
	for i := range catalogue {
		names[i] = catalogue[i].Name
	}
	return names
}

// Functions is the catalogue of functions, those of one kind together.
func Functions() []Function {
	list := make([]Function, len(catalogue))
	for i := range catalogue {
		list[i] = catalogue[i].Function
	}
	return list
}

// call makes the node of a call and checks it. args are as written: a window and a
// quantile among them.
func call(name string, column int, args ...*node) (*node, error) {
	f := byName()[name]
	want := len(f.arguments)
	if f.window != nil {
		want++
	}
	if f.quantile {
		want++
	}
	if len(args) != want {
		return nil, &Error{column, fmt.Sprintf("%s has %d arguments, not %d", name, want, len(args)), "write " + f.Form}
	}
	n := &node{function: f, column: column, args: slices.Clone(args[:len(f.arguments)])}
	for i, a := range n.args {
		switch kind := f.arguments[i]; {
		case kind == 'b' && !a.boolean:
			hint := "a condition is a comparison, as in $close > $open"
			if name == "And" || name == "Or" {
				hint = "put brackets around each comparison: ($close > $open) & ($volume > 0)"
			}
			return nil, &Error{a.column, fmt.Sprintf("%s needs a condition, not a number", name), hint}
		}
		n.depth = max(n.depth, a.depth+1)
		n.section = max(n.section, a.section)
		n.lookback = max(n.lookback, a.lookback)
	}
	if n.depth > 2*MaxDepth {
		return nil, &Error{column, fmt.Sprintf("the expression is nested more than %d deep", 2*MaxDepth), "split it into features"}
	}
	if (f.window != nil || f.sectional == name) && !n.readsBars() {
		return nil, &Error{n.args[0].column, fmt.Sprintf("%s of a number alone reads no field", name), "fields are " + fieldList()}
	}
	rest := args[len(f.arguments):]
	if f.window != nil {
		if err := n.setWindow(rest[0]); err != nil {
			return nil, err
		}
		if n.lookback += f.window.reach(n.window); n.lookback > MaxLookback {
			return nil, &Error{column, fmt.Sprintf("it reads %d sessions back; %d are allowed", n.lookback, MaxLookback), "take shorter windows"}
		}
		rest = rest[1:]
	}
	if f.quantile {
		q := rest[0]
		if !q.constant() || q.number < 0 || q.number > 1 {
			return nil, &Error{q.column, fmt.Sprintf("the last argument of %s is a number from 0 to 1", name), "write " + f.Form}
		}
		n.quantile = q.number
	}
	n.boolean = f.gives == 'b' || f.gives == 's' && !slices.ContainsFunc(n.args[len(n.args)-1:], func(a *node) bool { return !a.boolean })
	if name == "If" && n.args[1].boolean != n.args[2].boolean {
		n.boolean = false
	}
	n.unit = unitOf(n)
	if f.sectional == name {
		n.section++
		if a := n.args[0]; !a.unit.scaleFree() {
			return nil, &Error{a.column, fmt.Sprintf("%s compares symbols, and this is %s, which a split of one of them rescales", name, a.unit.describe()),
				"make it scale-free: $close/Ref($close, 20), $volume/Mean($volume, 20), $close*$volume"}
		}
		if name == "CSRank" || name == "CSZScore" {
			n.unit = ratioUnit
		}
	}
	return n, nil
}

func (u unit) describe() string {
	if u.mixed != "" {
		return "of mixed units (it " + u.mixed + ")"
	}
	return "in units of " + u.String()
}

func (n *node) setWindow(w *node) error {
	name, least := n.function.Name, n.function.window.least
	switch {
	case !w.constant() || w.number != math.Trunc(w.number):
		return &Error{w.column, fmt.Sprintf("%s needs a whole number of sessions here", name), "write " + n.function.Form + ", n in digits"}
	case w.number < 0:
		return &Error{w.column, fmt.Sprintf("%s with %s reads the future", name, number(w.number)), "a label over coming sessions is made by `quant labels --horizon`"}
	case w.number < float64(least) && least == 1:
		return &Error{w.column, fmt.Sprintf("%s over 0 sessions would read the whole history", name), "write how many sessions, as in " + name + "($close, 20)"}
	case w.number < float64(least):
		return &Error{w.column, fmt.Sprintf("%s needs at least %d sessions", name, least), ""}
	case w.number > MaxWindow:
		return &Error{w.column, fmt.Sprintf("a window has at most %d sessions", MaxWindow), ""}
	}
	n.window = int(w.number)
	return nil
}

// kernel names what computes a function.
type kernel int

const (
	kAdd kernel = iota + 1
	kSub
	kMul
	kDiv
	kPower
	kAbs
	kSign
	kLog
	kGreater
	kLess
	kGt
	kGe
	kLt
	kLe
	kEq
	kNe
	kAnd
	kOr
	kNot
	kIf
	kRef
	kDelta
	kMean
	kSum
	kShare // Mean of a condition: how many hold / how many there are, which is exact
	kStd
	kVar
	kSkew
	kKurt
	kMax
	kMin
	kIdxMax
	kIdxMin
	kMed
	kMad
	kQuantile
	kRank
	kCount
	kSlope
	kRsquare
	kResi
	kWMA
	kEMA
	kCorr
	kCov
	kCSRank
	kCSZScore
	kCSDemean
	kCSMean
	kCSStd
	kCSMed
)
