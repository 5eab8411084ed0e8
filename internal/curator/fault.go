package curator

import (
	"fmt"
	"strings"
)

// fault is why a row is not a bar: the first rule that it breaks, in the order
// of the constants. The reader knows those of the text, the gate those of the
// values; both are numbers so that a row costs one byte to judge.
type fault uint8

const (
	sound fault = iota
	raggedRow
	badQuotes
	nulByte
	lineTooLong
	symbolMissing
	symbolInvalid
	dateMissing
	dateUnreadable
	dateOutOfRange
	faultsOfFields // the faults of open; those of the other numbers follow
)

// The faults of one number; of gives those of a field.
const (
	missing fault = iota + 1
	unreadable
	notFinite
	outOfRange
	faultsPerField = outOfRange
)

const (
	lowAboveHigh = faultsOfFields + fault(numberFields)*faultsPerField + iota
	openOutside
	closeOutside
	differs   // the day stands elsewhere in the input with other values
	collapsed // the day stands elsewhere in the input with the same values; no reject
	untraded  // a day without a price; no reject
	blank     // a day without a trade whose prices are empty: settled once the whole file is read
	left      // its symbol stayed as it was, being on another scale; no reject
	faultCount
)

// of returns the fault of a number field.
func (k fault) of(f field) fault { return faultsOfFields + fault(f-open)*faultsPerField + k - 1 }

// lacksPrice reports whether it is the fault of a price that is missing.
func (k fault) lacksPrice() bool {
	return k == missing.of(open) || k == missing.of(high) || k == missing.of(low) || k == missing.of(closing)
}

// passes reports whether a row with this fault is none that is turned away.
func (k fault) passes() bool {
	switch k {
	case sound, collapsed, untraded, left:
		return true
	}
	return false
}

// passing lists the faults that pass, for SQL.
func passing() string {
	var list []string
	for k := range faultCount {
		if k.passes() {
			list = append(list, fmt.Sprint(uint8(k)))
		}
	}
	return strings.Join(list, ", ")
}

// String is the reason as the rejects table and the report give it.
func (k fault) String() string {
	switch k {
	case raggedRow:
		return "number of fields is not the header's"
	case badQuotes:
		return "bad quotes"
	case nulByte:
		return "NUL byte"
	case lineTooLong:
		return fmt.Sprintf("line is longer than %d bytes", maxRecord)
	case symbolMissing:
		return "symbol is missing"
	case symbolInvalid:
		return "symbol is not valid"
	case dateMissing:
		return "date is missing"
	case dateUnreadable:
		return "date is not understood"
	case dateOutOfRange:
		return "date is not between 1900-01-01 and tomorrow"
	case lowAboveHigh:
		return "low is above high"
	case openOutside:
		return "open is not between low and high"
	case closeOutside:
		return "close is not between low and high"
	case differs:
		return "the same symbol and day with other values"
	case collapsed:
		return "the same symbol and day with the same values"
	}
	if k >= faultsOfFields && k < lowAboveHigh {
		f := open + field((k-faultsOfFields)/faultsPerField)
		name := strings.ReplaceAll(f.String(), "_", " ")
		switch (k-faultsOfFields)%faultsPerField + 1 {
		case missing:
			return name + " is missing"
		case unreadable:
			return name + " is not a number"
		case notFinite:
			return name + " is not a finite number"
		default:
			if f == volume {
				return name + " is negative"
			}
			return name + " is not positive"
		}
	}
	return "sound"
}
