package secret

import (
	"bytes"
	"encoding/json"
)

// KnownJSON masks known values in the string values of an encoded JSON
// document. Numbers, true, false, null and the names of members stay as they
// are, and so does the layout: the document stays valid, and only data that is
// text can change. It returns doc itself when there is nothing to mask.
func (m *Masker) KnownJSON(doc []byte) []byte {
	if m.Knows() == 0 {
		return doc
	}
	var out []byte
	copied := 0 // doc[:copied] is in out
	for at := 0; at < len(doc); {
		open := bytes.IndexByte(doc[at:], '"')
		if open < 0 {
			break
		}
		open += at
		end := stringEnd(doc, open)
		at = end
		if isMember(doc, end) {
			continue
		}
		var text string
		if json.Unmarshal(doc[open:end], &text) != nil {
			continue
		}
		masked := m.Known(text)
		if masked == text {
			continue
		}
		out = append(out, doc[copied:open]...)
		out = appendString(out, masked)
		copied = end
	}
	if out == nil {
		return doc
	}
	return append(out, doc[copied:]...)
}

// stringEnd returns the index behind the string that opens at i.
func stringEnd(doc []byte, i int) int {
	for i++; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(doc)
}

// isMember reports whether the string that ends before i names a member.
func isMember(doc []byte, i int) bool {
	for ; i < len(doc); i++ {
		switch doc[i] {
		case ' ', '\t', '\n', '\r':
		default:
			return doc[i] == ':'
		}
	}
	return false
}

func appendString(b []byte, s string) []byte {
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always has a JSON form
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

// Values returns the known values themselves, to hand them to a process that
// must mask them too.
func (m *Masker) Values() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return append([]string(nil), m.values...)
}
