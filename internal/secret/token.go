package secret

import (
	"strings"

	"quant"
)

// maskTokens masks the tokens of quant's own server, wherever they stand: their form
// tells what they are.
func maskTokens(s string) string {
	from := strings.Index(s, quant.TokenPrefix)
	if from < 0 {
		return s
	}
	var out strings.Builder
	for {
		digits := s[from+len(quant.TokenPrefix):]
		n := until(digits, func(i int) bool { return (digits[i] < 'a' || digits[i] > 'z') && (digits[i] < '2' || digits[i] > '7') })
		end := from + len(quant.TokenPrefix)
		if n >= quant.TokenLength {
			out.WriteString(s[:from] + Placeholder)
			end += n
		} else {
			out.WriteString(s[:end])
		}
		s = s[end:]
		if from = strings.Index(s, quant.TokenPrefix); from < 0 {
			out.WriteString(s)
			return out.String()
		}
	}
}
