// Command quant is the research lab; see package app.
package main

import (
	"os"

	"quant/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:])) }
