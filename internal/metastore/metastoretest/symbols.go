package metastoretest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"quant"
	"quant/internal/metastore"
)

func symbolTests() []test {
	ctx := context.Background()
	return []test{
		{"ACreatedSymbolReadsBackAsItWas", func(t *testing.T, s metastore.Store) {
			for _, want := range []quant.Symbol{
				{Symbol: "AAPL"},
				{Symbol: "005930.KS", Name: "삼성전자", Sector: "전기전자", Currency: "KRW", IsActive: true, Priority: -7},
				{Symbol: "005930", IsActive: true, Priority: 1 << 62},
				{Symbol: "^GSPC"}, {Symbol: "brk.b"}, {Symbol: "BRK.B"}, {Symbol: "삼성전자"}, {Symbol: "A'B\"C;--"}, {Symbol: "%_*?[a]"},
				{Symbol: strings.Repeat("x", 64)}, {Symbol: "🙂"},
			} {
				ok(t, s.CreateSymbol(ctx, want))
				equal(t, one(s.GetSymbol(ctx, want.Symbol))(t), want)
			}
		}},
		{"AnyTextIsKeptInANameExactly", func(t *testing.T, s metastore.Store) {
			for i, text := range awkward() {
				want := quant.Symbol{Symbol: fmt.Sprintf("S%d", i), Name: quant.Text(text), Sector: quant.Text(text)}
				if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
					refused(t, s.CreateSymbol(ctx, want), quant.Invalid)
					continue
				}
				ok(t, s.CreateSymbol(ctx, want))
				got := one(s.GetSymbol(ctx, want.Symbol))(t)
				if got != want {
					t.Fatalf("%.40q came back as %.40q", want.Name, got.Name)
				}
				found := one(s.ListSymbols(ctx, metastore.SymbolFilter{Sector: text}))(t)
				if len(found) != 1 || found[0] != want {
					t.Fatalf("filter by %.40q found %d symbols", text, len(found))
				}
			}
		}},
		{"AControlCharacterIsInvalidInEveryTextOfASymbol", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "KEPT"}))
			for _, bad := range []quant.Text{"a\rb", "\x00", "\x1b[2J", "\x7f", "\u0085", "\xff", "a\uFFFD"} {
				for _, sym := range []quant.Symbol{{Name: bad}, {Sector: bad}, {Currency: bad}} {
					sym.Symbol = "NEW"
					refused(t, s.CreateSymbol(ctx, sym), quant.Invalid)
					sym.Symbol = "KEPT"
					refused(t, s.UpdateSymbol(ctx, sym), quant.Invalid)
				}
			}
			equal(t, one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t), []quant.Symbol{{Symbol: "KEPT"}})
		}},
		{"AnExistingSymbolIsAConflict", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "IBM", Name: "first"}))
			refused(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "IBM", Name: "second"}), quant.Conflict)
			equal(t, one(s.GetSymbol(ctx, "IBM"))(t).Name, "first")
		}},
		{"AnUnknownSymbolIsNotFound", func(t *testing.T, s metastore.Store) {
			_, err := s.GetSymbol(ctx, "NONE")
			refused(t, err, quant.NotFound)
			refused(t, s.UpdateSymbol(ctx, quant.Symbol{Symbol: "NONE"}), quant.NotFound)
			refused(t, s.DeleteSymbol(ctx, "NONE"), quant.NotFound)
			refused(t, s.DeleteSymbol(ctx, "' OR 1=1 --"), quant.NotFound)
		}},
		{"ABadTickerIsInvalidWhereverItIsGiven", func(t *testing.T, s metastore.Store) {
			for _, bad := range []string{"", " ", "A B", "A\tB", "A\nB", "A\x00", "A\u00a0B", "A\u3000B", "A\u200bB", "A\x7f", "\xff", strings.Repeat("x", 65), strings.Repeat("가", 22)} {
				refused(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: bad}), quant.Invalid)
				refused(t, s.UpdateSymbol(ctx, quant.Symbol{Symbol: bad}), quant.Invalid)
				_, err := s.EnsureSymbols(ctx, []string{"GOOD", bad})
				refused(t, err, quant.Invalid)
			}
			equal(t, len(one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t)), 0)
		}},
		{"AnUpdateReplacesEverythingButTheTicker", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "FB", Name: "Facebook", Sector: "Tech", Currency: "USD", IsActive: true, Priority: 3}))
			ok(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "GOOG", Name: "Google"}))
			want := quant.Symbol{Symbol: "FB", Name: "Meta"}
			ok(t, s.UpdateSymbol(ctx, want))
			equal(t, one(s.GetSymbol(ctx, "FB"))(t), want)
			equal(t, one(s.GetSymbol(ctx, "GOOG"))(t).Name, "Google")
		}},
		{"ADeletedSymbolIsGoneAlone", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "A"}))
			ok(t, s.CreateSymbol(ctx, quant.Symbol{Symbol: "B"}))
			ok(t, s.DeleteSymbol(ctx, "A"))
			_, err := s.GetSymbol(ctx, "A")
			refused(t, err, quant.NotFound)
			one(s.GetSymbol(ctx, "B"))(t)
		}},
		{"AListIsFilteredOrderedAndCut", func(t *testing.T, s metastore.Store) {
			for _, sym := range []quant.Symbol{
				{Symbol: "b", Name: "One", Sector: "Tech", Currency: "USD", IsActive: true, Priority: 2},
				{Symbol: "B", Name: "Two", Sector: "Tech", Currency: "KRW", IsActive: false, Priority: 2},
				{Symbol: "a", Name: "Three", Sector: "Oil", Currency: "USD", IsActive: true, Priority: -1},
				{Symbol: "가", Name: "One", Sector: "Oil", Currency: "KRW", IsActive: true, Priority: 9},
			} {
				ok(t, s.CreateSymbol(ctx, sym))
			}
			for _, tt := range []struct {
				filter metastore.SymbolFilter
				want   string
			}{
				{metastore.SymbolFilter{}, "B a b 가"},
				{metastore.SymbolFilter{Order: "symbol"}, "B a b 가"},
				{metastore.SymbolFilter{Order: "-symbol"}, "가 b a B"},
				{metastore.SymbolFilter{Order: "name"}, "b 가 a B"},
				{metastore.SymbolFilter{Order: "-name"}, "B a b 가"},
				{metastore.SymbolFilter{Order: "priority"}, "a B b 가"},
				{metastore.SymbolFilter{Order: "-priority"}, "가 B b a"},
				{metastore.SymbolFilter{Order: "-priority", Limit: 2}, "가 B"},
				{metastore.SymbolFilter{Limit: 99}, "B a b 가"},
				{metastore.SymbolFilter{Active: pointer(true)}, "a b 가"},
				{metastore.SymbolFilter{Active: pointer(false)}, "B"},
				{metastore.SymbolFilter{Sector: "Tech"}, "B b"},
				{metastore.SymbolFilter{Currency: "KRW"}, "B 가"},
				{metastore.SymbolFilter{Sector: "Oil", Currency: "KRW", Active: pointer(true), Limit: 1}, "가"},
				{metastore.SymbolFilter{Sector: "' OR '1'='1"}, ""},
			} {
				var got []string
				for _, sym := range one(s.ListSymbols(ctx, tt.filter))(t) {
					got = append(got, sym.Symbol)
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%+v: got %v, want %s", tt.filter, got, tt.want)
				}
			}
		}},
		{"AnUnknownOrderOrANegativeLimitIsInvalid", func(t *testing.T, s metastore.Store) {
			for _, order := range []metastore.Order{"-", "nothing", "symbol DESC", "symbol; DROP TABLE symbols", "--symbol", "sector"} {
				_, err := s.ListSymbols(ctx, metastore.SymbolFilter{Order: order})
				refused(t, err, quant.Invalid)
			}
			_, err := s.ListSymbols(ctx, metastore.SymbolFilter{Limit: -1})
			refused(t, err, quant.Invalid)
		}},
		{"EnsureSymbolsAddsWhatIsMissingAndOnlyThat", func(t *testing.T, s metastore.Store) {
			old := quant.Symbol{Symbol: "IBM", Name: "kept", Priority: 5}
			ok(t, s.CreateSymbol(ctx, old))
			added := one(s.EnsureSymbols(ctx, []string{"삼성전자", "IBM", "B", "A", "B", "<&>", "005930"}))(t)
			equal(t, added, []string{"005930", "<&>", "A", "B", "삼성전자"})
			equal(t, one(s.GetSymbol(ctx, "IBM"))(t), old)
			equal(t, one(s.GetSymbol(ctx, "삼성전자"))(t), quant.Symbol{Symbol: "삼성전자", IsActive: true})
			equal(t, len(one(s.EnsureSymbols(ctx, []string{"A", "삼성전자"}))(t)), 0)
			equal(t, len(one(s.EnsureSymbols(ctx, nil))(t)), 0)
		}},
		{"EnsureSymbolsTakesTenThousand", func(t *testing.T, s metastore.Store) {
			want := make([]string, 10_500)
			for i := range want {
				want[i] = fmt.Sprintf("T%05d", i)
			}
			given := slices.Clone(want)
			slices.Reverse(given)
			equal(t, one(s.EnsureSymbols(ctx, given))(t), want)
			equal(t, len(one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t)), len(want))
		}},
	}
}
