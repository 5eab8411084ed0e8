package transcript

import (
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/secret"
)

func TestAPlainTextHasNoControlSequences(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Error: \x1b]0;title\x07bad thing":                               "Error: bad thing",
		"Error: \x1b]0;title\x1b\\bad thing":                             "Error: bad thing",
		"see \x1b]8;;https://x.example/a\x1b\\here\x1b]8;;\x1b\\ or not": "see here or not",
		"a\x1bP1$r0m\x1b\\b\x1b_app\x1b\\c\x1b^pm\x1b\\d\x1bXsos\x1b\\e": "abcde",
		"\u009d0;title\u009cbad\u009b31mred":                             "badred",
		"\x1b[31mred\x1b[0m\x1b[2J\x1b[?25l\x1b[1;1Hx":                   "redx",
		"\x1b(Bone\x1b=two\x1b":                                          "onetwo",
		"\x1b]0;cut\x1b[31mred":                                          "red",
		"\x1bPwith \x07 bell\x1b\\x":                                     "x",
		"\x1b]words without an end":                                      "words without an end",
		"한국어 \x1b]2;제목\x07값":                                             "한국어 값",
		"no\x07bell":                                                     `no\x07bell`,
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestALineOfNothingButSequencesIsNoLastLine(t *testing.T) {
	t.Parallel()
	mask := &secret.Masker{}
	mask.Know("hunter2hunter2")
	w, err := Create(filepath.Join(t.TempDir(), "log"), 1<<20, mask)
	if err != nil {
		t.Fatal(err)
	}
	one, two := w.Input(), w.Input()
	_, _ = one.Write([]byte("ValueError: boom\n\x1b]0;title\x07\n\x1b[0m\x1bPq\x1b\\\n"))
	_, _ = two.Write([]byte("hunter2\x1b]0;t\x07hunter2\n"))
	w.Close()
	if one.LastLine() != "ValueError: boom" {
		t.Errorf("the last line is %q", one.LastLine())
	}
	if strings.Contains(two.LastLine(), "hunter2") {
		t.Errorf("a secret that a sequence cuts in two stands in %q", two.LastLine())
	}
}
