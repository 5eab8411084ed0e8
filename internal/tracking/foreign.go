package tracking

// TagName is the name under which the tag of a client is stored: what brings runs of
// clients over from elsewhere keeps to it.
func TagName(key string) string { return tagName(key) }
