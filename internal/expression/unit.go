package expression

import (
	"fmt"
	"math"
)

// unit says how a value moves when the whole history of a symbol is rescaled as a split
// does it, prices by c and shares by 1/c: by c to the power of price - shares. A
// logarithm moves by a constant instead. What does neither is mixed, with the reason.
type unit struct {
	price, shares float64
	logarithm     bool
	neutral       bool // the number 0, which any unit may be compared with
	mixed         string
}

var (
	pricesUnit = unit{price: 1}
	sharesUnit = unit{shares: 1}
	ratioUnit  = unit{}
)

func (u unit) degree() float64 { return u.price - u.shares }

// scaleFree is whether a rescaled history leaves the value as it is.
func (u unit) scaleFree() bool { return u.mixed == "" && u.degree() == 0 }

func (u unit) power(k float64) unit {
	if u.mixed != "" {
		return u
	}
	return unit{price: u.price * k, shares: u.shares * k, logarithm: u.logarithm}
}

func (u unit) String() string {
	if u.mixed != "" {
		return "mixed"
	}
	text := ""
	switch {
	case u.price == 0 && u.shares == 0:
		return "number"
	case u.price == 1 && u.shares == 0:
		text = "price"
	case u.price == 0 && u.shares == 1:
		text = "shares"
	case u.price == 1 && u.shares == 1:
		text = "money"
	case u.shares == 0:
		text = fmt.Sprintf("price^%g", u.price)
	case u.price == 0:
		text = fmt.Sprintf("shares^%g", u.shares)
	default:
		text = fmt.Sprintf("price^%g shares^%g", u.price, u.shares)
	}
	if u.logarithm {
		return "log " + text
	}
	return text
}

func mixed(format string, args ...any) unit { return unit{mixed: fmt.Sprintf(format, args...)} }

// join is the unit of what is added, compared or chosen between. doing says it in a
// reason: "adds".
func join(doing string, a, b unit) unit {
	switch {
	case a.mixed != "":
		return a
	case b.mixed != "":
		return b
	case a.neutral:
		return b
	case b.neutral:
		return a
	case a.logarithm == b.logarithm && a.price == b.price && a.shares == b.shares:
		return a
	case a.scaleFree() && b.scaleFree():
		return ratioUnit
	}
	return mixed("%s %s and %s", doing, a, b)
}

// level is the unit of a value, a logarithm of a rescaled one being none.
func (u unit) level(doing string) unit {
	if u.logarithm && u.degree() != 0 {
		return mixed("%s a %s", doing, u)
	}
	u.neutral = false
	return u
}

// spread is the unit of a difference of two values of one unit: a logarithm's constant
// falls out.
func (u unit) spread() unit {
	if u.logarithm {
		return ratioUnit
	}
	u.neutral = false
	return u
}

// shape is the unit of what neither a factor nor, in a logarithm, a constant changes.
func (u unit) shape() unit {
	if u.mixed != "" {
		return u
	}
	return ratioUnit
}

// guard is the largest number that may be added to any unit: it stands there against a
// division by zero.
const guard = 1e-6

// unitOf derives the unit of a call.
func unitOf(n *node) unit {
	u := make([]unit, len(n.args))
	for i, a := range n.args {
		u[i] = a.unit
	}
	rule := n.function.unit
	switch rule {
	case addUnits:
		for i, a := range n.args {
			if a.constant() && math.Abs(a.number) <= guard {
				return u[1-i]
			}
		}
		a, b := u[0], u[1]
		if n.function.Name == "Sub" {
			b = b.power(-1)
			if !b.logarithm {
				b.price, b.shares = u[1].price, u[1].shares
			}
			b.neutral = u[1].neutral
		}
		if a.mixed == "" && b.mixed == "" && (a.logarithm || b.logarithm) {
			switch {
			case a.logarithm && b.logarithm:
				return unit{price: a.price + b.price, shares: a.shares + b.shares, logarithm: true}.tidy()
			case a.logarithm && b.scaleFree():
				return a
			case b.logarithm && a.scaleFree():
				return b
			}
		}
		return join(map[string]string{"Add": "adds", "Sub": "subtracts"}[n.function.Name], u[0], u[1])
	case mulUnits:
		for i, a := range n.args {
			if a.constant() && u[1-i].logarithm {
				return u[1-i].power(a.number).tidy()
			}
		}
		return product(u[0], u[1], 1)
	case divUnits:
		if n.args[1].constant() && u[0].logarithm && n.args[1].number != 0 {
			return u[0].power(1 / n.args[1].number).tidy()
		}
		return product(u[0], u[1], -1)
	case powerUnits:
		x := u[0].level("takes a power of")
		switch {
		case u[0].mixed != "" || u[1].mixed != "":
			return join("", u[0], u[1])
		case n.args[1].constant():
			return x.power(n.args[1].number)
		case x.scaleFree() && u[1].scaleFree():
			return ratioUnit
		}
		return mixed("takes a power of %s that is no plain number", u[0])
	case logUnits:
		x := u[0]
		// Log(x + 1) is how the field takes the logarithm of a count that may be 0.
		if a := n.args[0]; a.function != nil && a.function.Name == "Add" {
			for i, b := range a.args {
				if b.constant() && b.number == 1 && a.args[1-i].unit.mixed == "" {
					x = a.args[1-i].unit
				}
			}
		}
		x = x.level("takes the logarithm of")
		if x.mixed != "" || x.scaleFree() {
			return x.shape()
		}
		x.logarithm = true
		return x
	case compareUnits:
		return join("compares", u[0], u[1]).shape()
	case logicUnits:
		for _, x := range u {
			if x.mixed != "" {
				return x
			}
		}
		return ratioUnit
	case chooseUnits:
		if u[0].mixed != "" {
			return u[0]
		}
		return join("chooses between", u[1], u[2])
	case extremeUnits:
		return join("compares", u[0], u[1])
	case sameUnit:
		return u[0]
	case levelUnit:
		return u[0].level("sums or turns")
	case spreadUnit:
		return u[0].spread()
	case squareUnit:
		return u[0].spread().power(2)
	case signUnit:
		return u[0].level("takes the sign of").shape()
	case shapeUnit:
		for _, x := range u {
			if x.mixed != "" {
				return x
			}
		}
		return ratioUnit
	case productUnit:
		return product(u[0].spread(), u[1].spread(), 1)
	default:
		return ratioUnit
	}
}

// tidy takes a logarithm whose constant has fallen out for a number.
func (u unit) tidy() unit {
	if u.logarithm && u.degree() == 0 {
		return ratioUnit
	}
	return u
}

func product(a, b unit, sign float64) unit {
	a, b = a.level("multiplies or divides"), b.level("multiplies or divides")
	if a.mixed != "" {
		return a
	}
	if b.mixed != "" {
		return b
	}
	return unit{price: a.price + sign*b.price, shares: a.shares + sign*b.shares}
}

// unitRule is how a function's unit follows from those of its arguments.
type unitRule int

const (
	plainUnit unitRule = iota // a number, whatever the arguments
	addUnits
	mulUnits
	divUnits
	powerUnits
	logUnits
	compareUnits
	logicUnits
	chooseUnits
	extremeUnits
	sameUnit
	levelUnit
	spreadUnit
	squareUnit
	signUnit
	shapeUnit
	productUnit
)
