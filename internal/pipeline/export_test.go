package pipeline

// DecideRequest and Decide are the inner part of Recommend, which works on facts
// alone.
type DecideRequest = decideRequest

var Decide = decide
