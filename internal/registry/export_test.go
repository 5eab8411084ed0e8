package registry

import "quant"

// Clip shortens an error text.
var Clip = clip

// Storable is what FinishRun is given of what a run noted.
func (g *Registry) Storable(noted []quant.RunIO) []quant.RunIO { return g.storable(noted) }
