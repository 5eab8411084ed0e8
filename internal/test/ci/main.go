// Command ci prints what the heavy steps of CI are for, as arguments of go test:
//
//	go run ./internal/test/ci soak    the tests that scale, and their packages
//	go run ./internal/test/ci race    the packages that have concurrency
//
// Both are read from the sources, so that nobody has to keep a list.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ci:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	packages, err := scan(".")
	if err != nil {
		return err
	}
	switch strings.Join(args, " ") {
	case "soak":
		var tests, dirs []string
		k := kitsOf(packages)
		for _, p := range packages {
			if scaling := p.scaling(k); len(scaling) > 0 {
				tests, dirs = append(tests, scaling...), append(dirs, "./"+p.dir)
			}
		}
		fmt.Printf("-run\n^(%s)$\n%s\n", strings.Join(tests, "|"), strings.Join(dirs, "\n"))
	case "race":
		for _, p := range packages {
			if p.raced() {
				fmt.Println("./" + p.dir)
			}
		}
	default:
		return fmt.Errorf("%q is neither soak nor race", strings.Join(args, " "))
	}
	return nil
}
