// Package textencoding reads texts whose characters are written otherwise than in
// UTF-8, and guesses of one how they are.
package textencoding

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	utf "golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"quant"
)

// Encoding is how the characters of a text are written. The zero value is
// UTF-8.
type Encoding struct {
	name string // as --encoding spells it
	form encoding.Encoding
	mark string // at the beginning of the text, and no part of it
}

// Known says which there are, for hints.
const Known = "utf-8, utf-16, latin1, cp1252, cp1250, cp1251, cp949 (euc-kr), shift-jis, euc-jp, gb18030 (gbk) or big5"

func utf16(order utf.Endianness) encoding.Encoding { return utf.UTF16(order, utf.IgnoreBOM) }

// Parse understands a spelling of --encoding, in any case and with any dashes and
// underscores. Invalid: it is none.
func Parse(name string) (Encoding, error) {
	of := func(name string, form encoding.Encoding) (Encoding, error) {
		return Encoding{name: name, form: form}, nil
	}
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(name)) {
	case "", "utf8", "utf8sig", "ascii", "usascii":
		return Encoding{}, nil
	case "utf16", "utf16le", "ucs2", "unicode":
		return of("utf-16le", utf16(utf.LittleEndian))
	case "utf16be":
		return of("utf-16be", utf16(utf.BigEndian))
	case "latin1", "iso88591", "l1":
		return of("latin1", charmap.ISO8859_1)
	case "latin9", "iso885915":
		return of("iso-8859-15", charmap.ISO8859_15)
	case "cp1252", "windows1252", "ansi":
		return of("cp1252", charmap.Windows1252)
	case "cp1250", "windows1250":
		return of("cp1250", charmap.Windows1250)
	case "cp1251", "windows1251":
		return of("cp1251", charmap.Windows1251)
	case "latin2", "iso88592":
		return of("iso-8859-2", charmap.ISO8859_2)
	case "cp949", "ms949", "uhc", "euckr", "windows949", "ksc56011987":
		return of("cp949", korean.EUCKR)
	case "shiftjis", "sjis", "cp932", "ms932", "windows31j":
		return of("shift-jis", japanese.ShiftJIS)
	case "eucjp":
		return of("euc-jp", japanese.EUCJP)
	case "gb18030", "gbk", "cp936", "gb2312":
		return of("gb18030", simplifiedchinese.GB18030)
	case "big5", "cp950":
		return of("big5", traditionalchinese.Big5)
	}
	return Encoding{}, quant.Errorf(quant.Invalid, "encoding %q is not known", quant.Clip(name, 80)).WithHint("use %s", Known)
}

// Name is how --encoding spells it; "" of UTF-8.
func (e Encoding) Name() string { return e.name }

// Mark is what stands at the beginning of the text and is no part of it.
func (e Encoding) Mark() string { return e.mark }

// IsUTF8 reports whether the text needs no decoding.
func (e Encoding) IsUTF8() bool { return e.form == nil }

// Reader reads a text behind its mark as UTF-8; U+FFFD stands for what is none of the
// encoding. A text in UTF-8 is left as it is.
func (e Encoding) Reader(r io.Reader) io.Reader {
	if e.form == nil {
		return r
	}
	return transform.NewReader(r, e.form.NewDecoder())
}

// Text is a text in the encoding. Failed: it has characters that the encoding lacks.
func (e Encoding) Text(s string) (string, error) {
	if e.form == nil {
		return e.mark + s, nil
	}
	out, err := e.form.NewEncoder().String(s)
	if err != nil {
		return "", quant.Errorf(quant.Failed, "write as %s: %w", e.name, err)
	}
	return e.mark + out, nil
}

// Of is the encoding of a text that begins with head: what a byte order
// mark says, or the NUL bytes of UTF-16 without one, or else the one asked for.
func Of(head []byte, asked Encoding) Encoding {
	starts := func(mark string) bool { return bytes.HasPrefix(head, []byte(mark)) }
	switch {
	case starts("\xef\xbb\xbf"):
		return Encoding{mark: "\xef\xbb\xbf"}
	case starts("\xff\xfe"):
		return Encoding{name: "utf-16le", form: utf16(utf.LittleEndian), mark: "\xff\xfe"}
	case starts("\xfe\xff"):
		return Encoding{name: "utf-16be", form: utf16(utf.BigEndian), mark: "\xfe\xff"}
	case asked.form != nil:
		return asked
	}
	// In a line of ASCII every other byte is NUL.
	sample := head[:min(len(head), 64)&^1]
	var nul [2]int
	for i, c := range sample {
		if c == 0 {
			nul[i&1]++
		}
	}
	switch half := len(sample) / 2; {
	case half < 4:
	case nul[1]*4 >= half*3 && nul[0] == 0:
		return Encoding{name: "utf-16le", form: utf16(utf.LittleEndian)}
	case nul[0]*4 >= half*3 && nul[1] == 0:
		return Encoding{name: "utf-16be", form: utf16(utf.BigEndian)}
	}
	return asked
}

// Hint guesses the encoding of a text that is not UTF-8, and shows what
// it would then say.
func Hint(data []byte) string {
	name, shown := guessEncoding(data)
	if name == "" {
		return "say which it is, for example --encoding cp1252: " + Known
	}
	return "it may be " + name + " (a guess: it would read " + quant.Clip(shown, 80) + "): say --encoding " + name
}

// guessEncoding names the encoding in which a text makes most sense, and a word
// of the text so read; "": none does.
func guessEncoding(data []byte) (name, shown string) {
	lines := foreignLines(data)
	if len(lines) == 0 {
		return "", ""
	}
	best := 0.0
	for _, c := range []string{"cp949", "shift-jis", "euc-jp", "gb18030", "big5", "cp1252"} {
		e, _ := Parse(c)
		text, err := e.form.NewDecoder().Bytes(lines)
		if err != nil || bytes.Contains(text, []byte("\ufffd")) {
			continue
		}
		if score := plausible(c, lines, string(text)); score > best {
			best, name, shown = score, c, foreignWord(string(text))
		}
	}
	if best < 0.6 {
		return "", ""
	}
	return name, shown
}

// foreignLines are the lines with bytes beyond ASCII, up to 64 KiB of them.
func foreignLines(data []byte) []byte {
	var out []byte
	for line := range bytes.Lines(data) {
		if len(out)+len(line) > 1<<16 {
			break
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r >= utf8.RuneSelf }) {
			out = append(out, line...)
		}
	}
	return out
}

// foreignWord is the first field of a text with a letter beyond ASCII.
func foreignWord(text string) string {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",;\t\r\n\"", r) }) {
		if strings.ContainsFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) {
			if runes := []rune(word); len(runes) > 20 {
				word = string(runes[:20])
			}
			return word
		}
	}
	return ""
}

// plausible is the share of the foreign characters of a text that are usual in
// the language that the encoding is for, 0 to 1.
func plausible(name string, raw []byte, text string) float64 {
	var usual, all float64
	count := func(is func(rune) bool) float64 {
		for _, r := range text {
			if r < utf8.RuneSelf {
				continue
			}
			all++
			if is(r) {
				usual++
			}
		}
		return usual / max(all, 1)
	}
	common := func(r rune) bool { // punctuation and full-width letters of East Asia
		return r >= 0x3000 && r <= 0x303f || r >= 0xff01 && r <= 0xff5e || r == '\u00b7'
	}
	switch name {
	case "cp949":
		// The syllables in daily use have both bytes beyond ASCII; others are what
		// Japanese and Latin text looks like.
		return count(func(r rune) bool { return unicode.Is(unicode.Hangul, r) || common(r) }) * inPairs(raw)
	case "shift-jis":
		// Half-width kana are what Korean and Chinese text looks like.
		return count(func(r rune) bool {
			return r >= 0x3040 && r <= 0x30ff || unicode.Is(unicode.Han, r) || common(r)
		}) * 0.98
	case "euc-jp":
		share := count(func(r rune) bool { return r >= 0x3040 && r <= 0x30ff || unicode.Is(unicode.Han, r) || common(r) })
		if !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x3040 && r <= 0x30ff }) {
			share *= 0.7 // Chinese text reads as rare characters of Japanese
		}
		return share * inPairs(raw) * 0.97
	case "gb18030":
		// Level 1 of GB 2312: the characters in daily use.
		return inLevel(raw, 0xb0, 0xd7) * count(func(r rune) bool { return unicode.Is(unicode.Han, r) || common(r) }) * 0.96
	case "big5":
		return inLevel(raw, 0xa4, 0xc6) * count(func(r rune) bool { return unicode.Is(unicode.Han, r) || common(r) }) * 0.95
	default:
		// In Latin text foreign letters stand alone among ASCII, in words or before
		// numbers.
		alone := 0.0
		n := 0.0
		for i, c := range raw {
			if c < utf8.RuneSelf {
				continue
			}
			n++
			if (i == 0 || raw[i-1] < utf8.RuneSelf) && (i+1 == len(raw) || raw[i+1] < utf8.RuneSelf) {
				alone++
			}
		}
		return alone / max(n, 1) * count(func(r rune) bool {
			return unicode.Is(unicode.Latin, r) || strings.ContainsRune("€£¥§°«»–—‘’“”…\u00a0²³ºª®™", r)
		}) * 0.9
	}
}

// inPairs is the share of the bytes beyond ASCII that stand in runs of even
// length with values of 0xa1 and more.
func inPairs(raw []byte) float64 {
	var good, all int
	for i := 0; i < len(raw); {
		if raw[i] < utf8.RuneSelf {
			i++
			continue
		}
		j, high := i, true
		for j < len(raw) && raw[j] >= utf8.RuneSelf {
			high = high && raw[j] >= 0xa1
			j++
		}
		all += j - i
		if high && (j-i)%2 == 0 {
			good += j - i
		}
		i = j
	}
	return float64(good) / float64(max(all, 1))
}

// inLevel is the share of pairs whose first byte is within bounds.
func inLevel(raw []byte, from, to byte) float64 {
	var good, all int
	for i := 0; i < len(raw); i++ {
		if raw[i] < utf8.RuneSelf {
			continue
		}
		all++
		if raw[i] >= from && raw[i] <= to {
			good++
		}
		i++
	}
	return float64(good) / float64(max(all, 1))
}
