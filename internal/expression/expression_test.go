package expression

import "testing"

func TestAlphasCompile(t *testing.T) {
	for name, list := range map[string][]Named{"alpha158": Alpha158(), "alpha360": Alpha360()} {
		p, err := Compile(list)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"alpha158": 158, "alpha360": 360}[name]
		if len(p.Features()) != want {
			t.Errorf("%s has %d features", name, len(p.Features()))
		}
		for _, f := range p.Features() {
			if !f.ScaleFree {
				t.Errorf("%s: %s is %s (%s)", name, f.Name, f.Unit, f.Mixed)
			}
		}
	}
}
