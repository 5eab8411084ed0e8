package calendar

import "quant"

// Names are the values of QUANT_CALENDAR.
var Names = []string{"XNYS", "XKRX", Data}

// Open returns the calendar of an exchange: XNYS or XKRX. Invalid for another
// name, and for "data", which is made by FromDates.
func Open(name string) (*Calendar, error) {
	return nil, quant.Errorf(quant.Invalid, "calendar %q is not known", name).WithHint("use XNYS, XKRX or data")
}
