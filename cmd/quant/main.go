// Command quant is the research lab; see package app.
package main

import (
	"os"

	"quant/internal/app"
	"quant/internal/query"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == query.ChildArg {
		os.Exit(query.ChildMain())
	}
	os.Exit(app.Main(os.Args[1:]))
}
