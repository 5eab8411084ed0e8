package dataset_test

import (
	"strings"
	"testing"
	"time"

	"quant/internal/dataset"
)

func TestNamesAreSpelledInOneWay(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]dataset.Name{
		"features_daily:ret_20d@v1": dataset.Feature("ret_20d", "v1"), "labels:fwd_ret_5d@v1": dataset.Label("fwd_ret_5d", "v1"),
		"targets:S@1.0.0": dataset.TargetsOf("S", "1.0.0"), "target_sets:S@1.0.0": dataset.TargetSetsOf("S", "1.0.0"),
		"predictions:m/wf": dataset.PredictionsOf("m", "wf"), "ohlcv:adjusted": dataset.PricesOn("adjusted"), "ohlcv": {Table: dataset.OHLCV},
	} {
		if n.String() != want {
			t.Errorf("%q, want %q", n, want)
		}
	}
}

func TestANameWithAVersionIsFoundWhereItStandsByItself(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"features_daily:ret_20d@v1":                                 "",
		"table targets:S@1.0.0 (output of recommend)":               "table  (output of recommend)",
		`{"name":"labels:fwd_ret_5d@v1","x":1}`:                     `{"name":"","x":1}`,
		"target_sets:my.S#2@1.0.0-rc.1+b: cannot be read":           ": cannot be read",
		"(targets:a@1,labels:b@v2)":                                 "(,)",
		"labels:pw@host:3306":                                       "labels:pw@host:3306",
		"labels:hunter2@db.example.com":                             "labels:hunter2@db.example.com",
		"dsn=targets:hunter2@dbhost":                                "dsn=targets:hunter2@dbhost",
		"features_daily:hunter2@db":                                 "features_daily:hunter2@db",
		"features_daily:KMID@alpha158, features_daily:MA5@my_alpha": ", ",
		"features_daily:MA5@my_alpha.example.com":                   "features_daily:MA5@my_alpha.example.com",
		"features_daily:MA5@my_alpha:5432":                          "features_daily:MA5@my_alpha:5432",
		"features_daily:hunter2@alpha1580":                          "features_daily:hunter2@alpha1580",
		"features_daily:x@a_" + strings.Repeat("x", 62):             "features_daily:x@a_" + strings.Repeat("x", 62),
		"labels:hunter2@my_host":                                    "labels:hunter2@my_host",
		"target_sets:hunter2@10.0.0.5":                              "target_sets:hunter2@10.0.0.5",
		"targets:hunter2@v1host":                                    "targets:hunter2@v1host",
		"targets:hunter2@1.com":                                     "targets:hunter2@1.com",
		"targets:hunter2@1-db":                                      "targets:hunter2@1-db",
		"targets:S@beta":                                            "targets:S@beta",
		"targets:S@1.0":                                             "",
		"labels:pw@tcp(host)/db":                                    "labels:pw@tcp(host)/db",
		"labels:pw@host/db":                                         "labels:pw@host/db",
		"labels:p@ss@host":                                          "labels:p@ss@host",
		"labels:p/ss@host":                                          "labels:p/ss@host",
		"labels:@v1":                                                "labels:@v1",
		"labels:x@":                                                 "labels:x@",
		"u:labels:x@v1":                                             "u:labels:x@v1",
		"x://labels:pw@v1":                                          "x://labels:pw@v1",
		"u:password@host":                                           "u:password@host",
		"my_labels:pw@v1":                                           "my_labels:pw@v1",
		"labels:" + strings.Repeat("x", 65) + "@v1":                 "labels:" + strings.Repeat("x", 65) + "@v1",
		"labels:x@" + strings.Repeat("1", 33):                       "labels:x@" + strings.Repeat("1", 33),
		"ohlcv:adjusted and predictions:m/wf have no version":       "ohlcv:adjusted and predictions:m/wf have no version",
	} {
		if got := dataset.Without(text, func(version string) bool { return version == "alpha158" }); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestFindingNamesTakesTimeThatGrowsWithTheText(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"labels:", " labels:x@v1", " features_daily:x@a_b", " features_daily:x@ab", "labels:@", "@", "=labels:xxxxxxxxxxxxxxxxxxxxxxx", "targets:x@1@"} {
		begun := time.Now()
		dataset.Without(strings.Repeat(part, 1<<21/len(part)), nil)
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("%q: %s", part, d)
		}
	}
}
