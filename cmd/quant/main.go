// Command quant is the research lab; see package app.
package main

import (
	"os"

	"quant/internal/app"
	"quant/internal/sandbox"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == sandbox.ChildArg {
		os.Exit(sandbox.ChildMain())
	}
	os.Exit(app.Main(os.Args[1:]))
}
