package place

import (
	"net/url"
	"strings"
)

// MaskedServerURL is the URL of a database whole, with a mark in place of its passwords. Of a
// text that is no such URL nothing is shown: which of its words is a password cannot be told.
func MaskedServerURL(raw, mark string) string {
	if !IsServerURL(raw) {
		return mark
	}
	scheme, rest, _ := strings.Cut(raw, "://")
	if at := strings.IndexByte(authority(raw), '@'); at >= 0 {
		if name, _, set := strings.Cut(rest[:at], ":"); set {
			rest = name + ":" + mark + rest[at:]
		}
	}
	before, query, asks := strings.Cut(rest, "?")
	if asks {
		query = "?" + maskedParameters(query, mark)
	}
	return scheme + "://" + before + query
}

// MaskedLakeURL is the URL of facts on DuckLake whole, with a mark in place of its
// passwords.
func MaskedLakeURL(raw, mark string) string {
	u, err := ParseLakeURL(raw)
	if err != nil {
		return mark
	}
	head, rest, _ := strings.Cut(raw, "postgres")
	if strings.Contains(u.Catalog, "://") {
		return head + MaskedServerURL("postgres"+rest, mark)
	}
	catalog, query := rest, ""
	if at := strings.LastIndexByte(rest, '?'); at >= 0 {
		catalog, query = rest[:at], rest[at:]
	}
	words := libpqWords(strings.TrimPrefix(catalog, ":"))
	for i, w := range words {
		if name, _, _ := strings.Cut(w, "="); isPassword(name) {
			words[i] = name + "=" + mark
		}
	}
	return head + "postgres:" + strings.Join(words, " ") + query
}

// maskedParameters are the parameters of a URL, with no value of a password's.
func maskedParameters(query, mark string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, _, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil || isPassword(plain) {
			parts[i] = name + "=" + mark
		}
	}
	return strings.Join(parts, "&")
}
