package factstore

import (
	"errors"
	"testing"
)

// Where rows are read while a query fails, the engine says first that it was asked for more.
func TestWhyAQueryOfALakeFailedIsToldWhereItsResultWasAskedForMore(t *testing.T) {
	t.Parallel()
	db := &DB{path: "ducklake:postgres:dbname=lake", lake: &lake{}}
	for why, want := range map[string]string{
		"IO Error: the cause": "IO Error: the cause",
		"IO Error: server closed the connection unexpectedly\n\tThis probably means": "the connection to the catalog of ducklake:postgres:dbname=lake was lost",
	} {
		if err := db.told(errors.New("Invalid Input Error: Attempting to fetch from an unsuccessful query result\nError: " + why)); err.Error() != want {
			t.Errorf("%q, not %q", err, want)
		}
	}
}
