package sandbox

import (
	"encoding/json"
	"strings"

	"quant/internal/sqltext"
)

// keywordColumns are the columns of the Fact DB whose names DuckDB's grammar
// keeps for something else, in lower case: `asof` begins an ASOF JOIN, so that
// `SELECT asof FROM targets` is no statement to it. A test holds the list against
// the schema and the linked DuckDB.
const keywordColumns = " asof "

// quoteColumns puts the bare words of keywordColumns in double quotes, but where
// a join begins. Texts, quoted names and comments stay as they are.
func quoteColumns(sql string) string {
	var b strings.Builder
	for at := 0; at < len(sql); {
		n := tokenLength(sql[at:])
		token := sql[at : at+n]
		at += n
		if isWordByte(token[0]) && strings.Contains(keywordColumns, " "+strings.ToLower(token)+" ") && !beginsJoin(sql[at:]) {
			token = sqltext.Identifier(token)
		}
		b.WriteString(token)
	}
	return b.String()
}

// beginsJoin tells whether what follows an ASOF makes it part of a join.
func beginsJoin(rest string) bool {
	rest = skipBlank(rest)
	for _, word := range []string{"join", "left", "right", "full", "inner", "outer", "semi", "anti"} {
		if _, ok := cutWord(rest+" ", word); ok {
			return true
		}
	}
	return false
}

// tokenLength is the length of the first token of a text that is not empty: a
// word, a text or quoted name with its quotes, a comment, or a single byte. What
// has no end goes to the end.
func tokenLength(s string) int {
	upTo := func(from int, end string) int {
		if i := strings.Index(s[from:], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch c := s[0]; {
	case c == '\'' || c == '"':
		return upTo(1, string(c)) // a doubled quote is two tokens side by side
	case (c == 'e' || c == 'E') && strings.HasPrefix(s[1:], "'"):
		for i := 2; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '\'':
				return i + 1
			}
		}
		return len(s)
	case strings.HasPrefix(s, "--"):
		return upTo(2, "\n")
	case strings.HasPrefix(s, "/*"):
		return upTo(2, "*/")
	case c == '$':
		// $tag$ ... $tag$, or $1.
		tag := 1
		for tag < len(s) && isWordByte(s[tag]) && s[tag] != '$' {
			tag++
		}
		if tag < len(s) && s[tag] == '$' {
			return upTo(tag+1, s[:tag+1])
		}
		return tag
	case isWordByte(c):
		n := 1
		for n < len(s) && isWordByte(s[n]) {
			n++
		}
		return n
	}
	return 1
}

// notParsed tells whether json_serialize_sql could not read the statement.
func notParsed(tree []byte) bool {
	var doc struct {
		Error bool   `json:"error"`
		Type  string `json:"error_type"`
	}
	return json.Unmarshal(tree, &doc) == nil && doc.Error && doc.Type == "parser"
}
