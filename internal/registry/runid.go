package registry

import "strings"

// IsRunID reports whether s has the form of a run id: a version 7 UUID in lower
// case.
func IsRunID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || s[14] != '7' || !strings.Contains("89ab", s[19:20]) {
		return false
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	return strings.Trim(digits, "0123456789abcdef") == ""
}
